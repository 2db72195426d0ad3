"""One picture out of an image file of any laboratory format, and back: TIFF, PNG, JPEG, BMP, GIF."""

import contextlib
import io
import logging
import math
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.pixel_size import Size, of_png, of_tiff
from pipelines.plugin import BadInput

if TYPE_CHECKING:  # loaded when first needed, so that importing this module costs little
    from PIL.ImageFile import ImageFile
    from tifffile import TiffFile, TiffPage

MAX_PIXELS = 2_000_000_000
"""Samples an image may promise to have before it is taken for a decompression bomb."""

MAX_BYTES = 4 * 2**30
"""Bytes that an image may take once it is decoded."""
BOMB_BYTES = 256 * 2**20
BOMB_FACTOR = 200
"""An image that would grow by more than this factor to more than ``BOMB_BYTES`` is taken for a decompression bomb."""

Pixels = NDArray[Any]

_NEEDED = {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}
"""TIFF tags without which pixels are misread (TIFF 6.0: size, depth, codec, colours, strips, tiles, type)."""
SPARE = 2**30
"""Bytes that decoders may take for themselves."""
_DENSEST = 4096
"""No codec among deflate, LZW and PackBits makes data smaller than by this factor."""


@dataclass(frozen=True)
class Picture:
    """One plane of an image file."""

    pixels: Pixels
    """(H, W) or (H, W, 3), RGB; the file's dtype in native byte order (1 bit becomes uint8 0 and 255)."""
    pixel_size_um: Size | None = None
    """Height and width of a pixel in micrometres, where the file says so plausibly."""


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The first plane of an image; its format is told by its first bytes, never by its name.

    Palettes become RGB, an alpha channel is dropped, MINISWHITE is turned round, CMYK becomes RGB.

    Raises ``BadInput`` for whatever is not a whole image of at most ``max_pixels`` samples, and ``OSError``
    when the file cannot be opened at all, which may pass.
    """
    with path.open("rb") as file:
        head = file.read(16)
        size = os.fstat(file.fileno()).st_size
    with _blaming(path), _quiet():
        if size > MAX_BYTES and head[:2] not in (b"II", b"MM"):
            raise BadInput(f"is a file of {size:,} bytes; {MAX_BYTES:,} are the most: crop it")
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            picture = _read_tiff(path, max_pixels)
        elif head.startswith(b"\x89PNG\r\n\x1a\n"):
            picture = _read_png(path.read_bytes(), max_pixels)
        elif head.startswith((b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a")):
            picture = _read_with_pillow(path.read_bytes(), max_pixels)
        else:
            raise BadInput("is empty" if not head else "is not a TIFF, PNG, JPEG, BMP or GIF image")
        return Picture(_tidied(picture.pixels), picture.pixel_size_um)


def write_png(path: Path, pixels: Pixels) -> None:
    """Write (H, W) or (H, W, 3) uint8 or uint16 as PNG, deflate level 1."""
    import imagecodecs

    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=1))


def write_tiff(path: Path, pixels: Pixels, pixel_size_um: Size | None = None) -> None:
    """Write (H, W) or (H, W, 3) of any real dtype as TIFF, deflate level 1, its pixel size in the tags."""
    import tifffile

    resolution = None if pixel_size_um is None else (1e4 / pixel_size_um[1], 1e4 / pixel_size_um[0])
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        compression="zlib",
        compressionargs={"level": 1},
        resolution=resolution,
        resolutionunit=None if resolution is None else "CENTIMETER",
        metadata=None,
    )


def write_tiff_labels(path: Path, labels: Pixels, pixel_size_um: Size | None = None) -> None:
    """Write instance labels (H, W), 0 = background, as TIFF of uint16, or uint32 beyond 65,535 objects."""
    narrow = labels.size == 0 or int(labels.max()) <= np.iinfo(np.uint16).max
    write_tiff(path, labels.astype(np.uint16 if narrow else np.uint32, copy=False), pixel_size_um)


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn whatever a decoder throws at a damaged file into a ``BadInput`` that names file and remedy."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}; export it again as TIFF, PNG or JPEG") from None
    except MemoryError:
        raise BadInput(
            f"{path.name}: does not fit in the memory of this worker; crop or tile it, or allow more"
        ) from None
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise BadInput(
            f"{path.name}: is damaged or of an unsupported kind ({what}); "
            "check that it opens elsewhere, then copy or export it again"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Decoders' warnings say nothing to an operator that the exception or the picture does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_size(height: int, width: int, samples: int, max_pixels: int) -> None:
    if min(height, width, samples) < 1:
        raise BadInput(f"has no pixels ({width} x {height})")
    if height * width * samples > max_pixels:
        raise BadInput(
            f"promises {width} x {height} x {samples} samples, more than the {max_pixels:,} allowed "
            "(a limit against decompression bombs): crop it"
        )


def _check_bytes(decoded: int, stored: int) -> None:
    """Refuse what would take too much memory, before it is decoded. Bytes, decoded and in the file."""
    if decoded > MAX_BYTES:
        raise BadInput(f"promises {decoded:,} bytes of pixels, more than the {MAX_BYTES:,} allowed: crop it")
    if decoded > BOMB_BYTES and decoded > BOMB_FACTOR * stored:
        raise BadInput(
            f"promises {decoded:,} bytes of pixels out of {stored:,}, as decompression bombs do: "
            "if it is an image, crop it or save it uncompressed"
        )


@contextlib.contextmanager
def _growing_at_most(extra: int) -> Iterator[None]:
    """The process's memory may grow by so many bytes inside: a codec whose data have a size of their own, such as
    JPEG in TIFF, may want more than the header said. Without effect where the system cannot do it."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    ceilings = [used + extra, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(ceilings), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _tidied(pixels: Pixels) -> Pixels:
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3):
        raise BadInput(f"has pixels of an unusable kind ({pixels.dtype}, {pixels.ndim} axes)")
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _first_colours(pixels: Pixels, colour: bool) -> Pixels:
    """(H, W, S) without alpha and extra samples: RGB where the samples are colours, else the first."""
    return pixels[..., :3] if colour and pixels.shape[-1] >= 3 else pixels[..., 0]


