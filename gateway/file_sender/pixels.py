"""Reads one plane of an image file for a preview; a browser's picture needs no more."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

MOST = 400_000_000
"""Samples of an image for which a preview is made at most; the archive keeps larger ones without."""


def first_plane(path: Path) -> NDArray[Any]:
    """(H, W) or (H, W, 3) of a TIFF, BMP, PNG or JPEG. Raises ``ValueError`` or ``OSError`` when it is none."""
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            return _tiff(path)
        # Only these: other readers of the library start programs, or read what the file names.
        with Image.open(path, formats=("BMP", "GIF", "JPEG", "PNG")) as image:
            _check(image.width * image.height)
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError):
        raise
    except Exception as error:  # decoders throw what they like at a damaged file
        raise ValueError(f"{path.name} cannot be shown: {error}") from None


def _tiff(path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        _check(max(page.size, math.prod(page.tile or ())))
        pixels: NDArray[Any] = np.asarray(page.asarray())
    if pixels.ndim == 3 and pixels.shape[-1] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, -1) if pixels.shape[0] == 3 else pixels[0]
    if pixels.ndim == 3:
        return pixels[..., :3]
    return pixels.reshape(pixels.shape[-2:]) if pixels.ndim > 2 else np.atleast_2d(pixels)


def _check(samples: int) -> None:
    if samples > MOST:
        raise ValueError(f"{samples} samples are too many for a preview")
