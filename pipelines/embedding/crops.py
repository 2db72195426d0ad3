"""Cut the cells out of an image: one scale of grey, one size of cell, whatever the camera and the magnification."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from pipelines.nuclei.normalise import Image, Plane, black_and_white, finite, inverted, stained

SIDE = 64
"""Height and width of what the encoder sees, pixels."""
CONTEXT = 1.7
"""A window is as wide as so many median diameters of the cells of its image, so that a cell that is small among its
neighbours stays small. Red cells in smears at 64 pixels a window have it so."""
LEAST_WINDOW = 16.0
SAMPLES = 1 << 17
"""Percentiles are taken of about this many pixels."""

Crops = NDArray[np.uint8]
"""(n, side, side), cells bright on dark."""


def cell_plane(image: Image) -> Plane:
    """The image as a float32 (H, W) plane in 0..1, cells bright on dark.

    Of stained colour the green channel is taken, which both eosin and haemoglobin absorb; of colour on a dark ground
    the brightest. Intensities are scaled between two percentiles of the image, then the square root is taken, as
    ``pipelines.nuclei.normalise`` does it, so colours and exposure of a laboratory are gone. Raises ``ValueError`` for
    other shapes than (H, W), (H, W, 1), (H, W, 3), (H, W, 4).
    """
    tinted = stained(image)
    plane = finite(_channel(image, tinted))
    step = max(1, int(np.sqrt(plane.size / SAMPLES)))
    sample = np.sort(plane[::step, ::step], axis=None)
    low, high = black_and_white(plane, sample, np.issubdtype(image.dtype, np.integer))
    if high <= low:
        return np.zeros(plane.shape, np.float32)
    if tinted or inverted(sample):
        low, high = high, low
    scaled: Plane = np.clip((plane - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)
    return np.sqrt(scaled, out=scaled)


def _channel(image: Image, tinted: bool) -> Plane:
    if image.ndim == 2:
        return np.ascontiguousarray(image, np.float32)
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(f"an image is (H, W), (H, W, 3) or (H, W, 4), not {image.shape}")
    if image.shape[2] == 1:
        return np.ascontiguousarray(image[..., 0], np.float32)
    return np.ascontiguousarray(image[..., 1] if tinted else image[..., :3].max(axis=2), np.float32)


def window_of(diameters: NDArray[Any] | Sequence[float]) -> float:
    """The side of the window around each cell of an image, pixels, given the cells' equivalent diameters, of which
    there must be some."""
    return max(LEAST_WINDOW, CONTEXT * float(np.median(diameters)))


def cut(plane: Plane, centres: NDArray[Any], window: float, side: int = SIDE) -> Crops:
    """A window around each centre, brought to ``side`` pixels: uint8 (n, side, side).

    ``plane``: float32 (H, W) in 0..1; ``centres``: (n, 2), y and x in pixels from the middle of the first;
    ``window``: pixels of the plane. What lies beyond the image is mirrored.
    """
    levels = np.rint(np.clip(plane, 0.0, 1.0) * np.float32(255)).astype(np.uint8)
    scale = side / window
    if round(scale * min(plane.shape)) < 1:
        raise ValueError(f"a window of {window:g} pixels is too large for an image of {plane.shape}")
    if abs(scale - 1) > 0.02:  # once for the whole image: what is far smaller is averaged, not skipped over
        height, width = (max(1, round(length * scale)) for length in plane.shape)
        levels = np.asarray(Pillow.fromarray(levels).resize((width, height), Pillow.Resampling.BILINEAR))
    margin = side // 2 + 1
    levels = np.pad(levels, margin, mode="symmetric")
    factors = np.array([levels.shape[0] - 2 * margin, levels.shape[1] - 2 * margin]) / plane.shape
    corners = np.rint((np.asarray(centres, np.float64) + 0.5) * factors - 0.5).astype(int) + margin - side // 2
    crops = np.empty((len(corners), side, side), np.uint8)
    for crop, (top, left) in zip(crops, corners, strict=True):
        crop[:] = levels[top : top + side, left : left + side]
    return crops


def whole(plane: Plane, side: int = SIDE) -> Crops:
    """A small image as one crop, uint8 (1, side, side): its middle square, for images that show one cell each."""
    length = min(plane.shape)
    centre = (np.array(plane.shape) - 1) / 2
    return cut(plane, centre[None], float(length), side)
