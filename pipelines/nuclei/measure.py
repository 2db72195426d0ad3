"""One row of measurements for each nucleus, computed for all nuclei at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = dict[str, NDArray[Any]]
"""Columns of equal length by name; one row for each label, in their order."""
Numbers = NDArray[np.float64]

ROOT2 = 2.0**0.5
STEPS = np.zeros(64)
"""Length of the outline at a pixel, by 1 + 2 x direct + 10 x diagonal neighbours on the outline."""
STEPS[[5, 7, 15, 17, 25, 27]] = 1.0
STEPS[[21, 33]] = ROOT2
STEPS[[13, 23]] = (1.0 + ROOT2) / 2.0
DIRECT = ((-1, 0), (1, 0), (0, -1), (0, 1))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def measure(labels: NDArray[Any], intensity: NDArray[Any], pixel_size_um: tuple[float, float] | None = None) -> Table:
    """Measure the nuclei 1..n of a (H, W) label image on a (H, W) intensity image.

    Columns: ``id``; ``centroid_y``, ``centroid_x`` (pixels from the middle of the first pixel); ``area``
    (pixels); ``perimeter`` (pixels; Benkrid & Crookes 2000); ``eccentricity`` of the ellipse with the same
    second moments; ``solidity``, the area over that of the convex hull; ``mean_``, ``min_``, ``max_`` and
    ``integrated_intensity`` in the units of the image. They follow the definitions of scikit-image's
    ``regionprops``. With a pixel size (height, width) in micrometres also ``area_um2``, ``perimeter_um``
    (for square pixels only) and ``centroid_y_um``, ``centroid_x_um``.
    """
    inside = np.flatnonzero(labels)
    names = labels.ravel()[inside].astype(np.int64)
    order = np.argsort(names, kind="stable")
    inside, names = inside[order], names[order]
    ids, starts, areas = np.unique(names, return_index=True, return_counts=True)
    rows, columns = np.divmod(inside, labels.shape[1])
    nucleus = np.repeat(np.arange(len(ids)), areas)
    values = intensity.ravel()[inside].astype(np.float64)
    total = _sums(nucleus, values, len(ids))
    centre_y, centre_x = _sums(nucleus, rows, len(ids)) / areas, _sums(nucleus, columns, len(ids)) / areas
    table: Table = {
        "id": ids,
        "centroid_y": centre_y,
        "centroid_x": centre_x,
        "area": areas,
        "perimeter": perimeters(labels, inside, nucleus, len(ids)),
        "eccentricity": eccentricities(nucleus, rows - centre_y[nucleus], columns - centre_x[nucleus], areas),
        "solidity": areas / hull_areas(nucleus, rows, columns, len(ids)),
        "mean_intensity": total / areas,
        "min_intensity": np.minimum.reduceat(values, starts) if len(ids) else values,
        "max_intensity": np.maximum.reduceat(values, starts) if len(ids) else values,
        "integrated_intensity": total,
    }
    return table if pixel_size_um is None else table | in_micrometres(table, pixel_size_um)


def in_micrometres(table: Table, size: tuple[float, float]) -> Table:
    """The columns that have a length in them, for pixels of a (height, width) in micrometres."""
    tall, wide = size
    physical = {
        "area_um2": table["area"] * (tall * wide),
        "centroid_y_um": table["centroid_y"] * tall,
        "centroid_x_um": table["centroid_x"] * wide,
    }
    if abs(tall - wide) <= 0.01 * wide:  # an outline counted in steps has no length on oblong pixels
        physical["perimeter_um"] = table["perimeter"] * (tall * wide) ** 0.5
    return physical


def perimeters(labels: NDArray[Any], inside: NDArray[np.int64], nucleus: NDArray[np.int64], count: int) -> Numbers:
    """Outline lengths in pixels; ``inside`` are the flat indices of labelled pixels, ``nucleus`` their rows."""
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    flat = padded.ravel()
    at = inside + 2 * (inside // labels.shape[1]) + width + 1
    own = flat[at]
    buried = np.ones(len(at), bool)
    for down, right in DIRECT:
        buried &= flat[at + down * width + right] == own
    at, own, nucleus = at[~buried], own[~buried], nucleus[~buried]
    outline = np.zeros_like(flat)
    outline[at] = own
    code = np.ones(len(at), np.int64)
    for steps, weight in ((DIRECT, 2), (DIAGONAL, 10)):
        for down, right in steps:
            code += weight * (outline[at + down * width + right] == own)
    return _sums(nucleus, STEPS[code], count)


def eccentricities(nucleus: NDArray[np.int64], y: Numbers, x: Numbers, areas: NDArray[Any]) -> Numbers:
    """Eccentricities, 0 (circle) to 1 (line); ``y`` and ``x`` are relative to the centroid of each nucleus."""
    count = len(areas)
    yy, xx = _sums(nucleus, y * y, count) / areas, _sums(nucleus, x * x, count) / areas
    xy = _sums(nucleus, x * y, count) / areas
    middle, spread = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    long, short = middle + spread, np.maximum(middle - spread, 0.0)
    # A single pixel has no extent, and no eccentricity either.
    result: Numbers = np.sqrt(1 - np.divide(short, long, out=np.ones(count), where=long > 0))
    return result


def hull_areas(nucleus: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64], count: int) -> Numbers:
    """Pixels whose centre lies in the convex hull of each nucleus; its pixels sorted by nucleus, then row.

    As in scikit-image, the hull is that of the midpoints of the four sides of every pixel.
    """
    if not count:
        return np.zeros(0)
    first = np.flatnonzero(np.diff(nucleus, prepend=-1) | np.diff(rows, prepend=-1))
    owner, row = nucleus[first], rows[first].astype(np.float64)
    left, right = np.minimum.reduceat(columns, first), np.maximum.reduceat(columns, first)
    # Rows of different nuclei are moved apart, so that one line of heights serves all.
    tall = rows.max() + 4.0
    lines = row + owner * tall
    begin = _edge(owner, lines, -left.astype(np.float64))
    end = _edge(owner, lines, right.astype(np.float64))
    inner = np.flatnonzero(np.diff(owner, prepend=-1))
    heights, owners = _every_row(lines[inner], lines[np.append(inner[1:] - 1, len(lines) - 1)], owner[inner])
    slack = 1e-9 * lines[-1] + 1e-9
    widths = np.floor(np.interp(heights, *end) + slack) + np.floor(np.interp(heights, *begin) + slack) + 1
    return _sums(owners, widths, count)


def _every_row(first: Numbers, last: Numbers, owner: NDArray[np.int64]) -> tuple[Numbers, NDArray[np.int64]]:
    lengths = (last - first).astype(np.int64) + 1
    ends = np.cumsum(lengths)
    steps = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return np.repeat(first, lengths) + steps, np.repeat(owner, lengths)


def _edge(owner: NDArray[np.int64], line: Numbers, reach: Numbers) -> tuple[Numbers, Numbers]:
    """The convex outer edge of every nucleus, as heights and how far it reaches to one side there."""
    y = np.stack([line - 0.5, line, line + 0.5], axis=1).ravel()
    x = np.stack([reach, reach + 0.5, reach], axis=1).ravel()
    owner = np.repeat(owner, 3)
    # Two pixels share the point between them; the one that reaches farther counts.
    order = np.lexsort((-x, y))
    y, x, owner = y[order], x[order], owner[order]
    fresh = np.diff(y, prepend=-1.0) > 0
    y, x, owner = y[fresh], x[fresh], owner[fresh]
    while True:
        # A point on the inner side of the line between its neighbours is no corner, and all those can go
        # at once: they would not become corners if others went first.
        turn = (y[1:-1] - y[:-2]) * (x[2:] - x[:-2]) - (x[1:-1] - x[:-2]) * (y[2:] - y[:-2])
        gone = (turn >= 0) & (owner[:-2] == owner[1:-1]) & (owner[1:-1] == owner[2:])
        if not gone.any():
            return y, x
        kept = np.concatenate([[True], ~gone, [True]])
        y, x, owner = y[kept], x[kept], owner[kept]


def _sums(nucleus: NDArray[np.int64], values: NDArray[Any], count: int) -> Numbers:
    result: Numbers = np.bincount(nucleus, values, count).astype(np.float64, copy=False)
    return result


def as_csv(table: Table) -> str:
    """The table as text: a header, then a line for each row; six significant digits. Columns of objects stand as they
    are, so text in them must be quoted already where it needs it."""
    columns: Sequence[Sequence[str]] = [
        [str(value) for value in column.tolist()]
        if column.dtype.kind in "iuO"
        else [f"{value:.6g}" for value in column.tolist()]
        for column in table.values()
    ]
    lines = [",".join(table), *map(",".join, zip(*columns, strict=True))]
    return "\n".join(lines) + "\n"
