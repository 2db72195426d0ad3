"""Gates in columns say what the pure rule says of each cell alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.gates import Action, Bound, Gate, Rule, decide, inside
from contracts.stream_decisions import MOST_GATES, Decision, combined, decided_in
from pipelines.stream.judge import ROW, Judge, Judged, Known, Polygon
from pipelines.stream.port import Findings

CLASSES = ("burr", "normal", "target")
KNOWN = Known("1", CLASSES, places=True, features=("novelty",))
numbers = st.floats(-50, 50, width=32) | st.integers(-3, 3).map(float)
points = st.tuples(numbers, numbers)
polygons = st.lists(points, min_size=3, max_size=12)
anywhere = numbers | st.just(float("nan")) | st.just(float("inf"))
bounds = st.builds(
    Bound,
    Feature=st.sampled_from(["probability", "novelty"]),
    Least=st.none() | st.floats(0, 1, width=32),
    Most=st.none() | st.floats(0, 1, width=32),
)
rules = st.builds(
    Rule,
    Model=st.sampled_from(["", "1", "2"]),
    Polygon=st.just([]) | polygons,
    Classes=st.lists(st.sampled_from([*CLASSES, "wbc"]), max_size=3),
    Bounds=st.lists(bounds, min_size=1, max_size=3),
    Action=st.sampled_from(Action),
)
cells = st.tuples(anywhere, anywhere, st.integers(0, 2), st.floats(0, 1, width=32), anywhere)
SQUARE = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))


def gate(name: str, **rule: Any) -> Gate:
    return Gate.model_validate({"Id": name, "Name": name, "Rule": rule})


def findings(some: list[tuple[float, float, int, float, float]]) -> Findings:
    """Cells: x, y, class, probability, novelty."""
    x, y, labels, probability, novelty = (np.array(column) for column in zip(*some, strict=True))
    places = np.stack([x, y], axis=1).astype(np.float32)
    return Findings(
        labels.astype(int),
        probability.astype(np.float32),
        np.zeros((len(some), 0), np.float32),
        lambda: places,
        {"novelty": lambda: novelty.astype(np.float32)},
    )


def said(judge: Judge, found: Findings, model: str = "1") -> tuple[Judged, list[Any]]:
    ticks = iter((1000, 1500))
    judged = judge(found, model, lambda: next(ticks))
    rows = judged.rows
    return judged, [decided_in(rows, at * ROW.itemsize, one) for at, one in enumerate(judged.decisions)]


@given(polygons, st.lists(st.tuples(anywhere, anywhere), min_size=1, max_size=30))
def test_points_in_columns_lie_in_the_same_polygons_as_alone(corners, some) -> None:
    x, y = np.array(some, np.float64).T
    assert Polygon(corners)(x, y).tolist() == [inside(*one, corners) for one in some]


@given(st.lists(rules, max_size=5), st.lists(cells, min_size=1, max_size=20))
def test_each_gate_says_of_each_frame_what_the_rule_says_and_one_that_rejects_wins(some, seen) -> None:
    gates = [Gate(Id=str(n), Name=str(n), Rule=rule) for n, rule in enumerate(some)]
    judged, decided = said(Judge(KNOWN, 7, gates), findings(seen))

    for (x, y, label, probability, novelty), one in zip(seen, decided, strict=True):
        features = {"probability": probability, "novelty": novelty}
        place = float(np.float32(x)), float(np.float32(y))
        alone = [decide(gate.rule, "1", *place, CLASSES[label], features) for gate in gates]
        alone = [action for action in alone if action is not None]
        accepting = sum(1 << bit for bit, action in enumerate(alone) if action is Action.ACCEPT)
        rejecting = sum(1 << bit for bit, action in enumerate(alone) if action is Action.REJECT)
        assert (one.accepting, one.rejecting) == (accepting, rejecting)
        assert one.decision is combined(accepting, rejecting)
        assert (one.edition, one.at) == (7, 1500 if alone else 0)
    assert sum(judged.accepted) == sum(bin(one.accepting).count("1") for one in decided)
    assert sum(judged.rejected) == sum(bin(one.rejecting).count("1") for one in decided)


def test_a_cell_without_a_place_is_not_within_a_polygon() -> None:
    nowhere = (float("nan"), float("nan"), 0, 0.9, 0.1)
    gates = [gate("keep", Polygon=SQUARE), gate("drop", Polygon=SQUARE, Action="reject")]
    _, (one, other) = said(Judge(KNOWN, 1, gates), findings([nowhere, (1, 1, 0, 0.9, 0.1)]))
    assert (one.accepting, one.rejecting, one.place) == (0b10, 0b01, None)
    assert (other.accepting, other.rejecting, other.place) == (0b01, 0b10, (1.0, 1.0))
    assert one.decision is other.decision is Decision.REJECT


@pytest.mark.parametrize(
    ("rule", "known", "why"),
    [
        ({"Model": "2", "Classes": ["burr"]}, KNOWN, "belongs to the map of model 2; frames are seen by 1"),
        ({"Polygon": SQUARE}, Known("bloodcells/1", CLASSES), "goes by places on the map, which frames of this model"),
        ({"Bounds": [{"Feature": "area", "Least": 9}]}, KNOWN, "goes by area, which a stream does not measure"),
        ({"Bounds": [{"Feature": "novelty"}]}, Known("x/1", CLASSES), "goes by novelty, which a stream does not"),
        ({"Polygon": SQUARE, "Map": 2}, KNOWN, "goes by the map that the gateway has fitted anew (version 2)"),
        ({"Bounds": [{"Feature": "novelty"}], "Map": 2}, KNOWN, "(version 2), which this stream has not"),
    ],
)
def test_a_gate_that_cannot_be_applied_is_named_with_the_reason_and_decides_nothing(rule, known, why) -> None:
    this = gate("this", **{name: value for name, value in rule.items() if name != "Map"})
    this = this.model_copy(update={"map": rule.get("Map", 0)})
    judge = Judge(known, 1, [this, gate("burrs", Classes=["burr"])], {"odd": "is not understood here"})
    assert judge.said.names == ("burrs",)
    assert why in judge.said.not_applied["this"]
    assert judge.said.not_applied["odd"] == "is not understood here"
    _, decided = said(judge, findings([(0, 0, 0, 0.9, 0.1), (0, 0, 1, 0.9, 0.1)]), known.model)
    assert [one.decision for one in decided] == [Decision.ACCEPT, Decision.REJECT]


def test_of_more_gates_than_there_are_bits_the_last_are_named_as_not_applied() -> None:
    judge = Judge(KNOWN, 1, [gate(f"g{n:03}", Classes=["burr"]) for n in range(MOST_GATES + 2)])
    assert len(judge.said.names) == MOST_GATES
    assert list(judge.said.not_applied) == ["g064", "g065"]
    _, (one,) = said(judge, findings([(0, 0, 0, 0.9, 0.1)]))
    assert one.accepting == 2**64 - 1


def test_frames_that_another_version_has_seen_and_those_without_an_answer_get_no_decision() -> None:
    judge = Judge(KNOWN, 1, [gate("burrs", Classes=["burr"])])
    seen = findings([(1, 1, 0, 0.9, 0.1), (1, 1, 0, float("nan"), 0.1)])
    judged, (sound, unsound) = said(judge, seen)
    assert (sound.decision, unsound.decision, unsound.at) == (Decision.ACCEPT, Decision.NONE, 0)
    assert (judged.accepted, judged.rejected) == ([1], [0])
    judged, decided = said(judge, seen, "2")
    assert {(one.decision, one.place, one.at) for one in decided} == {(Decision.NONE, None, 0)}
    assert (judged.accepted, judged.rejected) == ([0], [0])


def test_without_gates_nothing_is_decided_but_the_place_is_told() -> None:
    _, (one,) = said(Judge(KNOWN), findings([(1, 2, 0, 0.9, 0.1)]))
    assert (one.decision, one.edition, one.at, one.place) == (Decision.NONE, 0, 0, (1.0, 2.0))
