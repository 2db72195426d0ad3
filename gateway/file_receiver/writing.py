"""Bytes of one request on their way to the disk. Everything here blocks."""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Sequence
from typing import BinaryIO

from contracts import disk, transfer
from gateway.file_receiver.store import Part, Store, usable

CHECKPOINT = 64 * 2**20
"""Bytes after which a long request without a checksum is made safe, so that a crash costs no more."""


class Appending:
    """One request's bytes on their way to the end of a part. Used by one thread at a time."""

    def __init__(self, store: Store, part: Part, checksum: transfer.Checksum | None) -> None:
        self._store, self._part, self._checksum = store, part, checksum
        self._body = transfer.new_hash(checksum.algorithm) if checksum else None
        self._handle = -1
        self.received = 0
        self._whole: hashlib._Hash

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write and hash some more of the body."""
        with usable(self._part.path.parent):
            if self._handle < 0:
                self._open()
            for piece in [b"".join(pieces)] if len(pieces) > 1 else pieces:
                self._write(memoryview(piece))
            if self._checksum is None and self._part.noted:
                at = self._start + self.received
                if at - self._part.offset >= CHECKPOINT:
                    self._sync(at)

    def _open(self) -> None:
        part = self._part
        self._whole = self._store.hashed(part).copy()
        self._start = part.offset
        if self._start == 0:
            # What lies there may be the second name of a file in its place: it must not be written to.
            part.path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._handle = os.open(part.path, flags, 0o666)
        os.ftruncate(self._handle, self._start)
        os.lseek(self._handle, self._start, os.SEEK_SET)

    def _write(self, data: memoryview) -> None:
        for at in range(0, len(data), disk.BLOCK):
            block = data[at : at + disk.BLOCK]
            left = block
            while left:
                left = left[os.write(self._handle, left) :]
            self._whole.update(block)
            if self._body is not None:
                self._body.update(block)
            self.received += len(block)

    def _sync(self, offset: int) -> None:
        disk.sync_file(self._handle)
        self._store.advance(self._part, offset, self._whole.copy())

    def finish(self, pieces: Sequence[bytes], *, complete: bool) -> None:
        """Write the rest, sync, and place the file if it is full.

        Raises ``ChecksumMismatch`` when the body does not fit its checksum.
        """
        part = self._part
        with usable(part.path.parent):
            self.write(pieces)
            fits = self._body.digest() == self._checksum.digest if self._body and self._checksum else None
            good = transfer.kept(self._start, self.received, complete=complete, checksum_fits=fits)
            if good == part.upload.length or (part.noted and good > part.offset):
                self._sync(good)
            self.close()
            if not part.noted and not part.full:
                self._store.drop(part)
        if complete and fits is False:
            raise transfer.ChecksumMismatch(f"these {self.received} bytes do not fit their checksum; send them again")
        if part.full:
            self._store.place(part)

    def close(self) -> None:
        """Let go of the file. What was not finished is cut off by the next request."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Arriving:
    """A whole file of which neither size nor digest are known before it is here."""

    def __init__(self, store: Store) -> None:
        self._path = store.parts / f"{uuid.uuid4().hex}.new"
        self._folder = store.parts
        self._whole = hashlib.sha256()
        self._file: BinaryIO | None = None
        self.size = 0

    @property
    def sha256(self) -> str:
        """The digest of what has arrived."""
        return self._whole.hexdigest()

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write and hash some more."""
        with usable(self._folder):
            if self._file is None:
                self._file = self._path.open("xb")
            for piece in pieces:
                self._file.write(piece)
                self._whole.update(piece)
                self.size += len(piece)

    def finish(self, pieces: Sequence[bytes], *, complete: bool) -> None:
        """Write the rest and sync it."""
        self.write(pieces)
        assert self._file is not None
        with usable(self._folder):
            self._file.flush()
            if complete:
                disk.sync_file(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def become(self, part: Part) -> None:
        """The file is now the part's, full and synced."""
        with usable(self._folder):
            self._path.replace(part.path)
            part.offset, part.whole = self.size, self._whole

    def discard(self) -> None:
        """Remove what did not become a part's."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
