"""When the map is said to be too small: soon after new cells fall off it, and never by chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.embedding.drift import TOLERATED, Reach, Watch, verdict, watched

REACH = Reach(limit=0.1, expected=0.01)


def seen(share: float, count: int, seed: int = 1) -> Watch:
    """Cells of which so many lie far off, by chance."""
    far = np.random.default_rng(seed).random(count) < share
    return watched(Watch(), np.where(far, 0.5, 0.05).tolist(), REACH)


@pytest.mark.parametrize("seed", range(20))
def test_cells_as_the_map_was_calibrated_for_never_call_for_a_new_one(seed: int) -> None:
    for count in (1, 10, 300, 5000):
        assert not verdict(seen(REACH.expected, count, seed), REACH).drifted


@pytest.mark.parametrize("seed", range(20))
def test_cells_of_which_a_tenth_is_new_do_so_within_some_thousand(seed: int) -> None:
    told = verdict(seen(0.1, 2000, seed), REACH)

    assert told.drifted
    assert told.at_least < told.share


def test_a_few_odd_cells_are_no_drift_but_many_are() -> None:
    assert not verdict(watched(Watch(), [0.5], REACH), REACH).drifted
    assert not verdict(watched(Watch(), [0.5] * 60, REACH), REACH).drifted
    assert verdict(watched(Watch(), [0.5] * 120, REACH), REACH).drifted
    assert verdict(watched(Watch(), [0.05, 0.05, 0.05, 0.5] * 40, REACH), REACH).drifted
    assert not verdict(Watch(), REACH).drifted


def test_what_was_long_ago_is_forgotten() -> None:
    bad = watched(Watch(memory=500), [0.5] * 500, REACH)
    assert verdict(bad, REACH).drifted
    assert not verdict(watched(bad, [0.05] * 5000, REACH), REACH).drifted


def test_distances_that_are_none_tell_nothing() -> None:
    assert watched(Watch(), [float("nan")] * 50, REACH) == Watch()


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 60))
def test_batches_and_single_cells_come_to_the_same(novelties: list[float], cut: int) -> None:
    whole = watched(Watch(), novelties, REACH)
    parts = watched(watched(Watch(), novelties[:cut], REACH), novelties[cut:], REACH)

    assert parts == whole
    assert 0 <= whole.far <= whole.seen <= len(novelties)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(1e-4, 0.5))
def test_a_share_within_what_is_tolerated_is_never_drift(count: int, part: float, expected: float) -> None:
    far = part * min(1.0, TOLERATED * expected) * count
    told = verdict(Watch(seen=count, far=far), Reach(0.1, expected))

    assert not told.drifted
    assert 0 <= told.at_least <= told.share + 1e-9
