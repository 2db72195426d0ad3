"""What lies within a line, histograms, and how columns are packed: pure functions of arrays."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
BARS = 40
KEPT = np.dtype([("id", "<i8"), ("number", "<i4"), ("code", "<u2"), ("x", "<f4"), ("y", "<f4")])
"""Of each cell, in the database: its id, its label in the image, its class (a place in the table's list of classes),
and where it lies on the map (NaN: nowhere)."""
Kept = npt.NDArray[Any]
EIGHT = 8


def within(x: Floats, y: Floats, polygon: Sequence[tuple[float, float]]) -> Mask:
    """Which of points (n), (n) lie in a polygon, as ``contracts.gates.inside`` says it (in float64)."""
    found = np.zeros(len(x), np.bool_)
    corners = np.asarray(polygon, np.float64).reshape(-1, 2)
    if not len(corners) or not len(x):
        return found
    # A ray meets nothing beyond the box around the corners, but for what rounding adds; with NaN all comparisons fail.
    more = 1e-6 * (1 + np.abs(corners).max())
    (left, low), (right, high) = corners.min(0) - more, corners.max(0) + more
    near = np.nonzero((x >= left) & (x <= right) & (y >= low) & (y <= high))[0]
    px, py = x[near].astype(np.float64), y[near].astype(np.float64)
    mine = np.zeros(len(near), np.bool_)
    before = corners[-1]
    for corner in corners:
        astride = (corner[1] > py) != (before[1] > py)
        if astride.any():
            slope = (before[0] - corner[0]) * (py - corner[1]) / (before[1] - corner[1]) + corner[0]
            mine ^= astride & (px < slope)
        before = corner
    found[near] = mine
    return found


def histogram(values: Floats, bars: int = BARS) -> dict[str, Any]:
    """Of the values (n) that are numbers: bars of equal width between ``Low`` and ``High``, with mean, median,
    ``Least`` and ``Most``. The bars span all values, but where a hundredth of them would take most of the width they
    are put into the outermost bars."""
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        named = ("Known", "Least", "Most", "Low", "High", "Mean", "Median")
        return {**dict.fromkeys(named, 0), "Bars": []}
    least, low, median, high, most = (float(one) for one in np.percentile(known, (0, 0.5, 50, 99.5, 100)))
    if most - least <= 3 * (high - low) or low == high:
        low, high = least, most
    # Not by numpy's own, which refuses a range that is too narrow for so many bars.
    places = (np.clip(known, low, high) - low) / ((high - low) or 1.0) * bars
    counts = np.bincount(np.minimum(places, bars - 1).astype(np.int64), minlength=bars)
    told = {"Least": least, "Most": most, "Low": low, "High": high, "Mean": float(known.mean()), "Median": median}
    return {"Known": len(known), **told, "Bars": counts.tolist()}


def spread(sequence: npt.NDArray[np.int64], many: int, few: int = 24) -> npt.NDArray[np.int64]:
    """``many`` of the cells (n) of sources, ascending, or all where there are fewer: spread evenly, but of few sources,
    as long as these have enough. Each source is a file that has to be read for its pictures."""
    if len(sequence) <= many:
        return np.arange(len(sequence))
    firsts = np.nonzero(np.diff(sequence, prepend=-1))[0]
    sizes = np.diff(firsts, append=len(sequence))
    while True:
        chosen = np.unique(np.linspace(0, len(firsts) - 1, min(few, len(firsts))).astype(int))
        if few >= len(firsts) or sizes[chosen].sum() >= many:
            break
        few *= 2
    inside = np.concatenate([np.arange(firsts[one], firsts[one] + sizes[one]) for one in chosen])
    found: npt.NDArray[np.int64] = inside[np.linspace(0, len(inside) - 1, many).astype(int)]
    return found


def packed(about: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Columns as a page reads them at once: the length of a line of JSON (uint32, the lowest byte first), the line, and
    each column; all of them begin at multiples of eight bytes. The line says of each its name, type and place."""
    places, at = [], 0
    for name, column in columns.items():
        places.append({"Name": name, "Type": str(column.dtype), "At": at, "Count": len(column)})
        at += _padded(column.nbytes)
    head = json.dumps({**about, "Columns": places}, separators=(",", ":")).encode()
    head += b" " * (_padded(4 + len(head)) - 4 - len(head))
    parts = [len(head).to_bytes(4, "little"), head]
    for column in columns.values():
        content = column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()
        parts += [content, bytes(_padded(len(content)) - len(content))]
    return b"".join(parts)


def _padded(length: int) -> int:
    return (length + EIGHT - 1) // EIGHT * EIGHT


def to_text(array: npt.NDArray[Any]) -> str:
    """As it is kept in the database; backups hold text alone."""
    return base64.b64encode(array.tobytes()).decode()


def kept_of(text: str) -> Kept:
    """The inverse for cells."""
    return np.frombuffer(base64.b64decode(text), KEPT)


def features_of(text: str, count: int) -> Floats:
    """The inverse for features: (features, cells)."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, count) if text else np.zeros((0, count), np.float32)


def ids_of(text: str) -> npt.NDArray[np.int64]:
    """The inverse for ids."""
    return np.frombuffer(base64.b64decode(text), "<i8").astype(np.int64)
