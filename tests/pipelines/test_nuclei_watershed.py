"""From maps to labels: touching nuclei part, holes close, specks vanish, numbers run from 1 to n."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import disk

from pipelines.nuclei.watershed import Settings, filled, numbered, seeds, segment


def maps_of(labels: np.ndarray) -> np.ndarray:
    """What a perfect network would say of the labels."""
    distance = np.zeros(labels.shape, np.float32)
    for number in range(1, labels.max() + 1):
        depth = ndimage.distance_transform_edt(np.pad(labels == number, 1))[1:-1, 1:-1]
        distance += depth / max(depth.max(), 1)
    return np.stack([labels > 0, (distance > 0) & (distance < 0.15), distance]).astype(np.float32)


def discs(shape: tuple[int, int], *places: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    for number, (row, column, radius) in enumerate(places, 1):
        labels[disk((row, column), radius, shape=shape)] = number
    return labels


def test_two_touching_discs_are_two_nuclei() -> None:
    truth = discs((64, 64), (32, 20, 11), (32, 41, 11))

    labels = segment(maps_of(truth))

    assert labels.max() == 2
    assert (labels == truth).mean() > 0.98


def test_a_long_nucleus_is_one() -> None:
    truth = np.zeros((40, 80), np.int32)
    truth[15:25, 10:70] = 1

    assert segment(maps_of(truth)).max() == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(4, 7)), unique_by=lambda p: p[:2]))
def test_separate_discs_are_all_found_and_numbered_without_gaps(places: list[tuple[int, int, int]]) -> None:
    truth = discs((80, 80), *((10 + 20 * row, 10 + 20 * column, radius) for row, column, radius in places))

    labels = segment(maps_of(truth))

    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) - {0} == set(range(1, len(places) + 1))
    np.testing.assert_array_equal(labels > 0, truth > 0)


def test_specks_are_dropped_and_empty_maps_give_nothing() -> None:
    speck = discs((32, 32), (16, 16, 2))

    assert segment(maps_of(speck)).max() == 0
    assert segment(maps_of(speck), Settings(min_area=1)).max() == 1
    assert segment(np.zeros((3, 9, 1), np.float32)).shape == (9, 1)


def test_a_small_island_without_a_core_is_one_nucleus() -> None:
    truth = discs((32, 32), (16, 16, 5))
    maps = maps_of(truth)
    maps[2] *= 0.3

    assert segment(maps).max() == 1


def test_a_bump_is_no_nucleus_of_its_own_and_an_island_without_a_core_is_one() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:20] = mask[5:35, 25:35] = True
    peaks = np.zeros((40, 40), np.float32)
    peaks[8:16, 8:16] = peaks[25:27, 10] = 1

    assert seeds(mask, peaks, 0.5, 0.1).max() == 2
    assert seeds(mask, peaks, 0.5).max() == 3


def test_haze_is_no_nucleus() -> None:
    maps = maps_of(discs((64, 64), (20, 20, 10), (44, 44, 10)))
    maps[0, 30:] *= 0.6

    assert segment(maps).max() == 1
    assert segment(maps, Settings(certain=0.5)).max() == 2


def test_only_small_holes_are_filled() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mask[8:10, 8:10] = False
    mask[20:30, 20:30] = False
    mask[0, 5:35] = True  # encloses nothing: rows 1..4 reach the border

    closed = filled(mask, 40)

    assert closed[8:10, 8:10].all()
    assert not closed[20:30, 20:30].any()
    assert not closed[2, 20]


@pytest.mark.parametrize(("count", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_labels_grow_wide_only_when_they_must(count: int, dtype: type) -> None:
    labels = np.arange(count + 1, dtype=np.int32).reshape(1, -1)

    assert numbered(labels, 1).dtype == dtype
    assert numbered(labels, 1).max() == count
