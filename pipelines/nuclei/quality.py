"""Warnings about an image: out of focus, saturated, empty."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.nuclei.normalise import Plane

OUT_OF_FOCUS, SATURATED, EMPTY = "out-of-focus", "saturated", "empty"
BLURRED = 0.125
"""Images with less ``sharpness`` are out of focus; an edge blurred by s pixels scores about 0.4 / s.

Of 91 training and validation images none scores less than 0.124 as recorded; blurred by 4 pixels, nine in
ten score less than 0.11.
"""
CLIPPED = 0.01
"""Images of which more than this lies at the end of the camera's range are saturated."""
FULL_SCALES = (1, 255, 1023, 4095, 16383, 65535)
"""Highest values of cameras of 8 to 16 bit, all of which come in 16-bit files, and of scaled floats."""
STEEP = 75
"""Percentile of the steepness along the outlines: where nuclei touch, even sharp outlines are flat."""


def flags(image: NDArray[Any], plane: Plane, labels: NDArray[Any]) -> tuple[str, ...]:
    """The warnings about an image as stored, given its normalised plane and its labels, both (H, W).

    ``empty``: no nucleus was found. ``saturated``: ``saturation`` exceeds ``CLIPPED``. ``out-of-focus``:
    ``sharpness`` is below ``BLURRED``; an empty image is not judged.
    """
    empty = not labels.any()
    checks = {
        OUT_OF_FOCUS: not empty and sharpness(plane, labels) < BLURRED,
        SATURATED: saturation(image, plane) > CLIPPED,
        EMPTY: empty,
    }
    return tuple(flag for flag, raised in checks.items() if raised)


def sharpness(plane: Plane, labels: NDArray[Any]) -> float:
    """How steeply intensity rises at the outlines of the nuclei, as a share of their contrast, per pixel.

    A step blurred by a Gaussian of deviation s rises by 1 / (s sqrt(2 pi)) of its height per pixel (the
    edge-width measure of Marziliano et al. 2002). Unlike the spectrum or the variance of the Laplacian
    (Pech-Pacheco et al. 2000) it does not depend on how many nuclei there are, nor much on camera noise.
    Takes a normalised float32 (H, W) plane and its labels, of which there must be some.
    """
    linear = plane * plane  # back from the square root
    inside = labels > 0
    names, values = labels[inside], linear[inside]
    peaks = np.zeros(int(names.max()) + 1, np.float32)
    np.maximum.at(peaks, names, values)
    ground = linear[~inside]
    contrast = np.maximum(peaks - (np.median(ground) if ground.size else linear.min()), 1e-3)
    rise = _gradient(linear)
    y, x = np.nonzero(_outline(inside))
    below, right = np.minimum(y + 1, plane.shape[0] - 1), np.minimum(x + 1, plane.shape[1] - 1)
    beside = rise[y, x], rise[y - 1, x], rise[below, x], rise[y, x - 1], rise[y, right]
    steepness = np.max(beside, axis=0) / contrast[labels[y, x]]
    return float(np.percentile(steepness, STEEP)) if steepness.size else 1.0


def saturation(image: NDArray[Any], plane: Plane) -> float:
    """The share of pixels at an end of the camera's range that also look like nuclei, 0 to 1.

    A black ground, or a white slide, is no fault: only pixels that are bright in the normalised plane
    count. In colour one clipped channel suffices. Images whose highest value ends no usual range have no white end.
    """
    top = image.max()
    clipped = image == 0
    if top in FULL_SCALES:
        clipped |= image == top
    if clipped.ndim == 3:
        clipped = clipped.any(axis=2)
    return float((clipped & (plane > 0.95)).mean())


def _gradient(plane: Plane) -> Plane:
    """The length of the gradient by central differences, per pixel; 0 at the border of the image."""
    down, right = np.zeros_like(plane), np.zeros_like(plane)
    np.subtract(plane[2:], plane[:-2], out=down[1:-1])
    np.subtract(plane[:, 2:], plane[:, :-2], out=right[:, 1:-1])
    length: Plane = np.sqrt(down * down + right * right) * np.float32(0.5)
    return length


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nucleus pixels above, below or beside background."""
    core = inside.copy()
    core[1:] &= inside[:-1]
    core[:-1] &= inside[1:]
    core[:, 1:] &= inside[:, :-1]
    core[:, :-1] &= inside[:, 1:]
    return inside & ~core
