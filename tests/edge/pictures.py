"""Small real pictures, made without an image library."""

import random
import struct
import zlib


def png(seed: int = 0, width: int = 8, height: int = 8) -> bytes:
    """A whole PNG of random pixels."""
    dice = random.Random(seed)
    rows = b"".join(b"\0" + dice.randbytes(width) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff(seed: int = 0, pixels: int = 3000) -> bytes:
    """A whole TIFF of one strip; its directory comes before the pixels, as some cameras write it."""
    data = random.Random(seed).randbytes(pixels)
    entries = [(256, 3, pixels), (257, 3, 1), (258, 3, 8), (262, 3, 1), (273, 4, 8 + 2 + 7 * 12 + 4), (278, 3, 1)]
    entries.append((279, 4, pixels))
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + tags + bytes(4) + data
