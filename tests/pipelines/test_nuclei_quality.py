"""Warnings: blurred, clipped and empty images are told from good ones."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import disk

from pipelines.nuclei.normalise import normalise
from pipelines.nuclei.quality import flags, saturation, sharpness

RADIUS = 10


def nuclei(blur: float = 1.0, gain: float = 120.0, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """An 8-bit picture of nuclei with camera noise, and their labels."""
    labels = np.zeros((200, 200), np.uint16)
    for number in range(count * count):
        row, column = divmod(number, count)
        labels[disk((20 + 40 * row, 20 + 40 * column), RADIUS, shape=labels.shape)] = number + 1
    random = np.random.default_rng(2)
    brightness = np.concatenate([[0.0], random.uniform(0.6, 1.0, count * count)])
    image = ndimage.gaussian_filter(brightness[labels], blur) * gain + 10 + random.normal(0, 1.5, labels.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), labels


def judged(image: np.ndarray, labels: np.ndarray) -> tuple[str, ...]:
    return flags(image, normalise(image), labels)


@pytest.mark.parametrize("blur", [0.5, 1.0])
def test_a_good_image_raises_no_flag(blur: float) -> None:
    assert judged(*nuclei(blur)) == ()


@pytest.mark.parametrize("blur", [4.0, 6.0])
def test_a_blurred_image_is_out_of_focus(blur: float) -> None:
    assert judged(*nuclei(blur)) == ("out-of-focus",)


def test_sharpness_falls_with_blur_and_does_not_depend_on_exposure() -> None:
    measured = [sharpness(normalise(image), labels) for image, labels in map(nuclei, (1, 2, 3, 4, 6))]

    assert measured == sorted(measured, reverse=True)
    dim, labels = nuclei(2, gain=30)
    assert sharpness(normalise(dim), labels) == pytest.approx(measured[1], rel=0.35)


def test_an_overexposed_image_is_saturated() -> None:
    image, labels = nuclei(gain=600)

    assert judged(image, labels) == ("saturated",)


def test_a_camera_of_twelve_bits_clips_at_4095() -> None:
    image, labels = nuclei(gain=600)
    deep = np.minimum(image.astype(np.uint16) * 20, 4095)

    assert judged(deep, labels) == ("saturated",)


def test_neither_a_black_ground_nor_a_white_slide_is_saturated() -> None:
    image, _ = nuclei(gain=100)
    black = np.where(image < 40, 0, image)

    assert saturation(black, normalise(black)) == 0
    assert saturation(255 - black, normalise(255 - black)) == 0


def test_an_image_without_nuclei_is_empty_and_its_focus_is_not_judged() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.uint8)

    assert judged(noise, np.zeros((64, 64), np.uint16)) == ("empty",)


def test_an_image_that_is_all_nucleus_can_be_judged() -> None:
    image = np.full((16, 16), 90, np.uint8)

    assert judged(image, np.ones((16, 16), np.uint16)) == ()
