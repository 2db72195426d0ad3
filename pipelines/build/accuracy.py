"""Accuracy control: layers that cost accuracy stay in FP32 until the loss is within its limit.

The order in which layers are spared is found once, by what each contributes to the error of the outputs on a few
pictures; the loss itself, which is what counts but jumps from picture to picture, decides only when it is enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pipelines.build.errors import TooLossy

Built = TypeVar("Built")
Figures = Mapping[str, float]
"""Accuracies by what they are of, such as F1 by group; larger is better."""


@dataclass(frozen=True)
class Step(Generic[Built]):
    """One try: what was spared, what came of it, and its loss."""

    spared: tuple[str, ...]
    built: Built = field(repr=False)
    loss: float


def loss(reference: Figures, figures: Figures) -> float:
    """How much worse than the reference, as a share of it: the largest of all figures; negative if all are better."""
    return max((before - figures[name]) / before if before else 0.0 for name, before in reference.items())


def controlled(
    layers: Sequence[str],
    build: Callable[[tuple[str, ...]], Built],
    error: Callable[[Built], float],
    lost: Callable[[Built], float],
    limit: float,
    quick: Callable[[tuple[str, ...]], Built] | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Step[Built]:
    """The first build whose loss is within the limit, with as few layers spared as that takes; the best there was where
    none is. ``quick`` builds like ``build``, but faster and less well: the order is found with it.

    ``error`` tells how far the outputs of a build are from those of FP32: the layer whose absence helps most is spared
    first.
    """
    best = _step((), build, lost, told)
    if best.loss <= limit:
        return best
    order = ranked(layers, quick or build, error, told)
    for count in range(1, len(order) + 1):
        step = _step(tuple(order[:count]), build, lost, told)
        best = min(best, step, key=lambda one: one.loss)
        if step.loss <= limit:
            return step
    return best


def ranked(
    layers: Sequence[str],
    build: Callable[[tuple[str, ...]], Built],
    error: Callable[[Built], float],
    told: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """The layers, that whose rounding adds most to the error first."""
    errors = {}
    for layer in layers:
        errors[layer] = error(build((layer,)))
        told(f"error without {layer}: {errors[layer]:.3g}")
    return sorted(errors, key=lambda layer: errors[layer])


def within(name: str, lost: float, limit: float, reference: Figures, figures: Figures) -> None:
    """Raises ``TooLossy`` with the figures, the limit and what can be done, unless the loss is within the limit."""
    if lost <= limit:
        return
    worst = max(reference, key=lambda key: loss({key: reference[key]}, figures))
    raise TooLossy(
        f"{name} is not published: F1 of {worst} is {figures[worst]:.4f}, in FP32 {reference[worst]:.4f}: a loss of "
        f"{100 * lost:.2f} %, and {100 * limit:.2f} % is the limit. Calibrate with more or other pictures "
        f"(--calibration, --seed), train longer, or accept more (--limit {lost:.4f})"
    )


def _step(
    spared: tuple[str, ...],
    build: Callable[[tuple[str, ...]], Built],
    lost: Callable[[Built], float],
    told: Callable[[str], None],
) -> Step[Built]:
    made = build(spared)
    step = Step(spared, made, lost(made))
    told(f"{len(spared)} layers in FP32: loss {100 * step.loss:.3f} %")
    return step
