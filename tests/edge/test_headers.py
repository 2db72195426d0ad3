"""Complete or not: every file cut at many places, and headers that lie."""

import io
import struct
import zipfile

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge.file_watcher.headers import complete

PIXELS = np.random.default_rng(1).integers(0, 255, (64, 48), dtype=np.uint8)


def tiff(**options) -> bytes:
    stack = np.stack([PIXELS] * 3)
    file = io.BytesIO()
    tifffile.imwrite(file, stack, photometric="minisblack", **options)
    return file.getvalue()


def pyramid() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(PIXELS, subifds=1, tile=(16, 16))
        writer.write(PIXELS[::2, ::2], subfiletype=1, tile=(16, 16))
    return file.getvalue()


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind)
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("a.txt", "a" * 1000)
    return file.getvalue()


FILES = {
    "classic.tif": tiff(),
    "big-endian.tif": tiff(byteorder=">"),
    "bigtiff.tif": tiff(bigtiff=True),
    "bigtiff-big-endian.tif": tiff(bigtiff=True, byteorder=">"),
    "tiled.tif": tiff(tile=(16, 16), compression="zlib"),
    "pages.ome.tif": tiff(ome=True, metadata={"axes": "ZYX"}),
    "pyramid.ome.tif": pyramid(),
    "pillow.tif": picture("TIFF"),
    "a.png": picture("PNG"),
    "a.jpg": picture("JPEG"),
    "a.bmp": picture("BMP"),
    "a.gif": picture("GIF"),
    "a.zip": archive(),
}


def judged(content: bytes, name="a.tif") -> bool | None:
    return complete(io.BytesIO(content), len(content), name)


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_complete(name):
    assert judged(FILES[name], name) is True


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_not_complete(name):
    content = FILES[name]
    # Some writers pad the end; a cut through the padding takes nothing away.
    step = max(1, len(content) // 200)
    wrong = [cut for cut in range(0, len(content) - 16, step) if judged(content[:cut], name)]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in FILES if "tif" in name])
def test_a_tiff_of_full_length_without_its_header_is_not_complete(name):
    """Some programs take the room first and write the header last."""
    content = FILES[name]
    assert judged(bytes(len(content)), name) is False
    assert judged(content[:4] + bytes(len(content) - 4), name) is False


def test_data_after_the_end_of_a_png_is_allowed():
    assert judged(FILES["a.png"] + b"more", "a.png") is True


def test_padding_after_the_end_of_a_jpeg_is_allowed():
    assert judged(FILES["a.jpg"] + bytes(100), "a.jpg") is True


@pytest.mark.parametrize("content", [b"hello, world", b"PK\5\6", bytes(100)])
def test_other_formats_cannot_be_told(content):
    assert judged(content, "notes.txt") is None


def test_a_directory_that_points_to_itself_ends():
    content = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 256, 3, 1, 1) + struct.pack("<I", 8)
    assert judged(content) is True


def test_a_count_beyond_reason_is_not_read():
    values = 2**31
    content = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 273, 4, values, 8) + bytes(4)
    assert judged(content) is False


@pytest.mark.parametrize(
    "magic", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"]
)
@settings(deadline=None)
@given(body=st.binary(max_size=300))
@example(body=b"")
def test_hostile_headers_neither_raise_nor_hang(magic, body):
    assert judged(magic + body) in (True, False, None)
