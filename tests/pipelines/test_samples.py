"""Rendered fields obey the physics they are made by; sample files are whole, readable and always the same."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.images import read_image
from pipelines.samples import REAL, Camera, Optics, Scene, package_samples, render_field


def test_the_same_seed_gives_the_same_field_and_another_gives_another() -> None:
    image, labels = render_field(3, (256, 256), 16, 20)
    again, labels_again = render_field(3, (256, 256), 16, 20)
    other, _ = render_field(4, (256, 256), 16, 20)

    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert not np.array_equal(image, other)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
@pytest.mark.parametrize("shape", [(256, 300), (512, 256)])
def test_image_and_labels_have_the_shape_and_depth_asked_for(bits: int, dtype: type, shape: tuple[int, int]) -> None:
    image, labels = render_field(1, shape, bits, 25)

    assert (image.shape, image.dtype) == (shape, dtype)
    assert (labels.shape, labels.dtype) == (shape, np.int32)
    assert set(np.unique(labels)) == set(range(26))


def test_nuclei_are_brighter_than_what_is_between_them() -> None:
    image, labels = render_field(5)

    assert np.median(image[labels > 0]) > 2 * np.median(image[labels == 0])


def test_an_overfull_field_holds_fewer_nuclei_than_asked_for() -> None:
    _, labels = render_field(1, (256, 256), 8, 2000)

    assert 40 < labels.max() < 2000
    assert set(np.unique(labels)) == set(range(labels.max() + 1))


def test_a_field_without_nuclei_shows_the_camera_only() -> None:
    image, labels = render_field(1, (256, 256), 16, 0, Scene(background=0))

    assert labels.max() == 0
    assert image.mean() == pytest.approx(Camera().offset, abs=0.1)
    assert image.std() == pytest.approx(Camera().read_noise * Camera().gain, rel=0.05)


def test_clustered_nuclei_touch_more() -> None:
    def touching(clustering: float) -> int:
        _, labels = render_field(2, (512, 512), 8, 20, Scene(clustering=clustering))
        left, right = labels[:, :-1], labels[:, 1:]
        return int(((left != right) & (left > 0) & (right > 0)).sum())

    assert touching(0.9) > 3 * touching(0.0) + 10


def test_defocus_takes_away_detail() -> None:
    def detail(defocus_um: float) -> float:
        image, _ = render_field(2, (256, 256), 16, 20, Scene(defocus_um=defocus_um, photons=1e4))
        return float(np.abs(np.diff(image.astype(float), axis=1)).mean())

    assert detail(0.0) > 1.5 * detail(6.0)


def test_the_blur_is_that_of_the_published_formula() -> None:
    assert Optics(aperture=0.75, wavelength_um=0.46).blur_um() == pytest.approx(0.225 * 0.46 / 0.75, rel=0.001)
    assert Optics(aperture=0.6).blur_um(10.0) == pytest.approx(10 * 0.75 / 2, rel=0.01)  # tan(asin(0.6)) = 0.75
    assert Optics().blur_um(-3.0) == Optics().blur_um(3.0)


@pytest.mark.parametrize("camera", [Camera(), Camera(gain=0.5), Camera(quantum_efficiency=0.4, read_noise=6.0)])
@pytest.mark.parametrize("photons", [50.0, 2000.0])
def test_the_camera_obeys_the_photon_transfer_law(camera: Camera, photons: float) -> None:
    grey = camera.expose(np.full((500, 500), photons), np.random.default_rng(1)).astype(float)

    signal = camera.gain * camera.quantum_efficiency * photons
    variance = camera.gain**2 * camera.read_noise**2 + 1 / 12 + camera.gain * signal  # EMVA 1288, equation for sigma_y
    assert grey.mean() == pytest.approx(camera.offset + signal, rel=0.01)
    assert grey.var() == pytest.approx(variance, rel=0.03)


def test_a_camera_saturates_and_never_wraps() -> None:
    grey = Camera(bits=8, gain=1.0).expose(np.array([[0.0, 1e6]]), np.random.default_rng(0))

    assert grey[0, 1] == 255


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return package_samples(tmp_path_factory.mktemp("samples") / "new")


def test_every_sample_is_an_image_and_nothing_else_is_left(samples: list[Path]) -> None:
    assert 8 <= len(samples) <= 12
    assert sorted(samples[0].parent.iterdir()) == sorted(samples)
    for path in samples:
        assert min(read_image(path).pixels.shape[:2]) >= 256


def test_the_samples_show_the_kinds_of_file_there_are(samples: list[Path]) -> None:
    pictures = {path.name: read_image(path) for path in samples}

    assert {path.suffix for path in samples} == {".tif", ".png"}
    assert {picture.pixels.dtype for picture in pictures.values()} == {np.dtype(np.uint8), np.dtype(np.uint16)}
    assert any(name.endswith(".ome.tif") for name in pictures)
    assert pictures.keys() >= REAL.keys()
    assert pictures["colon-ihc.png"].pixels.ndim == 3
    for name, picture in pictures.items():
        known = (0.325, 0.325) if name.endswith(".tif") else None
        assert picture.pixel_size_um == (known if known is None else pytest.approx(known))


def test_samples_written_again_are_the_same_images(samples: list[Path], tmp_path: Path) -> None:
    for path, again in zip(samples, package_samples(tmp_path), strict=True):
        np.testing.assert_array_equal(read_image(path).pixels, read_image(again).pixels)