# PNG, JPEG, BMP, GIF


def _read_png(data: bytes, max_pixels: int) -> Picture:
    import imagecodecs

    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    samples = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(kind, 1)
    _check_size(height, width, samples, max_pixels)
    stored = height * width * depth * (1 if kind == 3 else samples) // 8
    if stored > len(data) * _DENSEST:
        raise BadInput(f"ends too soon: {len(data):,} bytes cannot hold {width} x {height} pixels")
    _check_bytes(height * width * samples * max(1, depth // 8), len(data))
    pixels = imagecodecs.png_decode(_sound_png(data))
    if pixels.ndim == 3:
        pixels = _first_colours(pixels, True)
    return Picture(pixels, of_png(data))


def _sound_png(data: bytes) -> bytes:
    """The chunks that make the picture, their check sums verified; the rest, transparency too, left out.

    The decoder is not to see a damaged chunk: it writes warnings to stderr, and each of its failures takes a
    reference of ``None`` too many (imagecodecs 2026.3.6), which ends a Python before 3.12 after some thousands.
    """
    view, kept, at = memoryview(data), [data[:8]], 8
    while len(data) >= at + 12:
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND") and end <= len(data):
            if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
                raise BadInput(f"is damaged: the check sum of its {name.decode()} is wrong; copy it again")
            kept.append(data[at:end])
            if name == b"IEND":
                return b"".join(kept)
        elif name[:1].isupper():
            break
        at = end
    raise BadInput("is damaged or ends too soon; copy it again")


def _read_with_pillow(data: bytes, max_pixels: int) -> Picture:
    """The classes are used directly: ``Image.open`` has a size limit of its own, global to the process."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile

    kinds: dict[bytes, Callable[[io.BytesIO], ImageFile]]
    kinds = {b"\xff\xd8": JpegImageFile, b"BM": BmpImageFile, b"GI": GifImageFile}
    with kinds[data[:2]](io.BytesIO(data)) as image:
        _check_size(image.height, image.width, len(image.getbands()), max_pixels)
        _check_bytes(image.height * image.width * 3, len(data))
        image.load()
        if image.mode in ("1", "L", "LA"):
            return Picture(np.asarray(image.convert("L")))
        return Picture(np.asarray(image.convert("RGB")))


# TIFF


def _read_tiff(path: Path, max_pixels: int) -> Picture:
    """The first page: of a stack of any axes that is its first plane."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is told by exception
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        _check_directory(tiff, page)
        decoded = _check_page(page, path.stat().st_size, max_pixels)
        with _growing_at_most(3 * decoded + SPARE):
            pixels = page.asarray(maxworkers=1)
        return Picture(_plane(page, pixels), of_tiff(tiff, page))


def _check_directory(tiff: "TiffFile", page: "TiffPage") -> None:
    """Refuse a page whose tags the library could not read: it would guess instead."""
    form = tiff.tiff
    tiff.filehandle.seek(page.offset)
    (count,) = struct.unpack(form.tagnoformat, tiff.filehandle.read(form.tagnosize))
    tags = tiff.filehandle.read(count * form.tagsize)
    codes = {struct.unpack_from(form.byteorder + "H", tags, n * form.tagsize)[0] for n in range(count)}
    if lost := [code for code in sorted(codes & _NEEDED) if code not in page.tags]:
        raise BadInput(f"is damaged: what it says of its pixels cannot be read (tags {lost}); copy it again")


def _check_page(page: "TiffPage", file_size: int, max_pixels: int) -> int:
    """Refuse before anything is allocated what is too large, or not all there; the bytes that it decodes to."""
    _check_size(page.imagelength, page.imagewidth, page.samplesperpixel * page.imagedepth, max_pixels)
    ends = (at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=False))
    if max(ends, default=0) > file_size:
        raise BadInput("ends too soon: part of its pixels is missing; copy it again")
    there = sum(page.databytecounts)
    promised = page.imagelength * page.imagewidth * page.samplesperpixel * page.imagedepth
    promised = promised * page.bitspersample // 8
    codec = int(page.compression)
    if (codec == 1 and there < promised) or (codec in (5, 8, 32773, 32946) and there * _DENSEST < promised):
        raise BadInput(f"holds {there:,} bytes of pixels where {promised:,} are promised; copy it again")
    decoded = max(promised, page.imagelength * page.imagewidth * page.samplesperpixel * page.imagedepth)
    if page.is_tiled:
        # A single tile is decoded whole, however little of it lies in the image.
        decoded = max(decoded, math.prod(page.tile or ()) * page.samplesperpixel * max(1, page.bitspersample // 8))
    _check_bytes(decoded, min(there, file_size))
    return int(decoded)


def _plane(page: "TiffPage", pixels: Pixels) -> Pixels:
    """(H, W) or (H, W, 3) of a page whose axes may be any of Z, Y, X and S."""
    import tifffile

    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    axes = page.axes
    while "Z" in axes:
        pixels, axes = pixels.take(0, axes.index("Z")), axes.replace("Z", "", 1)
    if photometric == "PALETTE" and page.colormap is not None:
        return _coloured(pixels, page.colormap)
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
        pixels = _first_colours(pixels, photometric in ("RGB", "YCBCR"))
    if photometric in ("SEPARATED", "CIELAB", "ICCLAB", "ITULAB"):
        raise BadInput(f"has colours of the kind {photometric}; export it as RGB")
    if photometric == "MINISWHITE":
        pixels = _turned(pixels)
    return pixels


def _coloured(pixels: Pixels, colours: Pixels) -> Pixels:
    """Apply a TIFF colour map (3, n), which is uint16 by the standard, but 0..255 by some writers."""
    wide = colours.max(initial=0) > 255
    eight: Pixels = (colours >> 8 if wide else colours).astype(np.uint8).T
    return eight[pixels]


def _turned(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.bool_:
        return ~pixels
    return np.iinfo(pixels.dtype).max - pixels if pixels.dtype.kind == "u" else pixels
