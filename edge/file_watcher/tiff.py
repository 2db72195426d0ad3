"""Whether a TIFF or BigTIFF (so also an OME-TIFF) holds everything its directories point to.

Source: TIFF 6.0 (Adobe, 1992), section 2, and the BigTIFF design of libtiff.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

MAX_DIRECTORIES = 200_000
MAX_ENTRIES = 4096
MAX_ALL_ENTRIES = 2_000_000
"""Tags of all directories together, which may overlap: some seconds' reading."""
MAX_VALUES = 16_000_000
BLOCK = 65_536

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
CODES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
OFFSETS, COUNTS, SUBDIRECTORIES = {273, 324}, {279, 325}, 330


class _Short(Exception):
    """Something that is pointed to does not lie in the file."""


class _TooMuch(Exception):
    """More than is worth reading."""


class _Entry(NamedTuple):
    """One tag: how many values of which type, and where they lie in the file."""

    kind: int
    total: int
    place: int


@dataclass
class _Tiff:
    """A TIFF as far as it is read: where things lie, never what they mean."""

    file: BinaryIO
    size: int
    order: str
    big: bool
    values_left: int = MAX_VALUES
    entries_left: int = MAX_ALL_ENTRIES

    def read(self, place: int, count: int) -> bytes:
        if place + count > self.size:
            raise _Short
        self.file.seek(place)
        data = self.file.read(count)
        if len(data) < count:
            raise _Short
        return data

    def number(self, place: int, code: str) -> int:
        return int(struct.unpack(self.order + code, self.read(place, struct.calcsize(code)))[0])

    def directory(self, place: int) -> tuple[dict[int, _Entry], int]:
        """The entries of the directory at a place, and the place of the next one (0: none)."""
        head, step = (8, 20) if self.big else (2, 12)
        count = self.number(place, "Q" if self.big else "H")
        if count == 0:
            raise _Short
        self.entries_left -= count
        if count > MAX_ENTRIES or self.entries_left < 0:
            raise _TooMuch
        raw = self.read(place + head, count * step)
        entries = {}
        for start in range(0, count * step, step):
            tag, entry = self._entry(raw[start : start + step], place + head + start)
            entries[tag] = entry
        return entries, self.number(place + head + count * step, "Q" if self.big else "I")

    def _entry(self, raw: bytes, at: int) -> tuple[int, _Entry]:
        tag, kind, count, offset = struct.unpack(self.order + ("HHQQ" if self.big else "HHII"), raw)
        inline = 8 if self.big else 4
        length = TYPE_BYTES.get(kind, 1) * count
        place = at + len(raw) - inline if length <= inline else offset
        if place + length > self.size:
            raise _Short
        return tag, _Entry(kind, count, place)

    def values(self, entry: _Entry) -> Iterator[tuple[int, ...]]:
        """The entry's whole numbers, a block at a time."""
        code = CODES.get(entry.kind)
        if code is None:
            raise _TooMuch
        self.values_left -= entry.total
        if self.values_left < 0:
            raise _TooMuch
        width = struct.calcsize(code)
        for first in range(0, entry.total, BLOCK):
            count = min(BLOCK, entry.total - first)
            raw = self.read(entry.place + first * width, count * width)
            yield struct.unpack(f"{self.order}{count}{code}", raw)


def tiff_complete(file: BinaryIO, size: int) -> bool | None:
    """True when all directories, tags, strips and tiles lie in the file; None when it is too odd to tell."""
    try:
        return _walk(_opened(file, size))
    except _Short:
        return False
    except (_TooMuch, MemoryError):
        return None


def _opened(file: BinaryIO, size: int) -> _Tiff:
    file.seek(0)
    head = file.read(4)
    order = "<" if head[:2] == b"II" else ">"
    return _Tiff(file, size, order, big=b"+" in head)


def _walk(tiff: _Tiff) -> bool:
    first = tiff.number(8, "Q") if tiff.big else tiff.number(4, "I")
    if first == 0:
        return False
    waiting, seen = [first], set[int]()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        if len(seen) > MAX_DIRECTORIES:
            raise _TooMuch
        entries, following = tiff.directory(place)
        _check_image(tiff, entries)
        if following:
            waiting.append(following)
        if SUBDIRECTORIES in entries:
            if entries[SUBDIRECTORIES].total + len(waiting) > MAX_DIRECTORIES:
                raise _TooMuch
            waiting += [place for block in tiff.values(entries[SUBDIRECTORIES]) for place in block if place]
    return True


def _check_image(tiff: _Tiff, entries: dict[int, _Entry]) -> None:
    """Raises ``_Short`` unless every strip or tile lies in the file, and at least one was written."""
    for offset_tag, count_tag in zip(sorted(OFFSETS), sorted(COUNTS), strict=True):
        offsets, counts = entries.get(offset_tag), entries.get(count_tag)
        if offsets is None or counts is None:
            continue
        written = False
        for places, lengths in zip(tiff.values(offsets), tiff.values(counts), strict=False):
            for place, length in zip(places, lengths, strict=False):
                written = written or place > 0
                if place + length > tiff.size or (place == 0 and length > 0):
                    raise _Short
        if not written and offsets.total:
            raise _Short
