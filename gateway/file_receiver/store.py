"""Unfinished uploads on the disk, and the way of a finished one to its place. Everything here blocks."""

import asyncio
import contextlib
import errno
import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts import disk, transfer
from contracts.errors import AppError, BadRequest, NotFound
from gateway.file_receiver.rules import PARTS


class NotWritable(AppError):
    """The folder for files cannot be used; someone must look at it."""


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Raises ``Full`` or ``NotWritable`` where the disk fails, with the folder and the remedy; ``BadRequest`` where the
    path that was asked for is longer than the system takes."""
    try:
        with disk.room_at(folder):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENAMETOOLONG:
            raise BadRequest(f"the file's path below {folder} is too long: shorten its folders' names") from None
        raise NotWritable(
            f"cannot store files in {folder}: {reason}; make it a folder that this service's user may write to"
        ) from error


@dataclass(frozen=True)
class Upload:
    """What is to arrive: one job's file. ``length`` in bytes, ``folder`` below the store's, '' for none."""

    job_id: str
    name: str
    folder: str
    sha256: str
    length: int
    host: str = ""
    """The instrument whose file it is."""

    @property
    def id(self) -> str:
        """The same for the same job and content, so that creating an upload twice creates one."""
        return hashlib.sha256(f"{self.job_id}\0{self.sha256}".encode("utf-8", "surrogateescape")).hexdigest()[:40]


class Part:
    """How far an upload is: ``offset`` bytes are verified and synced, ``whole`` is their SHA-256 so far."""

    def __init__(self, upload: Upload, path: Path, offset: int = 0, *, noted: bool = False) -> None:
        self.upload, self.path, self.offset, self.noted = upload, path, offset, noted
        self.whole = hashlib.sha256() if offset == 0 else None
        self.placed: Path | None = None
        self.admitted = False
        self.seen = 0.0
        """When a request was last dealt with (monotonic s)."""
        self.free = asyncio.Event()
        """cleared while a request has it"""
        self.free.set()

    @property
    def busy(self) -> bool:
        """A request has it."""
        return not self.free.is_set()

    @property
    def full(self) -> bool:
        """All bytes are there (whether they are right is still to be seen)."""
        return self.offset == self.upload.length


class Store:
    """Parts lie in ``<folder>/.uploads/<id>``; beside each, its note: what it is, and how far it is good."""

    kind: type[Upload] = Upload
    """What is noted of an upload."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / PARTS

    def prepare(self) -> None:
        """The folders exist. Raises ``NotWritable``."""
        with usable(self.parts):
            disk.make_folder(self.parts)

    def load(self, upload_id: str, upload: Upload | None = None) -> Part:
        """The part as the last request (or process) left it; a fresh one for an upload given that is not there.

        Raises ``NotFound``.
        """
        with usable(self.parts):
            path = self.parts / upload_id
            size = path.stat().st_size if path.exists() else -1
            note = self._read_note(path)
            if note is not None:
                return Part(note[0], path, max(0, min(note[1], size)), noted=True)
            if upload is None:
                raise NotFound(f"no upload {upload_id}: it was finished, expired or never created")
            # Only when it is asked for does the system say that a path is too long: before a byte is taken.
            (self.folder / upload.folder / upload.name).is_symlink()
            if size == upload.length and disk.sha256_of(path) == upload.sha256:
                return Part(upload, path, size)
            path.unlink(missing_ok=True)
            if upload.length == 0:
                path.touch()
            return Part(upload, path)

    def _read_note(self, path: Path) -> tuple[Upload, int] | None:
        try:
            line, offset, _ = _note(path).read_bytes().split(b"\n")
            return self.kind(**json.loads(line)), int(offset)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def note(self, part: Part) -> None:
        """From now on the part survives its request."""
        with usable(self.parts):
            temporary = part.path.with_suffix(".new")
            temporary.write_bytes(json.dumps(asdict(part.upload)).encode() + b"\n%020d\n" % part.offset)
            disk.place(temporary, _note(part.path))
            part.noted = True

    def remove(self, part: Part) -> None:
        """Nothing of the part is left here; a file in its place stays."""
        with usable(self.parts):
            part.path.unlink(missing_ok=True)
            if part.noted:
                _note(part.path).unlink(missing_ok=True)

    def drop(self, part: Part) -> None:
        """The next try starts at 0."""
        self.remove(part)
        part.offset, part.whole, part.placed, part.noted = 0, hashlib.sha256(), None, False

    def advance(self, part: Part, offset: int, whole: "hashlib._Hash") -> None:
        """So many bytes are good and synced. Written in place: a torn note can only name an older offset."""
        part.offset, part.whole = offset, whole
        if part.noted:
            with _note(part.path).open("r+b") as file:
                file.readline()
                file.write(b"%020d" % offset)

    def hashed(self, part: Part) -> "hashlib._Hash":
        """The SHA-256 of the part's good bytes; read again from the disk after a restart."""
        if part.whole is None:
            part.whole = hashlib.sha256()
            left = part.offset
            with part.path.open("rb", buffering=0) as file:
                while left and (block := file.read(min(left, disk.BLOCK))):
                    part.whole.update(block)
                    left -= len(block)
        return part.whole

    def place(self, part: Part) -> Path:
        """The full part, verified, under its own name; never over another job's file.

        The part stays as a second name of the same file until ``drop``: so a repetition after a crash finds its
        own file. Where the name is taken, the file goes into a folder named after its job. Raises
        ``ChecksumMismatch``, and drops the part, when it is not the file that was announced.
        """
        if part.placed is not None:
            return part.placed
        upload = part.upload
        with usable(self.folder):
            if self.hashed(part).hexdigest() != upload.sha256:
                self.drop(part)
                raise transfer.ChecksumMismatch(f"{upload.name!r} has not the SHA-256 {upload.sha256}; send it anew")
            folder = self._folder_for(upload)
            target = folder / upload.name
            if not self._put(part, target):
                target = disk.inside(self.folder, folder / upload.job_id) / upload.name
                disk.make_folder(target.parent)
                if not self._put(part, target):
                    # In its own folder a job replaces what an earlier try of its own left behind.
                    disk.place(part.path, target)
            part.placed = target
            return target

    def _folder_for(self, upload: Upload) -> Path:
        """The folder that was asked for, or the job's own where another's file has the name of one of its levels."""
        folder = disk.inside(self.folder, upload.folder)
        try:
            disk.make_folder(folder)
        except (FileExistsError, NotADirectoryError):
            folder = disk.inside(self.folder, upload.job_id)
            disk.make_folder(folder)
        return folder

    def _put(self, part: Part, target: Path) -> bool:
        if disk.place_new(part.path, target, synced=True, keep=True):
            return True
        return not target.is_symlink() and target.samefile(part.path)

    def expire(self, before: float, spare: Collection[str]) -> int:
        """Remove what has not changed since ``before`` (seconds since the epoch); the number of files."""
        gone = 0
        with usable(self.parts):
            for path in self.parts.iterdir():
                newest = max((p.stat().st_mtime for p in (path, _note(path)) if p.exists()), default=before)
                if path.name.partition(".")[0] not in spare and newest < before:
                    path.unlink(missing_ok=True)
                    gone += 1
        return gone


def _note(path: Path) -> Path:
    return path.with_suffix(".note")
