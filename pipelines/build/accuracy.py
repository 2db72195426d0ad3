"""Accuracy control: layers that cost accuracy stay in FP32 until the loss is within its limit.

F1 jumps from picture to picture: what one loses another may gain by luck, so that a small mean over some pictures
promises little for others. The limit is therefore asked of the loss with its standard error added.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.build.errors import TooLossy

Built = TypeVar("Built")
Scores = Mapping[str, NDArray[np.float64]]
"""Accuracy of each picture, by what the pictures are; larger is better."""
Figures = Mapping[str, float]
"""Their means."""
MOST_SPARED = 0.5
"""Of the layers: with more in FP32, nothing is left to gain."""


@dataclass(frozen=True)
class Step(Generic[Built]):
    """One try: what was spared, what came of it, and its loss."""

    spared: tuple[str, ...]
    built: Built = field(repr=False)
    loss: float


def means(scores: Scores) -> Figures:
    """The mean of each."""
    return {name: float(values.mean()) for name, values in scores.items()}


def loss(reference: Figures, figures: Figures) -> float:
    """How much worse than the reference, as a share of it: the largest of all figures; negative if all are better."""
    return max((before - figures[name]) / before if before else 0.0 for name, before in reference.items())


def cautious_loss(reference: Scores, scores: Scores) -> float:
    """As ``loss``, with the standard error of the mean difference added: what other pictures may well lose."""
    return max(_cautious(before, scores[name]) for name, before in reference.items())


def _cautious(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    lost = before - after
    error = lost.std(ddof=1) / math.sqrt(len(lost)) if len(lost) > 1 else 0.0
    return float((lost.mean() + error) / before.mean()) if before.mean() else 0.0


def controlled(
    order: Callable[[], Sequence[str]],
    build: Callable[[tuple[str, ...]], Built],
    lost: Callable[[Built], float],
    limit: float,
    told: Callable[[str], None] = lambda line: None,
) -> Step[Built]:
    """The first build whose loss is within the limit, with more and more layers spared; where none is, the best.

    ``order`` gives the layers, the most harmful first; it is asked only if some must be spared.
    """
    best = _step((), build, lost, told)
    if best.loss <= limit:
        return best
    layers = order()
    for count in _counts(math.floor(MOST_SPARED * len(layers))):
        step = _step(tuple(layers[:count]), build, lost, told)
        best = min(best, step, key=lambda one: one.loss)
        if step.loss <= limit:
            return step
    return best


def _counts(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 9 … and the last."""
    count = 1
    while count < most:
        yield count
        count = max(count + 1, count * 3 // 2)
    if most:
        yield most


def _step(
    spared: tuple[str, ...],
    build: Callable[[tuple[str, ...]], Built],
    lost: Callable[[Built], float],
    told: Callable[[str], None],
) -> Step[Built]:
    made = build(spared)
    step = Step(spared, made, lost(made))
    told(f"{len(spared)} more layers in FP32: loss {100 * step.loss:.3f} %, its standard error included")
    return step


def within(name: str, lost: float, limit: float, reference: Figures, figures: Figures) -> None:
    """Raises ``TooLossy`` with the figures, the limit and what can be done, unless the loss is within the limit."""
    if lost <= limit:
        return
    worst = max(reference, key=lambda key: loss({key: reference[key]}, figures))
    raise TooLossy(
        f"{name} is not published: F1 of {worst} is {figures[worst]:.4f}, in FP32 {reference[worst]:.4f}: a loss of "
        f"{100 * lost:.2f} %, and {100 * limit:.2f} % is the limit. Calibrate with more or other pictures "
        f"(--calibration, --seed), train longer, or accept more (--limit {math.ceil(1e4 * lost) / 1e4:.4f})"
    )
