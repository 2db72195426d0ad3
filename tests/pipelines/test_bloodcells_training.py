"""Training of the blood-cell classifier, from end to end on a few drawn cells."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="training needs the extra [train]: make test-train")
pytest.importorskip("nncf", reason="training needs the extra [train]: make test-train")

import torch

from pipelines.bloodcells.classes import CLASSES, RED
from pipelines.model_folder import ModelFolder
from pipelines.training.bloodcells.crops import batches, spoilt, turned
from pipelines.training.bloodcells.cut import ANY_RED, crops
from pipelines.training.bloodcells.evaluate import evaluate
from pipelines.training.bloodcells.export import export
from pipelines.training.bloodcells.train import Plan, loss, train

KINDS = {"normal": 9, "macrocyte": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of small and large discs: each split has forty cells and a red one of unknown shape."""
    folder = tmp_path_factory.mktemp("cells")
    rows = []
    for subset in ("chula_rbc12", "bccd"):
        (folder / subset / "images").mkdir(parents=True)
    y, x = np.mgrid[:80, :800]
    for split in ("train", "val", "test"):
        for kind, radius in (*KINDS.items(), ("rbc", 30)):
            subset = "bccd" if kind == "rbc" else "chula_rbc12"
            picture = np.full((80, 800, 3), 200, np.uint8)
            for cell in range(10):
                picture[(x - 40 - 80 * cell) ** 2 + (y - 40) ** 2 < radius**2] = 120
                rows.append([subset, f"{split}-{kind}.png", split, 40 + 80 * cell, 40, kind])
            Image.fromarray(picture).save(folder / subset / "images" / f"{split}-{kind}.png")
    with (folder / "cells.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subset", "image", "split", "cx", "cy", "class_name"])
        writer.writerows(rows)
    return folder


def test_what_is_only_known_to_be_red_teaches_that_and_nothing_more() -> None:
    red, white = torch.full((1, len(CLASSES)), -9.0), torch.full((1, len(CLASSES)), -9.0)
    red[0, : len(RED)] = 3.0
    white[0, len(RED)] = 9.0
    unknown = torch.tensor([ANY_RED])
    assert loss(red, unknown).item() == pytest.approx(0, abs=1e-3)
    assert loss(white, unknown).item() > 10


def test_augmented_cells_stay_in_the_middle_and_in_bounds() -> None:
    random = np.random.default_rng(1)
    wide = torch.full((50, 80, 80), 200, dtype=torch.uint8)
    wide[:, 30:50, 30:50] = 100
    found = turned(wide, random)
    assert found.shape == (50, 64, 64)
    assert (found[:, 28:36, 28:36] < 130).all()
    planes = spoilt(1 - found[:, None] / 200, random)
    assert planes.min() >= -0.5
    assert planes.max() <= 1.0


def test_batches_show_every_class_and_repeat_with_their_seed(data: Path) -> None:
    ready = crops(data, "train")
    planes, classes = next(batches(ready, 64, np.random.default_rng(5)))
    assert set(classes.tolist()) == {ANY_RED, 0, 1}
    again, _ = next(batches(ready, 64, np.random.default_rng(5)))
    assert torch.equal(planes, again)


def test_a_trained_model_is_exported_with_its_card_and_tells_small_from_large(data: Path, tmp_path: Path) -> None:
    checkpoint = train(data, tmp_path, Plan(epochs=24, batch=15, rate=3e-3))
    folder = export(checkpoint, tmp_path / "4", data)
    report = evaluate(data, "test", ModelFolder(folder))
    assert report["files"]["fp32"]["accuracy"] >= 0.9
    assert report["files"]["fp32"]["classes"].keys() == KINDS.keys()
    card = (folder / "CARD.md").read_text()
    assert "# Blood cells, version 4" in card
    assert "| F1 macrocyte | 10 |" in card
