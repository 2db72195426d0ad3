"""The nuclei pipeline as a worker calls it, with the model that ships."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.draw import disk

from pipelines.model_folder import BrokenModel, ModelFolder
from pipelines.nuclei.model import PRECISIONS, Model, shipped
from pipelines.nuclei.pipeline import Nuclei, stem
from pipelines.plugin import BadInput, Pipeline, Result, Work

COUNT = 16


def picture(dtype: type = np.uint8, full: float = 200) -> np.ndarray:
    """Sixteen fluorescent nuclei, two of them touching."""
    scene = np.zeros((256, 256))
    for number in range(COUNT):
        row, column = divmod(number, 4)
        shift = 11 if number == 0 else -11 if number == 1 else 0
        scene[disk((32 + 64 * row, 32 + 64 * column + shift), 14 + number % 3)] = 0.6 + 0.025 * number
    noisy = ndimage.gaussian_filter(scene, 1) + 0.05 + np.random.default_rng(4).normal(0, 0.01, scene.shape)
    return (np.clip(noisy, 0, 1) * full).astype(dtype)


def processed(folder: Path, pixels: np.ndarray, name: str = "a.tif", **parameters: str) -> tuple[Result, Path]:
    image, out = folder / name, folder / "out"
    out.mkdir()
    if image.suffix == ".png":
        Image.fromarray(pixels).save(image)
    else:
        tifffile.imwrite(image, pixels)
    return Nuclei().run(Work(image, out, parameters)), out


def test_it_is_a_pipeline() -> None:
    assert isinstance(Nuclei(), Pipeline)
    assert Nuclei.topic == "nuclei"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_drawn_nuclei_are_counted_labelled_and_measured(tmp_path: Path, precision: str) -> None:
    result, out = processed(tmp_path, picture(), precision=precision)

    labels = tifffile.imread(out / "a_labels.tif")
    assert result.outputs == ("a_labels.tif", "a_overlay.png", "a_cells.csv")
    assert labels.shape == (256, 256)
    assert labels.dtype == np.uint16
    assert labels.max() == COUNT
    assert np.mean((labels > 0) == (picture() > 60)) > 0.98
    with (out / "a_cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, COUNT + 1))
    assert [float(row["area"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    summary = json.loads(result.results)
    assert summary["count"] == COUNT
    assert summary["confluence"] == pytest.approx((labels > 0).mean(), abs=1e-6)
    assert result.qc_flags == "passed"
    with Image.open(out / "a_overlay.png") as overlay:
        colours = np.asarray(overlay.convert("RGB"))
    assert colours.shape == (256, 256, 3)
    assert (colours == (255, 64, 32)).all(axis=2).sum() > COUNT * 40


@pytest.mark.parametrize(("dtype", "full"), [(np.uint16, 40_000), (np.uint16, 900), (np.float32, 1), (np.uint8, 40)])
def test_depth_and_exposure_do_not_change_the_count(tmp_path: Path, dtype: type, full: float) -> None:
    result, _ = processed(tmp_path, picture(dtype, full))

    assert json.loads(result.results)["count"] == COUNT


def test_colour_and_dark_on_bright_give_the_same_count(tmp_path: Path) -> None:
    colour = np.zeros((256, 256, 3), np.uint8)
    colour[..., 2] = picture()
    (tmp_path / "one").mkdir()

    blue, _ = processed(tmp_path / "one", colour, "blue.png")
    negative, _ = processed(tmp_path, 255 - picture(), "negative.png")

    assert json.loads(blue.results)["count"] == COUNT
    assert abs(json.loads(negative.results)["count"] - COUNT) <= 2


@pytest.mark.parametrize("pixels", [np.zeros((64, 48), np.uint8), np.full((300, 200), 1000, np.uint16)])
def test_a_blank_image_is_empty(tmp_path: Path, pixels: np.ndarray) -> None:
    result, out = processed(tmp_path, pixels)

    assert json.loads(result.results)["count"] == 0
    assert result.qc_flags == "empty"
    assert tifffile.imread(out / "a_labels.tif").shape == pixels.shape


def test_camera_noise_is_empty(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(500, 20, (256, 256)).astype(np.uint16)

    assert processed(tmp_path, noise)[0].qc_flags == "empty"


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 7)])
def test_tiny_images_are_processed(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)

    _, out = processed(tmp_path, pixels, "a.png")

    assert tifffile.imread(out / "a_labels.tif").reshape(shape).shape == shape


def test_broken_floating_values_do_no_harm(tmp_path: Path) -> None:
    pixels = picture(np.float32, 1)
    pixels[:3, :3], pixels[200, 250] = np.nan, np.inf

    result, _ = processed(tmp_path, pixels)

    assert json.loads(result.results)["count"] == COUNT


def test_a_large_image_is_tiled(tmp_path: Path) -> None:
    result, out = processed(tmp_path, np.tile(picture(), (2, 5)))

    assert abs(json.loads(result.results)["count"] - 10 * COUNT) <= 2
    assert tifffile.imread(out / "a_labels.tif").shape == (512, 1280)


def test_parameters_are_obeyed(tmp_path: Path) -> None:
    result, _ = processed(tmp_path, picture(), min_area="100000")

    assert json.loads(result.results)["count"] == 0


@pytest.mark.parametrize(
    "wrong", [{"precision": "int4"}, {"threshold": "1.5"}, {"threshold": "nan"}, {"min_area": "x"}]
)
def test_impossible_parameters_are_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        processed(tmp_path, picture(), **wrong)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"not an image at all")

    with pytest.raises(BadInput):
        Nuclei().run(Work(tmp_path / "a.tif", tmp_path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tif", "a"), ("a.ome.tif", "a"), ("a.OME.TIFF", "a"), ("a.b.png", "a.b"), ("a.ome.png", "a.ome"), ("a", "a")],
)
def test_outputs_are_named_after_the_image(name: str, expected: str) -> None:
    assert stem(Path(name)) == expected


def test_a_changed_model_is_not_loaded(tmp_path: Path) -> None:
    own = shipped()
    (tmp_path / "fp32").mkdir()
    for name in ("metadata.json", "fp32/model.xml", "fp32/model.bin"):
        (tmp_path / name).write_bytes((own.path / name).read_bytes())
    assert Model(ModelFolder(tmp_path)).precision == "fp32"

    with (tmp_path / "fp32/model.bin").open("ab") as file:
        file.write(b"x")

    with pytest.raises(BrokenModel, match=r"model\.bin"):
        Model(ModelFolder(tmp_path))
    with pytest.raises(BrokenModel, match="cannot be read"):
        Model(ModelFolder(tmp_path), "int8")
    with pytest.raises(BrokenModel, match="metadata"):
        Model(ModelFolder(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="int4"):
        Model(own, "int4")
