"""The blood-cell classifier: what it sees, what it says, and how often it is right."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.backends.tensors import ModelRef
from pipelines.bloodcells.classes import CLASSES
from pipelines.bloodcells.classifier import BloodCells
from pipelines.bloodcells.normalise import absorption
from pipelines.model_folder import BrokenModel
from pipelines.training.bloodcells.cut import ANY_RED, centres, crops, digest_of
from pipelines.training.bloodcells.evaluate import evaluate, figures, probabilities_of

BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "bloodcells"
DATA = Path(os.environ.get("CYTOBUS_CELLS", BESIDE))
here = pytest.mark.skipif(not DATA.is_dir(), reason="the images of blood cells are not here: set CYTOBUS_CELLS")
FRAMES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(64), st.just(64), st.sampled_from([1, 3])))


@given(FRAMES)
def test_absorption_is_finite_and_bounded_whatever_comes(frames: np.ndarray) -> None:
    found = absorption(frames)
    assert found.shape == (len(frames), 1, 64, 64)
    assert found.dtype == np.float32
    assert found.min() >= -0.5
    assert found.max() <= 1.0


def test_absorption_does_not_change_with_the_lamp_or_the_unit() -> None:
    scene = np.random.default_rng(1).uniform(40, 120, (3, 64, 64, 3))
    scene[:, :20] = 120
    assert absorption(scene * 300.0) == pytest.approx(absorption(scene), abs=1e-5)
    assert absorption(scene)[:, 0, :16].mean() == pytest.approx(0, abs=1e-5)


def test_only_the_green_of_a_colour_frame_counts_and_frames_do_not_mix() -> None:
    frames = np.random.default_rng(1).integers(1, 255, (4, 64, 64, 3)).astype(np.uint8)
    assert (absorption(frames) == absorption(frames[..., 1:2])).all()
    assert (absorption(frames)[2:3] == absorption(frames[2:3])).all()


@pytest.mark.parametrize("files", ["fp32", "int8"])
def test_the_shipped_model_is_whole_and_gives_probabilities(files: str) -> None:
    model = BloodCells(files=files)
    found = probabilities_of(model, np.random.default_rng(1).integers(0, 255, (3, 64, 64, 3)).astype(np.uint8))
    assert found.shape == (3, len(CLASSES))
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert model.folder.metadata["classes"] == list(CLASSES)
    with pytest.raises(BrokenModel, match="version 7 is not at"):
        model.source(ModelRef("bloodcells", "7"))


def test_figures_count_cells_of_unknown_shape_apart() -> None:
    probabilities = np.eye(15, dtype=np.float32)[[0, 0, 12, 13, 4]]
    found = figures(probabilities, np.array([0, 1, 12, ANY_RED, ANY_RED]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["accuracy_without_elliptocytes"] == 0.5
    assert found["classes"]["normal"] == {"cells": 1, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert found["red_told_red"] == 0.5


@here
@pytest.mark.data
def test_crops_are_of_one_size_centred_and_kept(tmp_path: Path) -> None:
    cells = crops(DATA, "test", tmp_path / "test.npz")
    assert cells.pixels.shape[1:] == (80, 80, 3)
    # Cells are darker than what is around them, in all three sets.
    middle, edge = centres(cells.pixels)[:, 24:40, 24:40, 1], centres(cells.pixels)[:, :4, :, 1]
    for name in ("chula_rbc12", "bccd", "smear100"):
        mine = cells.sets == name
        assert middle[mine].mean() < edge[mine].mean() - 5
    again = crops(DATA, "test", tmp_path / "test.npz")
    assert (again.pixels == cells.pixels).all()
    with pytest.raises(ValueError, match="no cell of split 'tset'"):
        crops(DATA, "tset")


@here
@pytest.mark.data
@pytest.mark.heavy
def test_the_shipped_model_is_as_good_as_its_card_says() -> None:
    said = BloodCells().folder.metadata
    assert said["data"]["sha256"] == digest_of(DATA)
    report = evaluate(DATA, "test")
    for files in ("fp32", "int8"):
        assert report["files"][files]["accuracy"] == pytest.approx(
            said["metrics"]["test"][files]["accuracy"], abs=0.005
        )
    assert report["files"]["fp32"]["accuracy_without_elliptocytes"] > 0.77
