"""Cells are cut out alike, whatever the camera, the stain and the magnification."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import disk

from pipelines.embedding.crops import CONTEXT, LEAST_WINDOW, SIDE, cell_plane, cut, whole, window_of


def scene(radius: int = 12, side: int = 160, noise: float = 0.01) -> np.ndarray:
    """One bright cell right of the middle of a dark field, float32 in 0..1."""
    plane = np.zeros((side, side))
    plane[disk((side // 2, side // 2 + 20), radius)] = 0.8
    grain = np.random.default_rng(1).normal(0, noise, plane.shape)
    return (ndimage.gaussian_filter(plane, 2) + 0.1 + grain).astype(np.float32)


def test_cells_are_bright_whether_they_glow_absorb_or_are_stained() -> None:
    glowing = scene()
    absorbing = 1 - glowing
    stained = np.stack([200 - 20 * glowing, 210 - 120 * glowing, 220 - 60 * glowing], axis=2)
    for image in (glowing, absorbing, (stained).astype(np.uint8), (glowing * 4000).astype(np.uint16)):
        plane = cell_plane(image)
        assert plane.dtype == np.float32
        assert plane[80, 100] > 0.8
        assert plane[20, 20] < 0.4


def test_colour_and_exposure_of_a_smear_do_not_matter() -> None:
    cell = scene()
    pink = np.stack([200 - 20 * cell, 210 - 120 * cell, 220 - 60 * cell], axis=2)
    pale = 0.5 * pink + 40

    assert np.abs(cell_plane(pink) - cell_plane(pale)).max() < 0.02
    assert np.abs(cell_plane(pink) - cell_plane(pink[..., :3] * np.float32([0.9, 1.0, 0.7]))).max() < 0.02


def test_an_image_of_nothing_stays_dark_and_other_shapes_are_refused() -> None:
    assert cell_plane(np.full((40, 50), 7, np.uint8)).max() == 0
    with pytest.raises(ValueError, match=r"not \(4, 5, 7\)"):
        cell_plane(np.zeros((4, 5, 7), np.uint8))


def test_the_cell_is_in_the_middle_of_its_crop() -> None:
    crops = cut(cell_plane(scene()), np.array([[80.0, 100.0]]), 64)

    y, x = ndimage.center_of_mass(crops[0].astype(float) - crops[0].min() > 128)
    assert crops.shape == (1, SIDE, SIDE)
    assert crops.dtype == np.uint8
    assert (y, x) == pytest.approx((32, 32), abs=0.6)


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_the_same_cell_at_another_magnification_gives_the_same_crop(factor: float) -> None:
    plane = cell_plane(scene(noise=0.0))
    side = round(160 * factor)
    grid = (np.indices((side, side)) + 0.5) / factor - 0.5
    enlarged = ndimage.map_coordinates(plane, grid, order=1, mode="nearest")

    one = cut(plane, np.array([[80.0, 100.0]]), 64)[0].astype(int)
    other = cut(enlarged, np.array([[80.5, 100.5]]) * factor - 0.5, 64 * factor)[0].astype(int)

    assert np.abs(one - other).mean() < 4


def test_what_lies_beyond_the_image_is_mirrored_and_no_centre_is_out_of_reach() -> None:
    plane = cell_plane(scene())
    corners = np.array([[0, 0], [0, 159], [159, 0], [159, 159]], float)

    crops = cut(plane, corners, 64)

    assert np.array_equal(crops[0][:, 32:][32:], np.rint(plane[:32, :32] * 255).astype(np.uint8))
    assert np.array_equal(crops[0][:, ::-1], crops[0])


def test_a_cell_that_is_small_among_its_neighbours_stays_small() -> None:
    assert window_of([40, 40, 20]) == pytest.approx(CONTEXT * 40)
    assert window_of([2.0]) == LEAST_WINDOW


def test_a_small_image_is_one_crop_of_its_middle() -> None:
    tall = np.zeros((90, 30), np.float32)
    tall[40:50] = 1
    crop = whole(tall)

    assert crop.shape == (1, SIDE, SIDE)
    assert crop[0, 32].min() == 255
    assert crop[0, :8].max() == 0


def test_a_window_beyond_all_measure_is_refused_by_its_size() -> None:
    with pytest.raises(ValueError, match="too large for an image"):
        cut(np.zeros((5, 5), np.float32), np.array([[2.0, 2.0]]), 100_000)
