"""Whether a file holds all the bytes its own header promises. Reads little, whatever the header says."""

import struct
from collections.abc import Callable
from typing import BinaryIO

from edge.file_watcher.tiff import tiff_complete

TAIL = 66_000
"""Bytes looked at from the end, at most: a ZIP directory's end may lie this far from it."""
MAX_CHUNKS = 100_000
"""Chunks or blocks of a file that are looked at, all in all."""

KNOWN = (".tif", ".tiff", ".btf", ".tf8", ".png", ".jpg", ".jpeg", ".bmp", ".gif")


def complete(file: BinaryIO, size: int, name: str) -> bool | None:
    """True or False for a known format, None for others. Never raises for what the file holds.

    A name that promises a known format makes a file incomplete while its first bytes are missing or zero.
    """
    file.seek(0)
    head = file.read(16)
    for magic, check in CHECKS:
        if head.startswith(magic):
            return check(file, size)
    if name.lower().endswith(KNOWN) and (len(head) < 4 or not any(head)):
        return False
    return None


def _end(file: BinaryIO, size: int, count: int) -> bytes:
    file.seek(max(0, size - count))
    return file.read(min(size, count))


def png_complete(file: BinaryIO, size: int) -> bool | None:
    """PNG (W3C, 3rd edition): the last chunk is IEND; data may follow it."""
    if _end(file, size, 12) == b"\0\0\0\0IEND\xaeB`\x82":
        return True
    place = 8
    for _ in range(MAX_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return False
        length, kind = struct.unpack(">I4s", head)
        place += 12 + length
        if place > size:
            return False
        if kind == b"IEND":
            return True
    return None


def jpeg_complete(file: BinaryIO, size: int) -> bool | None:
    """JPEG (ITU-T T.81): ends with EOI, perhaps padded; with an EOI a little earlier it cannot be told."""
    tail = _end(file, size, 4096)
    if tail.rstrip(b"\0\r\n\xff").endswith(b"\xff\xd9"):
        return True
    return None if b"\xff\xd9" in tail else False


def bmp_complete(file: BinaryIO, size: int) -> bool | None:
    """BMP: the header holds the file's size; some writers leave it 0."""
    file.seek(2)
    raw = file.read(12)
    if len(raw) < 12:
        return False
    promised, offset = struct.unpack("<I4xI", raw)
    if offset > size:
        return False
    return promised <= size if promised else None


def gif_complete(file: BinaryIO, size: int) -> bool | None:
    """GIF89a: block after block up to the trailer; data may follow it."""
    file.seek(10)
    flags = file.read(1)
    place = 13 + (_colours(flags[0]) if flags else 0)
    left = MAX_CHUNKS
    while left > 0:
        if place >= size:
            return False
        file.seek(place)
        head = file.read(10)
        match head[:1]:
            case b";":
                return True
            case b"!":
                data = place + 2
            case b"," if len(head) == 10:
                data = place + 11 + _colours(head[9])
            case _:
                return False
        place, blocks = _after_blocks(file, data, size, left)
        left -= blocks
    return None


def _colours(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(file: BinaryIO, place: int, size: int, most: int) -> tuple[int, int]:
    """Where a chain of GIF's data sub-blocks ends, or has come after ``most`` of them; and how many were read."""
    for read in range(1, most + 1):
        if place >= size:
            return size, read
        file.seek(place)
        count = file.read(1)
        place += 1 + (count[0] if count else 0)
        if not count or not count[0]:
            return place, read
    return place, most


def zip_complete(file: BinaryIO, size: int) -> bool | None:
    """ZIP (APPNOTE 4.3.16): the end of its directory is there, with the comment it announces."""
    tail = _end(file, size, TAIL)
    record = tail[tail.rfind(b"PK\x05\x06") :] if b"PK\x05\x06" in tail else b""
    return len(record) >= 22 and len(record) >= 22 + int(struct.unpack("<H", record[20:22])[0])


CHECKS: tuple[tuple[bytes, Callable[[BinaryIO, int], bool | None]], ...] = (
    (b"II*\0", tiff_complete),
    (b"MM\0*", tiff_complete),
    (b"II+\0", tiff_complete),
    (b"MM\0+", tiff_complete),
    (b"\x89PNG\r\n\x1a\n", png_complete),
    (b"\xff\xd8\xff", jpeg_complete),
    (b"BM", bmp_complete),
    (b"GIF8", gif_complete),
    (b"PK\x03\x04", zip_complete),
)
