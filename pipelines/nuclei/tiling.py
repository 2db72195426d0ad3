"""Predict an image of any size in pieces of few shapes, and blend the pieces without seams."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipelines.nuclei.normalise import Plane

Maps = NDArray[np.float32]
"""(channels, H, W)."""
Predict = Callable[[Plane], Maps]
"""From a (H, W) plane, sides multiples of ``GRAIN``, to (channels, H, W) maps."""


@runtime_checkable
class Several(Protocol):
    """A ``Predict`` that is quicker where it is told of several planes at a time."""

    def several(self, planes: Iterable[Plane]) -> Iterator[Maps]:
        """The maps of planes of one shape, in their order; it looks ahead only as far as it has work under way."""
        ...


GRAIN = 64
"""Tile sides are multiples of it, so that images of many sizes need few compiled shapes."""
WHOLE = 1024
"""A side up to this many pixels is not cut; the memory of one inference is bounded by its square."""
TILE = 512
OVERLAP = 96
"""Neighbouring tiles share this many pixels, a little more than the network sees to each side (89)."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis: where it starts, and the weight of each of its pixels, float32 (side,)."""

    start: int
    weights: NDArray[np.float32]


def tiled(plane: Plane, predict: Predict, channels: int = 3) -> Maps:
    """The maps of a whole plane, float32 (channels, H, W).

    Small planes are mirrored up to the next multiple of ``GRAIN`` and predicted in one piece; a 256 x 256
    plane is predicted as it is. Sides over ``WHOLE`` are cut into tiles of ``TILE``, whose overlaps are
    faded into each other; the weights of a pixel add up to 1. Beside the result only those tiles are held that a
    ``Several`` has under way, else one.
    """
    height, width = plane.shape
    rows, columns = spans(height), spans(width)
    side = len(rows[0].weights), len(columns[0].weights)
    if len(rows) == len(columns) == 1:
        return predict(mirrored(plane, side))[:, :height, :width]
    places = [(row, column) for row in rows for column in columns]
    parts = (mirrored(plane[row.start :, column.start :][: side[0], : side[1]], side) for row, column in places)
    asked = predict.several if isinstance(predict, Several) else partial(map, predict)
    maps = np.zeros((channels, height, width), np.float32)
    for (row, column), part in zip(places, asked(parts), strict=True):
        weighed = part * (row.weights[:, None] * column.weights)
        target = maps[:, row.start :, column.start :][:, : side[0], : side[1]]
        target += weighed[:, : target.shape[1], : target.shape[2]]
    return maps


def spans(length: int) -> list[Span]:
    """The tiles that cover an axis of so many pixels, evenly spread."""
    if length <= WHOLE:
        return [Span(0, np.ones(-(-length // GRAIN) * GRAIN, np.float32))]
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    starts = np.linspace(0, length - TILE, count).round().astype(int)
    total = np.zeros(length, np.float32)
    ramp = np.minimum(np.arange(1, TILE + 1), np.arange(TILE, 0, -1))
    fade = np.minimum(ramp / OVERLAP, 1.0).astype(np.float32)
    for start in starts:
        total[start : start + TILE] += fade
    return [Span(int(start), fade / total[start : start + TILE]) for start in starts]


def mirrored(plane: Plane, side: tuple[int, int]) -> Plane:
    """The plane, extended to the right and below to (height, width) by mirroring, as often as it takes."""
    missing = [(0, want - have) for want, have in zip(side, plane.shape, strict=True)]
    return np.pad(plane, missing, mode="symmetric") if any(after for _, after in missing) else plane
