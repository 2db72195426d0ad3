"""The write-ahead log of vectors: what ``append`` has returned from is on the disk.

A file is a head and records; a record is a head of its own (magic word, kind, count, CRC-32 of the payload, CRC-32 of
the head) and the payload: ids (int64), and for those that are added their vectors (float16). A record that a crash has
torn was never answered: it is cut off. A record that is damaged with good ones after it had been answered: ``Damaged``.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.disk import room_at, sync_file, sync_folder
from contracts.errors import Unavailable
from gateway.vectors.port import Damaged, Ids, Vectors

MAGIC, RECORD = b"cytobus vectors 1\n", b"VREC"
ADD, DELETE = 1, 2
HEAD = struct.Struct("<4sBIII")
"""Magic word, kind, count, CRC of the payload, CRC of all before."""
OPENING = struct.Struct("<18sI")


@dataclass(frozen=True)
class Record:
    """Ids that were added with vectors (n, dimension), or deleted, which have none."""

    ids: Ids
    vectors: Vectors | None = None


class Log:
    """One file of the log, written by one thread at a time."""

    def __init__(self, path: Path, dimension: int) -> None:
        """A new file, or one that goes on after its last good record (see ``mended``)."""
        self._path, self._dimension = path, dimension
        self._broken = ""
        with room_at(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o640)
            try:
                self._length = os.fstat(self._file).st_size
                if not self._length:
                    self._write(OPENING.pack(MAGIC, dimension))
                    sync_folder(path.parent)
            except BaseException:
                os.close(self._file)
                raise

    @property
    def length(self) -> int:
        """Bytes."""
        return self._length

    def append(self, record: Record) -> None:
        """Durable when it returns; when it raises (``Full``, ``OSError``), nothing of it is left."""
        if self._broken:
            raise Unavailable(self._broken)
        kind = DELETE if record.vectors is None else ADD
        payload = record.ids.astype("<i8").tobytes()
        if record.vectors is not None:
            payload += record.vectors.astype("<f2").tobytes()
        head = HEAD.pack(RECORD, kind, len(record.ids), zlib.crc32(payload), 0)[:-4]
        with room_at(self._path):
            self._write(head + struct.pack("<I", zlib.crc32(head)) + payload)

    def _write(self, content: bytes) -> None:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left) :]
            sync_file(self._file)
        except OSError:
            self._take_back()
            raise
        self._length += len(content)

    def _take_back(self) -> None:
        """What was written in part must not stand before the next record."""
        try:
            os.ftruncate(self._file, self._length)
            sync_file(self._file)
        except OSError as error:
            self._broken = f"{self._path} can neither be written nor mended ({error}): free its disk, then restart"

    def close(self) -> None:
        os.close(self._file)


def replayed(path: Path, dimension: int) -> Iterator[Record]:
    """The records of a file, oldest first, up to where a crash has torn it. Raises ``Damaged``, and before anything is
    replayed, where a record that had been answered cannot be read."""
    content = path.read_bytes()
    for start, end in _records(content, path, dimension)[0]:
        yield _record(content[start:end], dimension)


def mended(path: Path, dimension: int) -> int:
    """Cut off what a crash has torn, and say how many bytes that were. Raises ``Damaged``."""
    content = path.read_bytes()
    good = _records(content, path, dimension)[1]
    if good < len(content):
        os.truncate(path, good)
        sync_file(path)
    return len(content) - good


def _records(content: bytes, path: Path, dimension: int) -> tuple[list[tuple[int, int]], int]:
    """Where the good records lie, and where the last of them ends."""
    if len(content) < OPENING.size:
        return [], 0  # a crash came while it was made
    if content[: OPENING.size] != OPENING.pack(MAGIC, dimension):
        raise Damaged(f"{path} is no log of vectors of {dimension} numbers, or damaged: {REMEDY}")
    places, at = [], OPENING.size
    while end := _end_of(content, at, dimension):
        places.append((at, end))
        at = end
    _check_tail(content, at, path, dimension)
    return places, at


def _check_tail(content: bytes, at: int, path: Path, dimension: int) -> None:
    """Whether what cannot be read is the end. Records after it say that it once was whole."""
    place = content.find(RECORD, at + 1)
    while place >= 0:
        if _end_of(content, place, dimension):
            raise Damaged(f"{path} is damaged from byte {at} to {place}, where vectors lay that were kept: {REMEDY}")
        place = content.find(RECORD, place + 1)


def _end_of(content: bytes, at: int, dimension: int) -> int:
    """Where the record that begins here ends; 0 if there is none that is whole."""
    if at + HEAD.size > len(content):
        return 0
    magic, kind, count, digest, check = HEAD.unpack_from(content, at)
    if magic != RECORD or check != zlib.crc32(content[at : at + HEAD.size - 4]) or kind not in (ADD, DELETE):
        return 0
    first = at + HEAD.size
    end = first + int(count) * (8 + 2 * dimension * (kind == ADD))
    return end if end <= len(content) and zlib.crc32(content[first:end]) == digest else 0


def _record(content: bytes, dimension: int) -> Record:
    _, kind, count, _, _ = HEAD.unpack_from(content)
    ids: Ids = np.frombuffer(content, "<i8", count, HEAD.size).astype(np.int64)
    if kind == DELETE:
        return Record(ids)
    halves: npt.NDArray[np.float16] = np.frombuffer(content, "<f2", offset=HEAD.size + 8 * count)
    return Record(ids, halves.reshape(count, dimension).astype(np.float32))


REMEDY = "put the file back from a copy, or remove it and embed again what was added last"
