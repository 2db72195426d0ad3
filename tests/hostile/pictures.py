"""Malformed images, made by code out of small valid ones. Each is (name, what it is expected to end as, bytes)."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 4000, (48, 64), dtype=np.uint16)
GREY = (PIXELS >> 4).astype(np.uint8)
HUGE = 2**31
READ, REFUSED, EITHER = "read", "refused", "either"
Made = tuple[str, str, bytes]


def tiff(pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **({"photometric": "minisblack", "metadata": None} | options))  # type: ignore[arg-type]
    return file.getvalue()


def pillow(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, kind)
    return file.getvalue()


VALID: dict[str, Callable[[], bytes]] = {
    "tif": tiff,
    "ome.tif": lambda: tiff(ome=True, metadata={"axes": "YX"}),
    "btf": lambda: tiff(bigtiff=True),
    "tiled.tif": lambda: tiff(tile=(16, 16), compression="zlib"),
    "png": lambda: pillow("PNG"),
    "jpg": lambda: pillow("JPEG"),
    "bmp": lambda: pillow("BMP"),
    "gif": lambda: pillow("GIF"),
}


def raw_tiff(tags: dict[int, tuple[int, int, int]], data: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory; tag -> (type, count, value or offset). The data begin at byte 512."""
    entries = b"".join(struct.pack("<HHII", tag, *fields) for tag, fields in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following)
    return head.ljust(512, b"\0") + data


