"""Submitted files on their way, on the disk. Everything here blocks."""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from contracts import disk
from gateway.file_receiver.store import Part, Store, Upload, usable
from gateway.submission.rules import is_archive


@dataclass(frozen=True)
class Submitted(Upload):
    """What is to arrive: a file of a batch, whose id ``job_id`` is here. ``modified`` is when its owner's system says
    that it was last changed; ``host`` who submits it. Its digest is known once it is here."""

    modified: str = ""

    @property
    def id(self) -> str:
        """The same for the same file, so that whoever lost the address begins anew where it was."""
        said = (self.job_id, self.folder, self.name, str(self.length), self.modified)
        return hashlib.sha256("\0".join(said).encode("utf-8", "surrogateescape")).hexdigest()[:40]

    @property
    def path(self) -> str:
        """Its name in its folders."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


class Spool(Store):
    """A store of parts that have no place of their own yet: what comes of each is known only when it is whole. A mark
    of those that were dealt with stays until it expires, so that nobody sends them again."""

    kind = Submitted

    def place(self, part: Part) -> Path:
        """Nowhere yet."""
        return part.path

    def done(self, name: str) -> int | None:
        """The length of a file that was dealt with; None for any other."""
        with usable(self.parts), contextlib.suppress(FileNotFoundError, ValueError):
            return int(_mark(self.parts / disk.bare_name(name)).read_bytes())
        return None

    def mark(self, part: Part) -> None:
        """The part is dealt with; its bytes may go."""
        with usable(self.parts):
            temporary = part.path.with_suffix(".marking")
            temporary.write_bytes(b"%d" % part.upload.length)
            disk.place(temporary, _mark(part.path))

    def archives(self) -> list[str]:
        """The ids of archives that are whole and not unpacked yet."""
        found = []
        with usable(self.parts):
            for note in self.parts.glob("*.note"):
                part = self._read_note(note.with_suffix(""))
                if part is not None and is_archive(part[0].name) and part[1] == part[0].length > 0:
                    found.append(note.stem)
        return found

    def keep(self, source: Path, job_id: str, name: str, *, as_well: bool) -> Path:
        """A file that is whole and synced, in its job's own folder. ``as_well``: where it is stays its name too.
        Repeating it is harmless."""
        with usable(self.folder):
            target = disk.inside(self.folder, job_id) / name
            disk.make_folder(target.parent)
            if not disk.place_new(source, target, synced=True, keep=as_well) and not as_well:
                source.unlink(missing_ok=True)  # an earlier try has placed it
            return target

    def take_back(self, target: Path) -> None:
        """A file that no job is for."""
        with usable(self.folder):
            target.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                os.rmdir(target.parent)


def _mark(path: Path) -> Path:
    return path.with_suffix(".done")
