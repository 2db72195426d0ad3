"""A new map is laid over the old one, however it came out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.embedding.alignment import aligned, jump, spread

OLD = np.random.default_rng(5).normal(size=(200, 2)) * (6, 2) + (10, -3)


@given(st.floats(0, 6.3), st.floats(0.2, 5), st.booleans(), st.floats(-50, 50))
def test_a_map_that_was_turned_mirrored_scaled_and_shifted_comes_back(
    angle: float, scale: float, mirror: bool, shift: float
) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    new = scale * (OLD * ((-1, 1) if mirror else (1, 1))) @ turn + shift

    back = aligned(new, OLD)(new)

    assert np.abs(back - OLD).max() < 1e-6
    assert jump(back, OLD) < 1e-6


def test_noise_moves_cells_by_no_more_than_itself() -> None:
    new = -OLD[:, ::-1] * 2 + 7 + np.random.default_rng(6).normal(0, 0.1, OLD.shape)

    move = aligned(new, OLD)

    assert jump(move(new), OLD) < 0.02
    assert jump(new, OLD) > 1


def test_the_size_of_the_new_map_can_be_kept() -> None:
    move = aligned(OLD * 3, OLD, scaled=False)

    assert move.scale == 1
    assert spread(move(OLD * 3)) == pytest.approx(3 * spread(OLD))


@pytest.mark.parametrize(("new", "words"), [(OLD[:2], "three or more"), (np.ones_like(OLD), "in one place")])
def test_anchors_that_cannot_lay_a_map_are_refused(new: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        aligned(new, OLD[: len(new)])
