"""Bring any microscopy image to one scale: grey, nuclei bright on dark, 0..1, whatever the camera."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
"""(H, W) grey or (H, W, 3 or 4) colour; any integer or floating dtype, in the camera's own units."""
Plane = NDArray[np.float32]

LOW, HIGH = 1.0, 99.9
"""Percentiles taken as black and white. HIGH is that high because nuclei may cover 0.2 % of an image."""
NOISE_SPANS = 20.0
"""Least span from black to white, in noise deviations: real images of all kinds have 23 or more."""
LEAST_LEVELS = 8.0
"""Least span of an integer image, in grey levels, so that an image of 0s and a few 1s stays dark."""
SAMPLES = 1 << 17
"""Percentiles are taken from about this many pixels, on a regular grid."""

HUGE = 1e30
"""No camera's value: differences and quotients of float32 values beyond it, or below its inverse, overflow."""


def normalise(image: Image) -> Plane:
    """The image as a float32 (H, W) plane in 0..1, nuclei bright.

    Intensities are scaled between two percentiles, then the square root is taken: it evens out photon
    noise (Anscombe 1948) and keeps dim nuclei beside bright ones apart after quantisation. The result
    does not change when a grey floating image is multiplied by a positive number or shifted. Values that
    are not finite count as the darkest finite value. Raises ``ValueError`` for other shapes.
    """
    plane = finite(grey(image))
    sample = np.sort(_thin(plane), axis=None)
    low, high = black_and_white(plane, sample, np.issubdtype(image.dtype, np.integer))
    if high <= low:
        return np.zeros(plane.shape, np.float32)
    if stained(image) or inverted(sample):
        low, high = high, low
    scaled: Plane = (plane - np.float32(low)) * np.float32(1.0 / (high - low))
    np.clip(scaled, 0.0, 1.0, out=scaled)
    return np.sqrt(scaled, out=scaled)


def grey(image: Image) -> Plane:
    """One float32 (H, W) plane of the image, in its own units.

    Colour on a bright ground (stained tissue) gives its red channel: haematoxylin absorbs red and eosin
    does not (Ruifrok & Johnston 2001). Colour on a dark ground (fluorescence saved as RGB) gives the
    brightest channel. Alpha is ignored.
    """
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 2:
        return _plane(image)
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(f"an image is (H, W), (H, W, 3) or (H, W, 4), not {image.shape}")
    return _plane(image[..., :3].max(axis=2) if _coloured(image) and not stained(image) else image[..., 0])


def stained(image: Image) -> bool:
    """Whether an image is coloured on a bright ground: even its darkest pixels are far from black."""
    if not _coloured(image):
        return False
    means = _thin(image[..., :3]).mean(axis=2, dtype=np.float64)
    means = means[np.isfinite(means)]
    if not means.size:
        return False
    dark, bright = np.percentile(means, (LOW, HIGH))
    return bool(dark > 0.2 * bright)


def finite(plane: Plane) -> Plane:
    """The plane with NaN, infinities and what lies beyond ``HUGE`` replaced by its lowest value that is neither
    (0 when it has none)."""
    good = np.abs(plane) < HUGE  # false for NaN, too
    if good.all():
        return plane
    least = plane[good].min() if good.any() else np.float32(0)
    return np.where(good, plane, least).astype(np.float32)


def black_and_white(plane: Plane, sample: Plane, integers: bool) -> tuple[float, float]:
    """The intensities that become 0 and 1, in the units of the plane; equal for a constant plane.

    ``sample`` holds intensities of the plane in ascending order. The distance of the two is never less than
    ``NOISE_SPANS`` deviations of the noise, so that an empty image stays dark.
    """
    low, high = _percentile(sample, LOW), _percentile(sample, HIGH)
    span = max(high - low, NOISE_SPANS * noise(plane) if high > low else 0.0, LEAST_LEVELS if integers else 0.0)
    # Rounding of float32 must not pass for signal.
    return (low, low) if span <= max(1e-6 * max(abs(low), abs(high)), 1 / HUGE) else (low, low + span)


def noise(plane: Plane) -> float:
    """The deviation of the pixel noise, in units of the plane: mean of second differences (Immerkaer 1996)."""
    line = plane if plane.shape[1] >= 3 else plane.T
    if line.shape[1] < 3:
        return 0.0
    rows = line[:: max(1, 4 * line.size // SAMPLES)]
    bends = np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2])
    return float(bends.mean(dtype=np.float64)) * float(np.sqrt(np.pi / 2) / np.sqrt(6.0))


def inverted(sample: Plane) -> bool:
    """Whether objects are dark on a bright ground: the commonest intensity lies well in the upper half.

    ``sample`` holds intensities in ascending order.
    """
    edges = np.linspace(_percentile(sample, LOW), _percentile(sample, HIGH), 33)
    if edges[-1] <= edges[0]:
        return False
    # The outer bins are open: a clipped background lies wholly on the last edge.
    counts = np.diff(np.searchsorted(sample, edges[1:-1]), prepend=0, append=sample.size)
    # Noise alone has its mode in the middle, and must not flip at random.
    return bool(counts.argmax() >= 0.6 * 32)


def _percentile(sample: Plane, share: float) -> float:
    return float(sample[round((sample.size - 1) * share / 100)])


def _coloured(image: Image) -> bool:
    if image.ndim != 3 or image.shape[2] < 3:
        return False
    thin = _thin(image)
    return not (np.array_equal(thin[..., 0], thin[..., 1]) and np.array_equal(thin[..., 1], thin[..., 2]))


def _thin(image: Image) -> Image:
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / SAMPLES)))
    return image[::step, ::step]


def _plane(image: Image) -> Plane:
    return np.ascontiguousarray(image, dtype=np.float32)
