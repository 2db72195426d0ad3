"""Normalisation: bounded, blind to exposure, and not fooled by noise, colour or broken values."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from pipelines.nuclei.normalise import NOISE_SPANS, noise, normalise


def spots(side: int = 128, seed: int = 3) -> np.ndarray:
    """Bright discs on a dark ground, float, 0..1."""
    points = np.zeros((side, side))
    points[12::32, 12::32] = 1
    smooth = ndimage.gaussian_filter(points, 4)
    return smooth / smooth.max() + np.random.default_rng(seed).normal(0, 0.01, (side, side))


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.float32, np.float64]),
        st.one_of(
            arrays.array_shapes(min_dims=2, max_dims=2, max_side=20),
            st.tuples(st.integers(1, 9), st.just(5), st.just(3)),
        ),
    )
)
@example(np.full((1, 5, 3), np.nan, np.float32))
@example(np.array([[0, -1.7e38, 0]], np.float32))
@example(np.array([[0, 1e-44, 1e-44]], np.float32))
def test_any_image_gives_a_bounded_plane(image: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        plane = normalise(image)

    assert plane.shape == image.shape[:2]
    assert plane.dtype == np.float32
    assert plane.min() >= 0
    assert plane.max() <= 1


@given(gain=st.floats(0.01, 1000), offset=st.floats(-100, 100))
def test_exposure_and_offset_do_not_matter(gain: float, offset: float) -> None:
    np.testing.assert_allclose(normalise(spots() * gain + offset), normalise(spots()), atol=0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_depth_of_the_camera_does_not_matter(dtype: type) -> None:
    full = np.iinfo(dtype).max
    image = np.clip(spots() * full * 0.8 + full * 0.1, 0, full).astype(dtype)

    np.testing.assert_allclose(normalise(image), normalise(spots()), atol=0.08)


def test_a_dim_image_is_brought_to_full_range() -> None:
    dim = (np.clip(spots(), 0, 1) * 30).astype(np.uint8)

    assert normalise(dim).max() > 0.95


def test_noise_alone_stays_dark() -> None:
    empty = np.random.default_rng(1).normal(1000, 30, (256, 256)).astype(np.uint16)

    assert normalise(empty).mean() < 0.4


def test_a_few_grey_levels_are_not_blown_up() -> None:
    image = (np.random.default_rng(1).random((64, 64)) < 0.05).astype(np.uint8)

    assert normalise(image).max() < 0.5


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_is_black(value: int) -> None:
    assert not normalise(np.full((20, 30), value, np.uint8)).any()


def test_dark_nuclei_on_a_bright_ground_become_bright() -> None:
    np.testing.assert_allclose(normalise(1 - spots()), normalise(spots()), atol=0.15)


def test_stained_tissue_is_judged_by_what_haematoxylin_absorbs() -> None:
    white = np.full((64, 64, 3), (235, 230, 240), np.uint8)
    white[20:30, 20:30] = (90, 60, 150)  # haematoxylin
    white[40:50, 40:50] = (225, 130, 170)  # eosin

    plane = normalise(white)

    assert plane[25, 25] > 0.9
    assert plane[45, 45] < plane[25, 25] / 2
    assert plane[5, 5] < 0.1


def test_one_bright_channel_of_a_dark_picture_is_enough() -> None:
    blue = np.zeros((128, 128, 3), np.uint8)
    blue[..., 2] = np.clip(spots() * 200, 0, 255)

    np.testing.assert_allclose(normalise(blue), normalise(blue[..., 2]), atol=1e-6)


def test_grey_saved_as_colour_is_grey() -> None:
    grey = np.clip(spots() * 200, 0, 255).astype(np.uint8)

    np.testing.assert_array_equal(normalise(np.repeat(grey[..., None], 3, axis=2)), normalise(grey))


def test_broken_values_count_as_background() -> None:
    image = spots().astype(np.float32)
    image[3, 3], image[5, 5] = np.nan, np.inf

    plane = normalise(image)

    assert np.isfinite(plane).all()
    assert plane[3, 3] < 0.1


def test_nothing_but_nan_is_black() -> None:
    assert not normalise(np.full((8, 8), np.nan, np.float32)).any()


def test_the_noise_of_white_noise_is_its_deviation() -> None:
    plane = np.random.default_rng(5).normal(0, 3, (256, 256)).astype(np.float32)

    assert noise(plane) == pytest.approx(3, rel=0.05)
    assert NOISE_SPANS > 8


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (2, 4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="an image is"):
        normalise(np.zeros(shape, np.uint8))
