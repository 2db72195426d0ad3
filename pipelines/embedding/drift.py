"""Whether new cells still fall on the map: decisions only, about distances that others have measured."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import sqrt

SURE = 2.58
"""Standard deviations: a verdict that is given in vain once in some two hundred windows."""
LEAST = 100.0
"""Cells that must have been seen: one odd image is no drift."""
TOLERATED = 3.0
"""So many times the expected share of far cells may be seen before the map is said to be too small."""


@dataclass(frozen=True)
class Reach:
    """How far a map reaches: cells of the same kind as those it was made of lie farther than ``limit`` from them in a
    share ``expected`` of the cases (measured on images that were not used for the map)."""

    limit: float
    expected: float


@dataclass(frozen=True)
class Watch:
    """What has been seen lately. Older cells count less and less: all weights add up to ``memory`` at most."""

    memory: float = 5000.0
    seen: float = 0.0
    far: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of the map."""

    share: float
    """Of new cells that lie far off, 0..1."""
    at_least: float
    """The least share that these cells let one believe in."""
    drifted: bool
    """Time to fit the map anew."""


def watched(watch: Watch, novelties: Iterable[float], reach: Reach) -> Watch:
    """The watch after more cells. Cells in batches or one by one come to the same."""
    seen, far, kept = watch.seen, watch.far, 1 - 1 / watch.memory
    for novelty in novelties:
        # A distance that is none (a model without a map) tells nothing.
        if novelty == novelty:
            seen, far = seen * kept + 1, far * kept + (novelty > reach.limit)
    return replace(watch, seen=seen, far=far)


def verdict(watch: Watch, reach: Reach) -> Verdict:
    """Whether so many cells are far off that chance, or a few odd ones, cannot be the reason.

    The lower end of Wilson's interval (1927) for the share must exceed what is tolerated, after ``LEAST`` cells.
    """
    if watch.seen <= 0:
        return Verdict(0.0, 0.0, False)
    share = watch.far / watch.seen
    least = _wilson_low(share, watch.seen)
    return Verdict(share, least, watch.seen >= LEAST and least > min(1.0, TOLERATED * reach.expected))


def _wilson_low(share: float, count: float) -> float:
    square = SURE**2 / count
    middle = share + square / 2
    spread = SURE * sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, (middle - spread) / (1 + square))
