"""Crops of many frames of one cell each at once: what ``crops.whole(crops.cell_plane(frame))`` makes of each alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.crops import SIDE, Crops, cell_plane, whole
from pipelines.nuclei.normalise import HIGH, HUGE, LEAST_LEVELS, LOW, NOISE_SPANS

Frames = NDArray[Any]
Planes = NDArray[np.float32]
PIXELS = SIDE * SIDE
BLACK, WHITE = (round((PIXELS - 1) * share / 100) for share in (LOW, HIGH))
"""Places of the two percentiles among the sorted intensities of a frame."""
NOISE = float(np.sqrt(np.pi / 2) / np.sqrt(6.0))
"""From a mean second difference to the deviation of noise (Immerkaer 1996)."""
BINS = 32


def crops_of(frames: Frames) -> Crops:
    """From (N, 64, 64, C) with one or three channels, of any unit, to uint8 (N, 64, 64), cells bright on dark."""
    tinted = stained(frames)
    brightest = frames.max(axis=3) if frames.shape[3] == 3 else frames[..., 0]
    planes = np.ascontiguousarray(brightest, np.float32)
    if tinted.any():
        planes[tinted] = frames[tinted][..., 1]
    crops = np.zeros(planes.shape, np.uint8)
    sound = (np.abs(planes) < HUGE).reshape(-1, PIXELS).all(axis=1)
    if sound.all():
        return _scaled(planes, tinted, np.issubdtype(frames.dtype, np.integer))
    crops[sound] = _scaled(planes[sound], tinted[sound], False)
    for number in np.flatnonzero(~sound):  # what is no number has its own rules
        crops[number] = whole(cell_plane(frames[number]))[0]
    return crops


def stained(frames: Frames) -> NDArray[np.bool_]:
    """``normalise.stained`` of each frame."""
    found = np.zeros(len(frames), np.bool_)
    if frames.shape[3] != 3:
        return found
    first = frames[..., :1]
    coloured = np.flatnonzero((frames[..., 1:] != first).any(axis=(1, 2, 3)))
    if len(coloured):
        with np.errstate(invalid="ignore", over="ignore"):  # of those that are no numbers, dealt with alone
            means = frames[coloured].mean(axis=3, dtype=np.float64).reshape(-1, PIXELS)
            dark, bright = np.percentile(means, (LOW, HIGH), axis=1)
            found[coloured] = dark > 0.2 * bright
    return found


def _scaled(planes: Planes, tinted: NDArray[np.bool_], integers: bool) -> Crops:
    """As ``cell_plane`` scales one, then as ``cut`` rounds it."""
    ordered = np.sort(planes.reshape(-1, PIXELS), axis=1)
    low, high = ordered[:, BLACK].astype(np.float64), ordered[:, WHITE].astype(np.float64)
    flipped = tinted | inverted(ordered, low, high)
    span = np.maximum(high - low, np.where(high > low, NOISE_SPANS * noise(planes), 0.0))
    span = np.maximum(span, LEAST_LEVELS if integers else 0.0)
    even = span <= np.maximum(1e-6 * np.maximum(np.abs(low), np.abs(high)), 1 / HUGE)
    high = low + span
    low, high = np.where(flipped, high, low), np.where(flipped, low, high)
    scale = np.where(even, 0.0, 1.0 / np.where(even, 1.0, high - low))
    planes -= low.astype(np.float32)[:, None, None]
    planes *= scale.astype(np.float32)[:, None, None]
    np.clip(planes, 0.0, 1.0, out=planes)
    np.sqrt(planes, out=planes)
    planes *= np.float32(255)
    crops: Crops = np.rint(planes, out=planes).astype(np.uint8)
    return crops


def noise(planes: Planes) -> NDArray[np.float64]:
    """``normalise.noise`` of each plane."""
    bends = planes[:, :, 2:] - 2 * planes[:, :, 1:-1]
    bends += planes[:, :, :-2]
    mean: NDArray[np.float64] = np.abs(bends, out=bends).reshape(-1, SIDE * (SIDE - 2)).mean(axis=1, dtype=np.float64)
    return mean * NOISE


def inverted(ordered: Planes, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """``normalise.inverted`` of the sorted intensities of each plane, between two percentiles."""
    edges = np.linspace(low, high, BINS + 1, axis=1)
    below = np.empty((len(ordered), BINS - 1), np.int64)
    for number, (one, at) in enumerate(zip(ordered, edges[:, 1:-1], strict=True)):
        below[number] = np.searchsorted(one, at)
    counts = np.diff(below, prepend=0, append=ordered.shape[1], axis=1)
    found: NDArray[np.bool_] = (counts.argmax(axis=1) >= 0.6 * BINS) & (edges[:, -1] > edges[:, 0])
    return found
