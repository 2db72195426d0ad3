"""Accuracy control: which layers stay in FP32, and what is refused."""

import numpy as np
import pytest

from pipelines.build.accuracy import cautious_loss, controlled, loss, means, within
from pipelines.build.errors import TooLossy

HARM = {"a": 0.001, "b": 0.02, "c": 0.0, "d": 0.004, "e": 0.0001, "f": 0.0}
"""What each layer costs when it is rounded."""
ORDER = sorted(HARM, key=lambda layer: -HARM[layer])


def cost(rounded: set[str]) -> float:
    return sum(HARM[layer] for layer in rounded)


def build(spared: tuple[str, ...]) -> set[str]:
    return set(HARM) - set(spared)


def test_the_loss_is_that_of_the_figure_that_suffers_most() -> None:
    assert loss({"all": 0.8, "fluo": 0.9}, {"all": 0.84, "fluo": 0.891}) == pytest.approx(0.01)
    assert loss({"all": 0.8}, {"all": 0.88}) == pytest.approx(-0.1)
    assert loss({"all": 0.0}, {"all": 0.0}) == 0


def test_what_is_lost_and_won_by_luck_is_not_taken_for_no_loss() -> None:
    before = {"all": np.full(100, 0.8)}
    swings = {"all": 0.8 + np.tile([0.1, -0.1], 50)}
    steady = {"all": np.full(100, 0.7992)}

    assert loss(means(before), means(swings)) == pytest.approx(0)
    assert cautious_loss(before, swings) == pytest.approx(0.0125, rel=0.02)
    assert cautious_loss(before, steady) == pytest.approx(0.001)
    assert cautious_loss({"all": np.array([0.5])}, {"all": np.array([0.4])}) == pytest.approx(0.2)


def test_nothing_is_spared_where_nothing_needs_to_be() -> None:
    tried: list[tuple[str, ...]] = []

    step = controlled(lambda: pytest.fail("asked"), lambda spared: tried.append(spared) or build(spared), cost, 0.03)

    assert (step.spared, tried) == ((), [()])


def test_as_few_layers_as_it_takes_are_spared_the_worst_first() -> None:
    step = controlled(lambda: ORDER, build, cost, 0.003)

    assert step.spared == ("b", "d")
    assert step.built == {"a", "c", "e", "f"}
    assert step.loss == pytest.approx(0.0011)


def test_the_best_is_kept_where_half_of_the_layers_is_not_enough() -> None:
    tried: list[int] = []

    step = controlled(lambda: ORDER, lambda spared: tried.append(len(spared)) or build(spared), cost, 0.00001)

    assert tried == [0, 1, 2, 3]
    assert step.spared == ("b", "d", "a")


def test_a_refusal_names_the_figure_the_limit_and_what_to_do() -> None:
    reference, figures = {"all": 0.9, "fluo": 0.95}, {"all": 0.9, "fluo": 0.931}

    with pytest.raises(
        TooLossy, match=r"x-int8 is not published: F1 of fluo is 0\.9310, in FP32 0\.9500.*2\.00 %"
    ) as e:
        within("x-int8", loss(reference, figures), 0.001, reference, figures)

    assert "0.10 % is the limit" in str(e.value)
    assert "--limit 0.0200" in str(e.value)
    within("x-int8", 0.001, 0.001, reference, figures)
