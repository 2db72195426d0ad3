"""An image of any format is read right, or refused with a reason; nothing else."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.images import Picture, read_image, write_png, write_tiff, write_tiff_labels
from pipelines.plugin import BadInput

RNG = np.random.default_rng(7)
GREY8 = RNG.integers(0, 256, (37, 53), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (37, 53), dtype=np.uint16)
FLOAT = RNG.normal(size=(37, 53)).astype(np.float32)
RGB = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (37, 53, 3), dtype=np.uint16)
ALPHA = RNG.integers(0, 256, (37, 53), dtype=np.uint8)
BITS = GREY8 > 128
STACK = RNG.integers(0, 65536, (5, 37, 53), dtype=np.uint16)
SMOOTH = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)  # type: ignore[arg-type]
    return file.getvalue()


def pillow(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def read(folder: Path, data: bytes, **options: int) -> Picture:
    path = folder / "picture.dat"  # the name says nothing
    path.write_bytes(data)
    return read_image(path, **options)


def read_or_refuse(folder: Path, data: bytes, **options: int) -> Picture | None:
    """The picture, or None where it was refused as it should be, naming the file."""
    try:
        return read(folder, data, **options)
    except BadInput as error:
        refusal = str(error)
    assert "picture.dat" in refusal
    assert len(refusal) < 400
    return None


PALETTE = Image.fromarray(RGB).quantize(16)
PALETTE_RGB = np.asarray(PALETTE.convert("RGB"))

EXACT: dict[str, tuple[Callable[[], bytes], np.ndarray]] = {
    "tiff uint8": (lambda: tiff(GREY8), GREY8),
    "tiff uint16 big endian": (lambda: tiff(GREY16, byteorder=">"), GREY16),
    "tiff float32": (lambda: tiff(FLOAT), FLOAT),
    "tiff lzw": (lambda: tiff(GREY16, compression="lzw", predictor=True), GREY16),
    "tiff zstd": (lambda: tiff(GREY16, compression="zstd"), GREY16),
    "tiff packbits": (lambda: tiff(GREY8, compression="packbits"), GREY8),
    "tiff tiled": (lambda: tiff(GREY16, tile=(16, 16), compression="zlib"), GREY16),
    "tiff big": (lambda: tiff(GREY16, bigtiff=True), GREY16),
    "tiff rgb": (lambda: tiff(RGB, photometric="rgb"), RGB),
    "tiff rgb planar": (
        lambda: tiff(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate"),
        RGB,
    ),
    "tiff rgba": (lambda: tiff(np.dstack([RGB, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]), RGB),
    "tiff rgb 16 bit": (lambda: tiff(RGB16, photometric="rgb"), RGB16),
    "tiff grey and alpha": (
        lambda: tiff(np.dstack([GREY8, ALPHA]), photometric="minisblack", planarconfig="contig"),
        GREY8,
    ),
    "tiff channels": (lambda: tiff(STACK, photometric="minisblack"), STACK[0]),
    "tiff channels in one page": (
        lambda: tiff(STACK, photometric="minisblack", planarconfig="separate"),
        STACK[0],
    ),
    "tiff volume": (lambda: tiff(STACK, photometric="minisblack", volumetric=True, tile=(1, 16, 16)), STACK[0]),
    "tiff min is white": (lambda: tiff(GREY8, photometric="miniswhite"), 255 - GREY8),
    "tiff palette": (
        lambda: tiff(
            GREY8, photometric="palette", colormap=np.repeat(np.arange(256, dtype=np.uint16) << 8, 3).reshape(256, 3).T
        ),
        np.dstack([GREY8] * 3),
    ),
    "tiff 1 bit": (lambda: tiff(BITS, photometric="minisblack"), BITS.astype(np.uint8) * 255),
    "tiff imagej hyperstack": (
        lambda: tiff(np.stack([STACK] * 2)[:, :4], imagej=True, metadata={"axes": "TCYX"}),
        STACK[0],
    ),
    "ome-tiff": (lambda: tiff(STACK, metadata={"axes": "CYX"}, ome=True, photometric="minisblack"), STACK[0]),
    "tiff by pillow": (lambda: pillow(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "png 8": (lambda: pillow(GREY8, "PNG"), GREY8),
    "png 16": (lambda: pillow(GREY16, "PNG"), GREY16),
    "png rgb": (lambda: pillow(RGB, "PNG"), RGB),
    "png rgba": (lambda: pillow(np.dstack([RGB, ALPHA]), "PNG"), RGB),
    "png grey and alpha": (lambda: pillow(np.dstack([GREY8, ALPHA]), "PNG"), GREY8),
    "png palette": (lambda: pillow(PALETTE, "PNG"), PALETTE_RGB),
    "png palette, one colour clear": (lambda: pillow(PALETTE, "PNG", transparency=3), PALETTE_RGB),
    "png 1 bit": (lambda: pillow(BITS, "PNG"), BITS.astype(np.uint8) * 255),
    "bmp": (lambda: pillow(GREY8, "BMP"), GREY8),
    "bmp rgb": (lambda: pillow(RGB, "BMP"), RGB),
    "bmp palette": (lambda: pillow(PALETTE, "BMP"), PALETTE_RGB),
    "bmp 1 bit": (lambda: pillow(BITS, "BMP"), BITS.astype(np.uint8) * 255),
    "gif": (lambda: pillow(PALETTE, "GIF"), PALETTE_RGB),
    "gif of frames": (lambda: pillow(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)]), PALETTE_RGB),
}
LOSSY: dict[str, tuple[Callable[[], bytes], np.ndarray]] = {
    "jpeg": (lambda: pillow(SMOOTH, "JPEG", quality=95), SMOOTH),
    "jpeg rgb": (lambda: pillow(np.dstack([SMOOTH] * 3), "JPEG", quality=95), np.dstack([SMOOTH] * 3)),
    "jpeg cmyk": (
        lambda: pillow(Image.fromarray(np.dstack([SMOOTH] * 3)).convert("CMYK"), "JPEG", quality=95),
        np.dstack([SMOOTH] * 3),
    ),
    "tiff jpeg rgb": (
        lambda: tiff(np.dstack([SMOOTH] * 3), photometric="rgb", compression="jpeg"),
        np.dstack([SMOOTH] * 3),
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_pixels_come_back_exactly(tmp_path: Path, kind: str) -> None:
    make, expected = EXACT[kind]
    pixels = read(tmp_path, make()).pixels

    assert pixels.dtype == expected.dtype
    assert pixels.dtype.isnative
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("kind", LOSSY)
def test_pixels_of_a_lossy_format_come_back_nearly(tmp_path: Path, kind: str) -> None:
    make, expected = LOSSY[kind]
    pixels = read(tmp_path, make()).pixels

    assert (pixels.shape, pixels.dtype) == (expected.shape, np.uint8)
    assert np.abs(pixels.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("kind", [*EXACT, *LOSSY])
def test_a_truncated_file_is_refused_or_read_right(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make, _ = (EXACT | LOSSY)[kind]
    data = make()
    whole = read(tmp_path, data).pixels
    for length in {len(data) * tenth // 10 for tenth in range(10)} | {len(data) - n for n in range(1, 5)}:
        picture = read_or_refuse(tmp_path, data[:length])
        if picture is not None:
            np.testing.assert_array_equal(picture.pixels, whole)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF89a"]),
    rest=st.binary(max_size=200),
)
def test_garbage_is_refused_whatever_its_first_bytes_promise(tmp_path: Path, head: bytes, rest: bytes) -> None:
    picture = read_or_refuse(tmp_path, head + rest, max_pixels=10_000_000)

    assert picture is None or picture.pixels.ndim in (2, 3)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([*EXACT, *LOSSY]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_a_damaged_image_is_refused_or_read(tmp_path: Path, kind: str, places: list[tuple[float, int]]) -> None:
    data = bytearray((EXACT | LOSSY)[kind][0]())
    for place, value in places:
        data[int(place * len(data))] = value
    picture = read_or_refuse(tmp_path, bytes(data), max_pixels=10_000_000)

    assert picture is None or picture.pixels.ndim in (2, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"hello, I am a text", "is not a TIFF, PNG, JPEG, BMP or GIF"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"%PDF-1.7", "export it again"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read(tmp_path, data)


def png(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def test_an_image_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    for data in (
        tiff(GREY8),
        pillow(GREY8, "PNG"),
        pillow(GREY8, "JPEG"),
        pillow(GREY8, "BMP"),
        pillow(PALETTE, "GIF"),
    ):
        assert read(tmp_path, data, max_pixels=GREY8.size).pixels.shape[:2] == GREY8.shape
        with pytest.raises(BadInput, match="decompression bombs"):
            read(tmp_path, data, max_pixels=GREY8.size - 1)


def test_a_small_file_that_promises_a_huge_image_is_refused(tmp_path: Path) -> None:
    for data, says in ((png(40_000, 40_000), "cannot hold"), (png(60_000, 60_000), "bombs"), (png(0, 5), "no pixels")):
        with pytest.raises(BadInput, match=says):
            read(tmp_path, data)
    data = bytearray(tiff(GREY8))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages.first.tags
        for name in ("ImageWidth", "ImageLength"):
            struct.pack_into("<H", data, tags[name].valueoffset, 40_000)
    with pytest.raises(BadInput, match="are promised"):
        read(tmp_path, bytes(data))


def test_refusing_thousands_of_files_wears_nothing_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = pillow(PALETTE, "PNG", transparency=3)
    before = sys.getrefcount(None)
    for n in range(2000):
        at = n % len(data)
        read_or_refuse(tmp_path, data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])

    assert sys.getrefcount(None) > before - 500
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_no_bad_input_for_it_may_come(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.tif")


UM = "\u00b5m"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (tiff(GREY8), None),
        (tiff(GREY8, resolution=(20000, 40000), resolutionunit="CENTIMETER"), (0.25, 0.5)),
        (tiff(GREY8, resolution=(25400, 50800), resolutionunit="INCH"), (0.5, 1.0)),
        (tiff(GREY8, resolution=(72, 72), resolutionunit="INCH"), None),
        (tiff(GREY8, resolution=(300, 300), resolutionunit="INCH"), None),
        (tiff(GREY8, resolution=(2, 2), resolutionunit="NONE"), None),
        (tiff(GREY8, imagej=True, resolution=(2, 4), metadata={"unit": "um"}), (0.25, 0.5)),
        (tiff(GREY8, imagej=True, resolution=(2, 4), metadata={"unit": "micron"}), (0.25, 0.5)),
        (tiff(GREY8, imagej=True, resolution=(2, 4), metadata={"unit": "\\u00B5m"}), (0.25, 0.5)),
        (tiff(GREY8, imagej=True, resolution=(0.002, 0.004), metadata={"unit": "nm"}), (0.25, 0.5)),
        (tiff(GREY8, imagej=True, resolution=(1, 1), metadata={"unit": "pixel"}), None),
        (tiff(GREY8, imagej=True), None),
        (tiff(GREY8, ome=True), None),
        (tiff(GREY8, ome=True, metadata={"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}), (0.25, 0.5)),
        (
            tiff(
                GREY8,
                ome=True,
                metadata={
                    "PhysicalSizeX": 500,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 0.25,
                    "PhysicalSizeYUnit": UM,
                },
            ),
            (0.25, 0.5),
        ),
        (
            tiff(
                GREY8,
                ome=True,
                metadata={
                    "PhysicalSizeX": 1,
                    "PhysicalSizeXUnit": "pixel",
                    "PhysicalSizeY": 1,
                    "PhysicalSizeYUnit": "pixel",
                },
            ),
            None,
        ),
        (tiff(GREY8, ome=True, metadata={"PhysicalSizeX": 0.5}), None),
        (pillow(GREY8, "PNG"), None),
        (pillow(GREY8, "PNG", dpi=(72, 72)), None),
        (pillow(GREY8, "PNG", dpi=(25400, 50800)), (0.5, 1.0)),
    ],
)
def test_the_pixel_size_is_told_where_it_can_be_believed(
    tmp_path: Path, data: bytes, size: tuple[float, float] | None
) -> None:
    found = read(tmp_path, data).pixel_size_um

    assert found == (None if size is None else pytest.approx(size, rel=1e-4))


@pytest.mark.parametrize("pixels", [GREY8, GREY16, FLOAT, RGB, RGB16])
def test_what_is_written_as_tiff_is_read_again(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    write_tiff(path, pixels, (0.65, 0.325))
    picture = read_image(path)

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixel_size_um == pytest.approx((0.65, 0.325), rel=1e-6)
    write_tiff(path, pixels)
    assert read_image(path).pixel_size_um is None


@pytest.mark.parametrize("pixels", [GREY8, GREY16, RGB, RGB16, GREY16[::2, ::2]])
def test_what_is_written_as_png_is_read_again(tmp_path: Path, pixels: np.ndarray) -> None:
    write_png(tmp_path / "a.png", pixels)

    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, pixels)


@pytest.mark.parametrize(("most", "dtype"), [(0, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_labels_are_written_as_narrow_as_they_fit(tmp_path: Path, most: int, dtype: type) -> None:
    labels = np.zeros((9, 11), np.int64)
    labels[4, 5] = most
    write_tiff_labels(tmp_path / "labels.tif", labels)
    pixels = read_image(tmp_path / "labels.tif").pixels

    assert pixels.dtype == dtype
    np.testing.assert_array_equal(pixels, labels)
