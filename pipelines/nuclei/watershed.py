"""From the network's maps to one number for each nucleus."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from skimage.segmentation import watershed

from pipelines.nuclei.tiling import Maps

Labels = NDArray[np.uint16] | NDArray[np.uint32]
"""(H, W); 0 is background, 1..n are nuclei, none missing, in the order of their first pixel."""
Mask = NDArray[np.bool_]

NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Settings:
    """How maps become nuclei; the defaults were chosen on the validation split (see ``training.tune``)."""

    threshold: float = 0.5
    """Least probability of a nucleus pixel."""
    core: float = 0.4
    """Least height of the smoothed peak map in the core of a nucleus; touching nuclei differ in their cores."""
    smooth: int = 0
    """Times that the peak map is averaged over the nearest pixels; each adds 0.5 to the variance, pixels squared."""
    small_core: float = 0.1
    """Cores smaller than this share of the largest in their island are bumps of it, not nuclei."""
    certain: float = 0.75
    """Least mean probability of a nucleus; what lies below is mostly haze."""
    min_area: int = 20
    """Smaller nuclei are dropped, pixels."""
    max_hole: int = 40
    """Holes up to this area are filled, pixels."""


def segment(maps: Maps, settings: Settings | None = None) -> Labels:
    """Label the nuclei in float32 (3, H, W) maps of probability, boundary and distance, each 0..1.

    The cores of nuclei are flooded up to the edge of the probable area, along the distance map (Beucher &
    Lantuéjoul 1979; learnt distances after Naylor et al. 2019). The labels are uint16, or uint32 when there
    are more than 65535 nuclei.
    """
    settings = settings or Settings()
    mask = filled(maps[0] > settings.threshold, settings.max_hole)
    if not mask.any():
        return np.zeros(mask.shape, np.uint16)
    peaks = peak_map(maps, settings.smooth)
    marks = seeds(mask, peaks, settings.core, settings.small_core)
    labels = watershed(-peaks, marks, mask=mask)  # type: ignore[no-untyped-call]
    return numbered(labels, settings.min_area, maps[0], settings.certain)


def peak_map(maps: Maps, smooth: int) -> NDArray[np.float32]:
    """A smooth float32 (H, W) map that is high inside and low wherever an edge is likely."""
    peaks: NDArray[np.float32] = maps[2] * (1 - np.float32(0.5) * maps[1])
    for _ in range(smooth):
        peaks = _averaged(_averaged(peaks).T).T
    return peaks


def _averaged(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every pixel a quarter above, half itself, a quarter below; several times faster than a general filter."""
    result = plane * np.float32(0.5)
    quarter = plane * np.float32(0.25)
    result[1:] += quarter[:-1]
    result[:-1] += quarter[1:]
    result[0] += quarter[0]
    result[-1] += quarter[-1]
    return result


def seeds(mask: Mask, peaks: NDArray[np.float32], core: float, small: float = 0.0) -> NDArray[np.int32]:
    """One label for the core of each nucleus, int32 (H, W).

    Cores of less than a ``small`` share of the largest in their island of the mask are left out; an island
    without a core is its own.
    """
    islands, count = ndimage.label(mask)
    cores, _ = ndimage.label(mask & (peaks > core), NEIGHBOURS)
    flat = np.flatnonzero(cores)
    of_core, of_island = cores.ravel()[flat], islands.ravel()[flat]
    areas = np.bincount(of_core, minlength=1)
    home = np.zeros(areas.size, np.int64)
    home[of_core] = of_island
    largest = np.zeros(count + 1, np.int64)
    np.maximum.at(largest, home, areas)
    kept = areas >= small * largest[home]
    kept[0] = False
    coreless = largest == 0
    coreless[0] = False
    numbers, _ = ndimage.label(kept[cores] | coreless[islands], NEIGHBOURS)
    result: NDArray[np.int32] = numbers.astype(np.int32, copy=False)
    return result


def filled(mask: Mask, max_hole: int) -> Mask:
    """The mask without holes of up to ``max_hole`` pixels; the outside is never a hole."""
    gaps, count = ndimage.label(~mask)
    if count < 2 or max_hole <= 0:
        return mask
    small = np.bincount(gaps.ravel()) <= max_hole
    outside = np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])
    small[0] = False
    small[outside] = False
    result: Mask = mask | small[gaps]
    return result


def numbered(
    labels: NDArray[Any], min_area: int, probability: NDArray[np.float32] | None = None, certain: float = 0.0
) -> Labels:
    """The labels, counted anew from 1, without those of fewer than ``min_area`` pixels or too low a probability."""
    areas = np.bincount(labels.ravel())
    kept = areas >= max(min_area, 1)
    if probability is not None:
        kept &= np.bincount(labels.ravel(), probability.ravel()) >= certain * areas
    kept[0] = False
    count = int(kept.sum())
    numbers = np.zeros(kept.size, np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)
    numbers[kept] = np.arange(1, count + 1)
    result: Labels = numbers[labels]
    return result
