"""Accuracy control: which layers stay in FP32, and what is refused."""

import pytest

from pipelines.build.accuracy import controlled, loss, ranked, within
from pipelines.build.errors import TooLossy

HARM = {"a": 0.001, "b": 0.02, "c": 0.0, "d": 0.004}
"""What each layer costs when it is rounded."""


def cost(rounded: set[str]) -> float:
    return sum(HARM[layer] for layer in rounded)


def build(spared: tuple[str, ...]) -> set[str]:
    return set(HARM) - set(spared)


def test_the_loss_is_that_of_the_figure_that_suffers_most() -> None:
    assert loss({"all": 0.8, "fluo": 0.9}, {"all": 0.84, "fluo": 0.891}) == pytest.approx(0.01)
    assert loss({"all": 0.8}, {"all": 0.88}) == pytest.approx(-0.1)
    assert loss({"all": 0.0}, {"all": 0.0}) == 0


def test_nothing_is_spared_where_nothing_needs_to_be() -> None:
    tried: list[tuple[str, ...]] = []

    step = controlled([*HARM], lambda spared: tried.append(spared) or build(spared), cost, cost, 0.03)

    assert (step.spared, tried) == ((), [()])


def test_as_few_layers_as_it_takes_are_spared_the_worst_first() -> None:
    step = controlled([*HARM], build, cost, cost, 0.003)

    assert step.spared == ("b", "d")
    assert step.built == {"a", "c"}
    assert step.loss == pytest.approx(0.001)


def test_the_best_is_kept_where_nothing_is_enough() -> None:
    step = controlled([*HARM], build, cost, lambda rounded: 0.5 if len(rounded) != 1 else 0.2, 0.001)

    assert step.loss == 0.2
    assert len(step.spared) == 3


def test_the_order_is_found_with_the_quick_builds() -> None:
    quick: list[tuple[str, ...]] = []

    controlled([*HARM], build, cost, cost, 0.003, lambda spared: quick.append(spared) or build(spared))

    assert quick == [("a",), ("b",), ("c",), ("d",)]
    assert ranked([*HARM], build, cost) == ["b", "d", "a", "c"]


def test_a_refusal_names_the_figure_the_limit_and_what_to_do() -> None:
    reference, figures = {"all": 0.9, "fluo": 0.95}, {"all": 0.9, "fluo": 0.931}

    with pytest.raises(
        TooLossy, match=r"x-int8 is not published: F1 of fluo is 0\.9310, in FP32 0\.9500.*2\.00 %"
    ) as e:
        within("x-int8", loss(reference, figures), 0.001, reference, figures)

    assert "0.10 % is the limit" in str(e.value)
    assert "--limit 0.0200" in str(e.value)
    within("x-int8", 0.001, 0.001, reference, figures)