def page(width: int, height: int, length: int, *, codec: int = 1, bits: int = 8, **more: tuple[int, int, int]) -> dict:
    """The tags of one strip at byte 512; ``more``: other tags as ``t<number>``."""
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, bits), 259: (3, 1, codec), 262: (3, 1, 1)}
    tags |= {273: (4, 1, 512), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, length)}
    return tags | {int(name[1:]): fields for name, fields in more.items()}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes, *extra: bytes, depth: int = 8, kind: int = 0) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zero bytes (a multiple of 2**20), deflated: one packed block again and again, and the check sum."""
    packer = zlib.compressobj(9)
    first, block = (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    end = packer.flush()[:-4] + struct.pack(">HH", count % 65_521, 1)
    return first + block * (count // 2**20 - 1) + end


def truncated() -> Iterator[Made]:
    for kind, make in VALID.items():
        whole = make()
        for place, cut in enumerate((1, 3, 9, 20, 60, len(whole) // 2, len(whole) - 40)):
            # A JPEG or a GIF without its end may still show most of its pixels; an OME-TIFF ends with its XML.
            partly = (kind in ("jpg", "gif", "png") and place > 4) or (kind == "ome.tif" and place == 6)
            yield f"cut-{place}.{kind}", EITHER if partly else REFUSED, whole[:cut]
        yield f"zeros-behind.{kind}", EITHER, whole[: len(whole) // 2].ljust(len(whole), b"\0")
        yield f"wrong-magic.{kind}", REFUSED, b"\0\0\0\0" + whole[4:]
        yield (
            f"other-magic.{kind}",
            REFUSED,
            b"\x89PNG\r\n\x1a\n" + whole[8:] if kind != "png" else b"II*\0" + whole[4:],
        )
        yield f"empty.{kind}", REFUSED, b""
        yield f"noise.{kind}", REFUSED, whole[:4] + RNG.bytes(4000)


def dimensions() -> Iterator[Made]:
    for width, height in ((HUGE, 1), (1, HUGE), (HUGE, HUGE), (2**32 - 1, 2**32 - 1), (0, 0), (0, 9), (65_535, 65_535)):
        yield f"tiff-{width}x{height}.tif", REFUSED, raw_tiff(page(width, height, 9), bytes(9))
        yield f"png-{width}x{height}.png", REFUSED, png(width, height, zlib.compress(bytes(99)))
        yield f"bmp-{width}x{height}.bmp", REFUSED, _bmp(width & 0x7FFFFFFF, height & 0x7FFFFFFF)
    jpeg = bytearray(pillow("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_535, 65_535)
    yield "jpeg-65535x65535.jpg", REFUSED, bytes(jpeg)
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 40_000, 40_000)
    yield "jpeg-40000x40000.jpg", REFUSED, bytes(jpeg)
    gif = bytearray(pillow("GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "gif-65535x65535.gif", REFUSED, bytes(gif)


def _bmp(width: int, height: int) -> bytes:
    whole = bytearray(pillow("BMP"))
    whole[18:26] = struct.pack("<ii", width, height)
    return bytes(whole)


def bombs() -> Iterator[Made]:
    side, most = 30_000, 859 * 2**20
    packed = zeros(most)
    yield "deflate.tif", REFUSED, raw_tiff(page(side, side, len(packed), codec=8), packed)
    yield "adobe-deflate.tif", REFUSED, raw_tiff(page(side, side, len(packed), codec=32946), packed)
    yield "idat.png", REFUSED, png(side, side, packed[: len(packed) // 2])
    once = imagecodecs.zstd_encode(bytes(16 * 2**20), level=3)
    yield "zstd.tif", REFUSED, raw_tiff(page(side, side, len(once), codec=50000), once)
    lzw = imagecodecs.lzw_encode(bytes(2**20))
    yield "lzw.tif", REFUSED, raw_tiff(page(side, side, len(lzw), codec=5), lzw)
    yield "lzma.tif", REFUSED, raw_tiff(page(side, side, 300, codec=34925), RNG.bytes(300))
    # Small by their headers, and much more in the strip.
    for name, codec, data in (("deflate", 8, zeros(300 * 2**20)), ("zstd", 50000, once), ("lzw", 5, lzw)):
        yield f"{name}-more-than-said.tif", EITHER, raw_tiff(page(64, 64, len(data), codec=codec), data)
    jpeg = bytearray(pillow("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    yield "jpeg-in-tiff.tif", EITHER, raw_tiff(page(64, 64, len(jpeg), codec=7), bytes(jpeg))
    rows = zlib.compress(b"".join(b"\0" + bytes(8) for _ in range(8)))
    text = chunk(b"zTXt", b"a\0\0" + zeros(200 * 2**20))
    yield "text.png", READ, png(8, 8, rows, text)
    yield "profile.png", READ, png(8, 8, rows, chunk(b"iCCP", b"a\0\0" + zeros(200 * 2**20)))
    yield "international-text.png", READ, png(8, 8, rows, chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(50 * 2**20)))
    yield "idat-more-than-said.png", EITHER, png(8, 8, zeros(200 * 2**20))
    yield "samples-65535.tif", REFUSED, raw_tiff(page(9000, 9000, 9, t277=(3, 1, 65_535)), bytes(9))


def structures() -> Iterator[Made]:
    small = page(8, 8, 64)
    yield "loop-of-one.tif", EITHER, raw_tiff(small, bytes(64), following=8)
    two = raw_tiff(small, bytes(64), following=600).ljust(600, b"\0") + raw_tiff(small, following=8)[8:200]
    yield "loop-of-two.tif", EITHER, two
    yield "next-beyond-the-end.tif", EITHER, raw_tiff(small, bytes(64), following=2**31)
    yield "first-beyond-the-end.tif", REFUSED, b"II*\0" + struct.pack("<I", 2**31) + bytes(99)
    yield "first-is-zero.tif", REFUSED, b"II*\0" + bytes(99)
    yield "first-in-itself.tif", REFUSED, b"II*\0" + struct.pack("<I", 2) + bytes(99)
    for name, tag in {
        "strips-beyond-the-end": {273: (4, 1, 2**31)},
        "strip-at-zero": {273: (4, 1, 0)},
        "many-strip-offsets": {273: (4, 2**28, 512)},
        "huge-strip-length": {279: (4, 1, 2**32 - 1)},
        "no-strip-length": {279: (4, 1, 0)},
        "rows-of-zero": {278: (4, 1, 0)},
        "bits-0": {258: (3, 1, 0)},
        "bits-65535": {258: (3, 1, 65_535)},
        "bits-7": {258: (3, 1, 7)},
        "samples-0": {277: (3, 1, 0)},
        "samples-many": {277: (3, 1, 65_535)},
        "unknown-codec": {259: (3, 1, 60_000)},
        "unknown-type": {256: (99, 1, 8)},
        "width-as-text": {256: (2, 4, 0x41414141)},
        "width-as-fraction": {256: (5, 1, 512)},
        "width-of-many": {256: (4, 2**30, 512)},
        "photometric-unknown": {262: (3, 1, 9999)},
        "palette-without-colours": {262: (3, 1, 3)},
        "predictor-unknown": {317: (3, 1, 77)},
        "sample-format-unknown": {339: (3, 1, 99)},
        "complex": {258: (3, 1, 64), 339: (3, 1, 6)},
        "tile-of-zero": {322: (4, 1, 0), 323: (4, 1, 0), 324: (4, 1, 512), 325: (4, 1, 64)},
        "tile-of-all": {322: (4, 1, 2**31), 323: (4, 1, 2**31), 324: (4, 1, 512), 325: (4, 1, 64)},
        "tile-65536": {322: (4, 1, 65_536), 323: (4, 1, 65_536), 324: (4, 1, 512), 325: (4, 1, 64)},
        "sub-directories-everywhere": {330: (4, 2**26, 8)},
        "description-beyond-the-end": {270: (2, 2**31, 512)},
        "depth-of-many": {32997: (4, 1, 2**31)},
    }.items():
        yield f"{name}.tif", EITHER, raw_tiff(small | tag, bytes(64))
    many = struct.pack("<HHII", 60_000, 3, 1, 0) * 65_535
    yield "tags-65535.tif", REFUSED, b"II*\0" + struct.pack("<IH", 8, 65_535) + many + bytes(4)
    overlapping = struct.pack("<4I", *[512] * 4) + struct.pack("<4I", *[64] * 4)
    strips = {273: (4, 4, 600), 279: (4, 4, 616), 278: (4, 1, 8), 257: (4, 1, 32)}
    yield "overlapping-strips.tif", READ, raw_tiff(small | strips, bytes(88) + overlapping)
    yield "chain-of-100000.tif", EITHER, _chain(100_000)
    yield "big-first-beyond.btf", REFUSED, b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63) + bytes(99)
    yield "big-count.btf", REFUSED, b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(99)
    bad = bytearray(VALID["png"]())
    bad[bad.index(b"IDAT") + 9] ^= 255
    yield "check-sum.png", REFUSED, bytes(bad)
    yield "no-end.png", REFUSED, VALID["png"]()[:-12]
    yield "chunk-of-4-gib.png", REFUSED, png(8, 8, b"")[:33] + struct.pack(">I", 2**32 - 1) + b"tEXt"
    yield "palette-missing.png", REFUSED, png(8, 8, zlib.compress(bytes(99)), kind=3)
    yield "depth-3.png", REFUSED, png(8, 8, zlib.compress(bytes(99)), depth=3)
    yield "encapsulated.bmp", REFUSED, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"
    yield "vector.png", REFUSED, b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def _chain(length: int) -> bytes:
    """A page, then so many empty-handed directories of one tag, each naming the next."""
    step = 2 + 12 + 4
    links = b"".join(
        struct.pack("<HHHIII", 1, 254, 4, 1, 0, 600 + step * (n + 1) if n + 1 < length else 0) for n in range(length)
    )
    return raw_tiff(page(8, 8, 64), bytes(64), following=600).ljust(600, b"\0") + links


def metadata() -> Iterator[Made]:
    laughs = '<!DOCTYPE x [<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(12))
    ome = '<?xml version="1.0"?>{}<OME><Image><Pixels PhysicalSizeX="{}" PhysicalSizeY="0.5"/></Image></OME>'
    for name, text in {
        "laughs": ome.format(laughs + "]>", "&a12;"),
        "external": ome.format('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', "&e;"),
        "external-dtd": ome.format('<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">', "0.5"),
        "unclosed": ome.format("", "0.5")[:60],
        "deep": "<OME>" + "<a>" * 100_000 + "</OME>",
        "many-pixels": "<OME>" + "<Pixels " * 200_000 + "</OME>",
        "endless-attribute": '<OME><Pixels PhysicalSizeX="' + "1" * 1_000_000 + '"/></OME>',
        "infinite": ome.format("", "inf"),
        "not-a-number": ome.format("", "nan"),
        "null": ome.format("", "\0"),
        "imagej": "ImageJ=1.53\nunit=" + "u" * 100_000 + "\nimages=99999999\nspacing=inf\n",
    }.items():
        yield f"{name}.ome.tif", READ if name != "imagej" else EITHER, tiff(description=text.encode())
    yield "encoding.ome.tif", READ, tiff(description=b"<OME>\xff\xfe\x80\xc0\xae</OME>")


def values() -> Iterator[Made]:
    floats = RNG.normal(size=(48, 64)).astype(np.float32)
    for name, pixels in {
        "all-nan": np.full((48, 64), np.nan, np.float32),
        "all-inf": np.full((48, 64), np.inf, np.float32),
        "some-nan": np.where(floats > 0, floats, np.nan).astype(np.float32),
        "minus-inf": np.where(floats > 0, floats, -np.inf).astype(np.float32),
        "float64-huge": floats.astype(np.float64) * 1e300,
        "float16": floats.astype(np.float16),
        "int8": (GREY >> 1).astype(np.int8),
        "int64": PIXELS.astype(np.int64),
        "uint64-top": np.full((48, 64), 2**64 - 1, np.uint64),
        "one-pixel": np.ones((1, 1), np.uint16),
        "one-row": np.ones((1, 3000), np.uint16),
        "all-zero": np.zeros((48, 64), np.uint8),
        "five-samples": RNG.integers(0, 9, (5, 48, 64), dtype=np.uint8),
    }.items():
        yield f"{name}.tif", READ, tiff(pixels)
    yield "complex128.tif", REFUSED, tiff(floats.astype(np.complex128))


def all_of_them() -> Iterator[Made]:
    for family in (truncated, dimensions, bombs, structures, metadata, values):
        for name, end, content in family():
            yield f"{family.__name__}-{name}", end, content
