"""Classical features of each cell: its shape, its brightness, and how brightness lies in it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from skimage.filters import threshold_otsu
from skimage.measure import regionprops_table

from pipelines.nuclei.measure import Table, measure
from pipelines.nuclei.normalise import Plane
from pipelines.nuclei.watershed import filled, numbered

AXES = ("axis_major_length", "axis_minor_length", "orientation", "extent", "euler_number")
RINGS = 3
"""Parts of a cell from its edge (0) to its middle, of equal depth."""
SMALLEST = 12
"""Pixels that a cell must have."""


def features(
    labels: NDArray[Any], intensity: NDArray[Any], plane: Plane, pixel_size_um: tuple[float, float] | None = None
) -> Table:
    """A row for each cell 1..n of a (H, W) label image, in their order.

    To the columns of ``pipelines.nuclei.measure`` (in the units of ``intensity``) come, in pixels: ``diameter`` of the
    circle of the same area; the axes and the ``orientation`` (radians) of the ellipse of the same second moments,
    ``aspect_ratio``, ``extent`` and ``euler_number``, as scikit-image defines them; ``circularity``, 4 pi area over the
    perimeter squared (Cox 1927). Of the normalised ``plane`` (0..1): ``contrast`` to the nearest surroundings,
    ``deviation`` and ``skewness``, ``gradient`` (per pixel), and ``ring_0`` … ``ring_2``, the mean brightness from the
    edge to the middle over that of the cell: a red cell's pallor is a ``ring_2`` below 1.
    """
    table = measure(labels, intensity, pixel_size_um)
    if not len(table["id"]):
        return table | {name: np.zeros(0) for name in _added()}
    shapes = regionprops_table(labels, properties=AXES)  # type: ignore[no-untyped-call]
    area, perimeter = table["area"].astype(np.float64), np.maximum(table["perimeter"], 1.0)
    major, minor = shapes["axis_major_length"], shapes["axis_minor_length"]
    table |= {
        "diameter": np.sqrt(4 / np.pi * area),
        "major_axis": major,
        "minor_axis": minor,
        "orientation": shapes["orientation"],
        "aspect_ratio": major / np.maximum(minor, 1.0),
        "extent": shapes["extent"],
        "euler_number": shapes["euler_number"],
        "circularity": np.minimum(4 * np.pi * area / perimeter**2, 1.0),
    }
    return table | _brightness(labels, plane, table["id"])


def _added() -> tuple[str, ...]:
    shapes = ("diameter", "major_axis", "minor_axis", "orientation", "aspect_ratio", "extent", "euler_number")
    rings = tuple(f"ring_{ring}" for ring in range(RINGS))
    return (*shapes, "circularity", "contrast", "deviation", "skewness", "gradient", *rings)


def _brightness(labels: NDArray[Any], plane: Plane, ids: NDArray[Any]) -> Table:
    inside = labels > 0
    rows = np.searchsorted(ids, labels[inside])
    values, count = plane[inside].astype(np.float64), len(ids)
    sizes = np.bincount(rows, minlength=count)
    means = np.bincount(rows, values, count) / sizes
    off = values - means[rows]
    deviation = np.sqrt(np.bincount(rows, off**2, count) / sizes)
    third = np.bincount(rows, off**3, count) / sizes
    steep = np.hypot(*np.gradient(plane)) if min(plane.shape) > 1 else np.zeros_like(plane)
    table: Table = {
        "contrast": means - _surroundings(labels, plane, ids, means),
        "deviation": deviation,
        "skewness": np.divide(third, deviation**3, out=np.zeros(count), where=deviation > 1e-6),
        "gradient": np.bincount(rows, steep[inside], count) / sizes,
    }
    ring = np.minimum((_depth(labels, rows, count) * RINGS).astype(int), RINGS - 1)
    for number in range(RINGS):
        mine = ring == number
        own = np.bincount(rows[mine], minlength=count)
        mean = np.divide(np.bincount(rows[mine], values[mine], count), own, out=means.copy(), where=own > 0)
        table[f"ring_{number}"] = mean / np.maximum(means, 1e-6)
    return table


def _depth(labels: NDArray[Any], rows: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Of each pixel of a cell the distance to its edge over the largest in the cell, 0..1."""
    padded = np.pad(labels, 1)
    apart = np.zeros(padded.shape, bool)
    for axis in (0, 1):
        differs = np.diff(padded, axis=axis) != 0
        apart |= np.pad(differs, [(0, 1) if a == axis else (0, 0) for a in (0, 1)])
        apart |= np.pad(differs, [(1, 0) if a == axis else (0, 0) for a in (0, 1)])
    distance = ndimage.distance_transform_edt((padded > 0) & ~apart)[1:-1, 1:-1][labels > 0]
    deepest = np.full(count, 1e-6)
    np.maximum.at(deepest, rows, distance)
    result: NDArray[np.float64] = distance / deepest[rows]
    return result


def _surroundings(
    labels: NDArray[Any], plane: Plane, ids: NDArray[Any], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean of the background within three pixels of each cell; the cell's own mean where there is none."""
    around = ndimage.maximum_filter(labels, size=7)
    ground = (labels == 0) & (around > 0)
    rows = np.searchsorted(ids, around[ground])
    counts = np.bincount(rows, minlength=len(ids))
    sums = np.bincount(rows, plane[ground].astype(np.float64), len(ids))
    result: NDArray[np.float64] = np.divide(sums, counts, out=means.copy(), where=counts > 0)
    return result


def islands(plane: Plane) -> NDArray[Any]:
    """The cells of a plane by their brightness alone (Otsu 1979): labels (H, W), touching cells as one."""
    if plane.max() <= plane.min():
        return np.zeros(plane.shape, np.uint16)
    mask = filled(plane > threshold_otsu(plane), plane.size)  # type: ignore[no-untyped-call]
    labels, _ = ndimage.label(mask)
    return numbered(labels, SMALLEST)


def central(plane: Plane) -> NDArray[Any]:
    """The one cell that a small image shows, labelled 1 (H, W): the island nearest to its middle; all 0 if none."""
    labels = islands(plane)
    middle = (np.array(plane.shape) - 1) / 2
    y, x = np.nonzero(labels)
    if not len(y):
        return labels
    chosen = labels[y, x][np.hypot(y - middle[0], x - middle[1]).argmin()]
    own: NDArray[Any] = (labels == chosen).astype(np.uint16)
    return own
