"""What the classifier sees of a frame: absorption, whatever the lamp, the stain and the camera were."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Height and width of a frame, pixels. A normal red cell is about 45 pixels wide."""
BLOCK = 8
"""Side of the blocks among which the background is looked for, pixels."""
GREEN = 1
"""The channel of a colour image in which haemoglobin absorbs."""
THINNEST = 1e-3
"""Of a background that is black."""

Frames = NDArray[Any]
Planes = NDArray[np.float32]


def grey(frames: Frames) -> NDArray[Any]:
    """From (N, 64, 64, C) with one or three channels to the plane that is looked at, (N, 64, 64), not copied."""
    return frames[..., GREEN if frames.shape[-1] == 3 else 0]


def absorption(frames: Frames) -> Planes:
    """How much light each pixel takes away, as a share of the background: float32 (N, 1, 64, 64), 0 = none, 1 = all.

    ``frames`` are (N, 64, 64, C), of any unit and dtype, brightfield. The background is the brightest of the means of
    8x8 blocks, so single bright pixels do not count, and it is found where cells lie close. Colour is not used: in the
    images from which the classifier learnt it tells the microscope rather than the cell.
    """
    plane = grey(frames).astype(np.float32)
    number, parts = len(plane), SIDE // BLOCK
    means = plane.reshape(number, parts, BLOCK, parts, BLOCK).mean(axis=(2, 4))
    background = np.maximum(means.reshape(number, -1).max(axis=1), THINNEST)
    plane *= -1.0 / background[:, None, None]
    plane += 1.0
    np.clip(plane, -0.5, 1.0, out=plane)
    return plane[:, None]
