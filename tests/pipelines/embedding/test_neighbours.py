"""Neighbours and figures of searches and maps, against what was counted by hand or by brute force."""

import numpy as np
import pytest

from pipelines.embedding.neighbours import average_precision, nearest, overlap, preservation, trustworthiness, vote
from pipelines.embedding.translation import unit


def vectors(count: int, seed: int = 0, width: int = 16) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, width)))


def test_neighbours_are_those_of_brute_force() -> None:
    queries, base = vectors(700, 1), vectors(90, 2)

    found = nearest(queries, base, 7)

    assert np.array_equal(found, np.argsort(-(queries @ base.T), axis=1)[:, :7])
    assert nearest(queries[:2], base[:3], 10).shape == (2, 3)


def test_cells_of_the_own_image_are_no_neighbours() -> None:
    base = vectors(40)
    images = np.arange(40) // 10

    found = nearest(base, base, 5, (images, images))

    assert (images[found] != images[:, None]).all()


def test_the_vote_goes_to_the_many_and_a_tie_to_the_near() -> None:
    classes = np.array([0, 1, 1, 2])

    assert vote(np.array([[0, 1, 2], [1, 2, 0]]), classes, 3).tolist() == [1, 1]
    assert vote(np.array([[3, 0]]), classes, 3).tolist() == [2]


def test_average_precision_is_that_of_the_book() -> None:
    same = np.array([[True, False, True, False], [False] * 4, [True] * 4])

    result = average_precision(same, np.array([2, 3, 9]))

    assert result.tolist() == pytest.approx([(1 + 2 / 3) / 2, 0, 1])


def test_overlap_counts_the_found_in_any_order() -> None:
    assert overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [3, 9]])) == 0.75


def test_a_map_that_keeps_all_distances_is_trusted_and_one_by_chance_is_not() -> None:
    flat = np.random.default_rng(3).normal(size=(300, 2)).astype(np.float32)
    chance = np.random.default_rng(4).normal(size=(300, 2))

    assert trustworthiness(flat, flat * 3 + 1, 15) == pytest.approx(1)
    assert preservation(flat, flat * 3 + 1, 15) == pytest.approx(1)
    assert trustworthiness(flat, chance, 15) == pytest.approx(0.5, abs=0.06)
    assert preservation(flat, chance, 15) == pytest.approx(15 / 299, abs=0.03)


def test_trustworthiness_of_four_points_is_that_counted_by_hand() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]], np.float32)
    # On the map the last two have changed places. The nearest of each: 1, 0, 0, 2 on the line; 1, 0, 3, 1 on the map.
    swapped = np.array([[0.0], [1.0], [7.0], [3.0]], np.float32)
    # Point 2 has 3 nearest on the map, which is its third on the line (2 too far); point 3 has 1, its second (1).
    assert trustworthiness(line, swapped, 1) == pytest.approx(1 - (2 + 1) * 2 / (4 * 1 * (8 - 3 - 1)))
    with pytest.raises(ValueError, match="twice as many"):
        trustworthiness(line, swapped, 2)
