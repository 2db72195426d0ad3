"""How far labels agree with the truth: objects matched by overlap, and counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


@dataclass(frozen=True)
class Match:
    """One image: how many objects it has, how many were found, how many of them match at each threshold."""

    true: int
    found: int
    hits: tuple[int, ...]

    def f1(self, at: int = 0) -> float:
        """2 TP / (2 TP + FP + FN); 1 when there is nothing and nothing was found."""
        objects = self.true + self.found
        return 2 * self.hits[at] / objects if objects else 1.0

    def precision(self, at: int) -> float:
        """AP as in the DSB 2018 contest: TP / (TP + FP + FN); 1 when there is nothing and nothing was found."""
        either = self.true + self.found - self.hits[at]
        return self.hits[at] / either if either else 1.0

    @property
    def count_error(self) -> float:
        """|found - true| / max(true, 1)."""
        return abs(self.found - self.true) / max(self.true, 1)


def match(truth: NDArray[Any], found: NDArray[Any], thresholds: Sequence[float] = THRESHOLDS) -> Match:
    """Compare two label images of one shape.

    A found object is a hit when its intersection over union with a true one exceeds the threshold; from 0.5
    on, no object can be in two hits (Caicedo et al. 2019). Raises ``ValueError`` for a lower threshold.
    """
    if min(thresholds) < 0.5:
        raise ValueError("below 0.5 one object may match several; choose thresholds of 0.5 and more")
    width = int(found.max(initial=0)) + 1
    pairs, shared = np.unique(truth.astype(np.int64) * width + found, return_counts=True)
    of_true, of_found = pairs // width, pairs % width
    area_true, area_found = np.bincount(truth.ravel()), np.bincount(found.ravel())
    both = (of_true > 0) & (of_found > 0)
    of_true, of_found, shared = of_true[both], of_found[both], shared[both]
    overlap = shared / (area_true[of_true] + area_found[of_found] - shared)
    return Match(
        int((area_true[1:] > 0).sum()),
        int((area_found[1:] > 0).sum()),
        tuple(int((overlap > threshold).sum()) for threshold in thresholds),
    )


@dataclass(frozen=True)
class Summary:
    """Figures of several images."""

    images: int
    objects: int
    f1: float
    """At an overlap of 0.5, mean over the images."""
    f1_pooled: float
    """At an overlap of 0.5, all objects of all images together."""
    average_precision: dict[str, float]
    """By threshold, mean over the images."""
    count_error: float
    """Median over the images of ``Match.count_error``."""
    count_error_mean: float


def summarise(matches: Iterable[Match], thresholds: Sequence[float] = THRESHOLDS) -> Summary:
    """The figures of at least one image."""
    all_of = list(matches)
    objects, found = sum(m.true for m in all_of), sum(m.found for m in all_of)
    pooled = Match(objects, found, tuple(sum(m.hits[i] for m in all_of) for i in range(len(thresholds))))
    errors = [m.count_error for m in all_of]
    return Summary(
        images=len(all_of),
        objects=objects,
        f1=float(np.mean([m.f1() for m in all_of])),
        f1_pooled=pooled.f1(),
        average_precision={
            f"{threshold:.2f}": float(np.mean([m.precision(i) for m in all_of]))
            for i, threshold in enumerate(thresholds)
        },
        count_error=float(np.median(errors)),
        count_error_mean=float(np.mean(errors)),
    )
