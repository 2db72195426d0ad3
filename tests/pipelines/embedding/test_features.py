"""Features against shapes whose features are known."""

import numpy as np
import pytest
from skimage.draw import disk, ellipse

from pipelines.embedding.features import RINGS, central, features, islands


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """A disk, a long ellipse and a ring-shaped cell: labels and plane."""
    labels, plane = np.zeros((120, 160), np.uint16), np.full((120, 160), 0.1, np.float32)
    for number, where in enumerate([disk((30, 30), 15), ellipse(30, 100, 10, 30), disk((85, 60), 20)], 1):
        labels[where], plane[where] = number, 0.7
    plane[disk((85, 60), 9)] = 0.3
    return labels, plane


def test_shapes_have_the_features_that_geometry_says() -> None:
    labels, plane = drawn()

    table = features(labels, plane * 100, plane)

    assert table["id"].tolist() == [1, 2, 3]
    assert table["diameter"].tolist()[:1] == pytest.approx([30], abs=0.6)
    assert table["aspect_ratio"].tolist() == pytest.approx([1, 3, 1], rel=0.05)
    assert table["circularity"][0] > 0.9 > table["circularity"][1]
    assert table["contrast"].tolist()[:2] == pytest.approx([0.6, 0.6], abs=0.01)
    assert table["mean_intensity"][0] == pytest.approx(70, abs=0.1)
    assert len({len(column) for column in table.values()}) == 1


def test_a_pale_middle_is_told_from_an_even_cell() -> None:
    labels, plane = drawn()

    table = features(labels, plane, plane)
    rings = np.stack([table[f"ring_{ring}"] for ring in range(RINGS)])

    assert rings[:, 0].tolist() == pytest.approx([1, 1, 1], abs=0.01)
    assert rings[0, 2] > 1.1 > 0.7 > rings[2, 2]


def test_no_cells_make_a_table_with_the_same_columns_and_no_rows() -> None:
    labels, plane = drawn()

    empty = features(np.zeros_like(labels), plane, plane)

    assert list(empty) == list(features(labels, plane, plane))
    assert all(len(column) == 0 for column in empty.values())


def test_touching_the_border_or_one_pixel_wide_is_measured_without_nonsense() -> None:
    labels = np.zeros((40, 40), np.uint16)
    labels[:, 0], labels[0, 5:30], labels[39, 39] = 1, 2, 3

    table = features(labels, np.ones((40, 40), np.float32), np.ones((40, 40), np.float32))

    assert all(np.isfinite(column).all() for column in table.values())


def test_islands_are_whatever_stands_out_with_their_holes_filled() -> None:
    labels, plane = drawn()

    found = islands(plane)

    assert found.max() == 3
    assert np.array_equal(found > 0, labels > 0)
    assert islands(np.zeros((20, 20), np.float32)).max() == 0


def test_the_cell_of_a_small_image_is_the_island_nearest_to_its_middle() -> None:
    plane = np.zeros((64, 64), np.float32)
    plane[disk((34, 30), 9)] = 1
    plane[:6, :20] = 1

    found = central(plane)

    assert found[34, 30] == 1
    assert found[:6].max() == 0
    assert central(np.zeros((9, 9), np.float32)).max() == 0
