"""Gates: pure decisions about a cell, the same alone and in columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.gates import Action, Bound, Rule, decide, inside
from gateway.cell_map.rules import within

numbers = st.floats(-50, 50, width=32)
points = st.tuples(numbers, numbers)
polygons = st.lists(points, min_size=3, max_size=12)
SQUARE = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))


@given(polygons, st.lists(points, min_size=1, max_size=30))
def test_points_alone_and_in_columns_lie_in_the_same_polygons(polygon, some):
    x, y = np.array(some, np.float32).T
    assert within(x, y, polygon).tolist() == [inside(*one, polygon) for one in some]


@given(points, st.integers(0, 11), polygons)
def test_it_does_not_matter_where_a_line_begins_or_which_way_it_was_drawn(point, start, polygon):
    turned = polygon[start % len(polygon) :] + polygon[: start % len(polygon)]
    assert inside(*point, turned) == inside(*point, polygon)
    others = [inside(*point, list(reversed(polygon)))]
    on_the_line = any(_near(point, a, b) for a, b in zip(polygon, [*polygon[1:], polygon[0]], strict=True))
    assert on_the_line or others == [inside(*point, polygon)]


def _near(point, a, b) -> bool:
    p, one, two = (np.array(value, float) for value in (point, a, b))
    along = two - one
    share = np.clip((p - one) @ along / max(along @ along, 1e-300), 0, 1)
    return bool(np.linalg.norm(p - one - share * along) < 1e-6)


@given(st.tuples(numbers, numbers), st.tuples(numbers, numbers), st.tuples(numbers, numbers))
def test_two_halves_of_a_polygon_share_its_points_and_none_is_in_both(a, b, point):
    (left, low), (right, high) = np.minimum(a, b).tolist(), np.maximum(a, b).tolist()
    whole = ((left, low), (right, low), (right, high), (left, high))
    halves = whole[:3], (whole[0], whole[2], whole[3])
    if inside(*point, whole):
        x, y = point
        off = abs((right - left) * (y - low) - (high - low) * (x - left))
        assert off < 1e-3 or sum(inside(*point, half) for half in halves) == 1


@given(polygons)
def test_a_cell_without_a_place_is_in_no_polygon(polygon):
    assert not inside(float("nan"), 0.0, polygon)
    assert not inside(0.0, float("nan"), polygon)
    assert not within(np.array([np.nan, 0], np.float32), np.array([0, np.nan], np.float32), polygon).any()


@given(points, st.sampled_from(["normal", "burr"]), st.floats(allow_nan=True), st.sampled_from(Action))
def test_a_cell_gets_the_word_of_the_gate_exactly_where_all_that_it_says_is_true(place, class_, area, action):
    rule = Rule(Polygon=SQUARE, Classes=("burr",), Bounds=(Bound(Feature="area", Least=10, Most=20),), Action=action)
    within_all = inside(*place, SQUARE) and class_ == "burr" and 10 <= area <= 20
    assert (decide(rule, "1", *place, class_, {"area": area}) is action) == within_all


def test_each_part_of_a_rule_can_turn_a_cell_away():
    cell = ("1", 1.0, 1.0, "burr", {"area": 15.0})
    rule = Rule(Polygon=SQUARE, Classes=("burr",), Bounds=(Bound(Feature="area", Least=10, Most=20),))
    assert decide(rule, *cell) is Action.ACCEPT
    assert decide(rule, "1", 5.0, 1.0, "burr", {"area": 15.0}) is Action.REJECT
    assert decide(rule, "1", 1.0, 1.0, "normal", {"area": 15.0}) is Action.REJECT
    assert decide(rule, "1", 1.0, 1.0, "burr", {"area": 21.0}) is Action.REJECT
    assert decide(rule, "1", 1.0, 1.0, "burr", {}) is Action.REJECT


def test_a_gate_on_the_map_of_one_model_says_nothing_of_cells_of_another():
    rule = Rule(Model="1", Polygon=SQUARE)
    assert decide(rule, "2", 1.0, 1.0, "burr", {}) is None
    assert decide(rule, "1", 1.0, 1.0, "burr", {}) is Action.ACCEPT


@pytest.mark.parametrize("said", [
    {}, {"Polygon": [[0, 0], [1, 1]]}, {"Polygon": [[0, 0], [1, 1], [float("nan"), 0]]}, {"Polygon": [[0, 0]] * 501},
    {"Classes": ["burr"], "Action": "eat"}, {"Bounds": [{"Least": 3}]}, {"Classes": ["burr"], "Colour": 1},
])  # fmt: skip
def test_what_is_no_gate_is_refused(said):
    with pytest.raises(ValidationError):
        Rule.model_validate(said)
