"""Training, export, map and translation of encoders, from end to end on drawn cells."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.draw import disk, ellipse

pytest.importorskip("torch", reason="training needs the extra [train]: make test-train")

import torch
from typer.testing import CliRunner

from compose.cli import app
from pipelines.embedding.atlas import Atlas
from pipelines.embedding.model import WIDTH, Encoder
from pipelines.embedding.neighbours import preservation, trustworthiness
from pipelines.embedding.translation import recall, ridge, unit
from pipelines.embedding.trial import tried
from pipelines.nuclei.model import ModelFolder
from pipelines.training.cells.atlas import Fitted, add_map, distilled
from pipelines.training.cells.card import card
from pipelines.training.cells.data import CLASSES, SPLITS, WIDE, Cells, collected, counted, digest
from pipelines.training.cells.evaluate import evaluate
from pipelines.training.cells.export import export
from pipelines.training.cells.networks import NETWORKS
from pipelines.training.cells.networks import Encoder as Network
from pipelines.training.cells.objectives import OBJECTIVES
from pipelines.training.cells.train import Plan, origin, train
from pipelines.training.cells.translate import compared, mlp, study
from pipelines.training.cells.views import GENTLE, STRONG, view

PLAN = Plan(epochs=2, steps=3, batch=8)
DRAWN = ("normal", "ovalocyte")
"""Round cells and long ones."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets as ``collected`` wants them: smears with round and long cells, and an image with masks in each other set."""
    folder = tmp_path_factory.mktemp("sets")
    rows = []
    (folder / "bloodcells" / "chula_rbc12" / "images").mkdir(parents=True)
    for number, split in enumerate(SPLITS * 2):
        scene = np.zeros((200, 300))
        for cell in range(24):
            y, x = 25 + 50 * (cell // 6), 25 + 50 * (cell % 6)
            scene[ellipse(y, x, 9, 19) if cell % 2 else disk((y, x), 14)] = 1
            rows.append(["chula_rbc12", f"{number}.png", split, cell, x, y, "", "", "", "", 0, DRAWN[cell % 2], 1])
        grey = 220 - 100 * ndimage.gaussian_filter(scene, 1) + np.random.default_rng(number).normal(0, 2, scene.shape)
        colour = np.stack([grey + 20, grey, grey + 10], axis=2).clip(0, 255).astype(np.uint8)
        Image.fromarray(colour).save(folder / "bloodcells" / "chula_rbc12" / "images" / f"{number}.png")
    titles = "subset,image,split,cell,cx,cy,xmin,ymin,xmax,ymax,class_id,class_name,crop64_inside"
    written(folder / "bloodcells" / "cells.csv", titles.split(","), rows)
    for name, group in (("dsb2018", "fluo"), ("brightfield", "phase_contrast")):
        masked(folder / name, group)
    return folder


def written(path: Path, titles: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([titles, *rows])


def masked(folder: Path, group: str) -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    labels = np.zeros((120, 120), np.uint16)
    for number in range(9):
        labels[disk((20 + 40 * (number // 3), 20 + 40 * (number % 3)), 10)] = number + 1
    Image.fromarray(labels).save(folder / "labels" / "a.png")
    Image.fromarray(((labels > 0) * 150 + 20).astype(np.uint8)).save(folder / "images" / "a.png")
    written(folder / "index.csv", ["name", "group", "split"], [["a", group, "train"]])


@pytest.fixture(scope="module")
def cells(data: Path) -> Cells:
    return collected(data)


@pytest.fixture(scope="module")
def encoder(cells: Cells, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return export(train(cells, folder, PLAN), folder / "3", data)


def test_every_cell_of_every_set_is_cut_out_in_the_middle(cells: Cells, data: Path, tmp_path: Path) -> None:
    assert cells.crops.shape == (144 + 18, WIDE, WIDE)
    assert counted(cells)["train"] == dict.fromkeys(CLASSES, 0) | {
        "normal": 24,
        "ovalocyte": 24,
        "nucleus-fluorescence": 9,
        "cell-phase-contrast": 9,
    }
    assert (cells.middles()[:, 28:36, 28:36].mean(axis=(1, 2)) > 130).all()
    collected(data, tmp_path / "kept.npz")
    assert np.array_equal(collected(Path("nowhere"), tmp_path / "kept.npz").crops, cells.crops)
    assert len(digest(data)) == 64
    with pytest.raises(ValueError, match="train, val, test"):
        cells.of("all")


@pytest.mark.parametrize("how", [GENTLE, STRONG])
def test_a_view_shows_the_same_cell_in_another_way(cells: Cells, how: object) -> None:
    crops = torch.from_numpy(cells.crops)
    one, other = (view(crops, how, torch.Generator().manual_seed(seed)) for seed in (1, 2))

    assert one.shape == (len(crops), 1, 64, 64)
    assert 0 <= float(one.min()) < float(one.max()) <= 1
    assert not torch.equal(one, other)
    assert torch.equal(one, view(crops, how, torch.Generator().manual_seed(1)))
    inside = (one[:, 0, 28:36, 28:36].mean((1, 2)) > one[:, 0].mean((1, 2))).float().mean()
    assert inside > 0.95, "the cell stays in the middle, and bright"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_encoder_learns_by_every_objective(cells: Cells, name: str, objective: str) -> None:
    torch.manual_seed(0)
    mine, aim = Network(NETWORKS[name](), len(CLASSES)), OBJECTIVES[objective]()
    weights = [*mine.parameters(), *aim.parameters()]
    optimizer = torch.optim.Adam(weights, 2e-3)
    crops, classes = torch.from_numpy(cells.crops[:16]), torch.from_numpy(cells.classes[:16])
    losses = []
    for _ in range(8):
        loss = aim.loss(mine, crops, classes, torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < 0.9 * losses[0]
    assert all(weight.grad is not None for weight in weights)
    assert 0.2e6 < sum(weight.numel() for weight in mine.parameters()) < 1.5e6


def test_an_interrupted_run_goes_on_and_another_plan_is_refused(cells: Cells, tmp_path: Path) -> None:
    told: list[str] = []
    first = train(cells, tmp_path, PLAN, told=told.append)
    train(cells, tmp_path, PLAN, told=told.append)

    assert [line.split(" loss")[0] for line in told] == ["epoch 1/2", "epoch 2/2"]
    with pytest.raises(ValueError, match="another plan"):
        train(cells, tmp_path, Plan(epochs=3, steps=3, batch=8))
    onwards = train(cells, tmp_path / "more", PLAN, start=first)
    assert torch.load(onwards, weights_only=True)["plan"]["start"] == origin(first)
    with pytest.raises(ValueError, match="there is no 'vgg'"):
        Plan(network="vgg")


def test_what_is_exported_computes_what_was_trained(cells: Cells, encoder: Path) -> None:
    state = torch.load(encoder.parent / "supervised-resnet.pt", weights_only=True)
    mine = Network(NETWORKS["resnet"](), len(CLASSES))
    mine.load_state_dict(state["average"])
    with torch.no_grad():
        wanted, _ = mine.eval()(torch.from_numpy(cells.middles()[:9, None]).float() / 255)

    made = Encoder(ModelFolder(encoder))(cells.middles()[:9])

    assert made.vectors == pytest.approx(wanted.numpy(), abs=5e-3)
    assert tried(encoder) > 0


def test_an_encoder_is_judged_mapped_and_described(cells: Cells, encoder: Path) -> None:
    report = evaluate(cells, Encoder(ModelFolder(encoder)), "test")
    assert report["all"]["cells"] == 48
    assert set(report["classes"]) == set(DRAWN)
    assert 0 <= report["red cell shapes"]["map_at_10"] <= 1

    random = np.random.default_rng(1)
    places = random.normal(size=(600, 2)).astype(np.float32) * (9, 3)
    vectors = unit(np.tanh(places @ random.normal(size=(2, WIDTH)) / 9) + 0.01 * random.normal(size=(600, WIDTH)))
    model = Fitted(None, vectors[:500], places[:500].astype(np.float32))
    projector = distilled(model, width=64, epochs=400)
    same = {"trustworthiness": 1.0, "preservation": 1.0}
    figures = {"held_out_cells": 100, "k": 15, "umap": same, "projector": same, "median_apart_over_spread": 0.1}
    folder = add_map(encoder, model, projector, vectors[500:], figures)
    atlas = Atlas(ModelFolder(folder))
    mapped = atlas.places(vectors[500:])
    assert trustworthiness(vectors[500:], mapped, 10) > 0.9
    assert preservation(places[500:].astype(np.float32), mapped, 10) > 0.6
    assert (atlas.novelty(vectors[500:]) > atlas.reach.limit).mean() < 0.03

    text = card(folder, [report, report | {"split": "val"}], "none", "`a command`").read_text()
    assert "mAP@10" in text
    assert "trustworthiness" in text
    assert json.loads((folder / "metadata.json").read_text())["metrics"]["test"]["all"]["cells"] == 48
    assert tried(folder) > 0


@pytest.mark.heavy
def test_one_command_makes_an_encoder_with_map_and_card_and_another_judges_it(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("umap", reason="fitting maps needs the extra [train]")
    command = ["train", "cells", "--data", str(data), "--out", str(tmp_path), "--epochs", "1", "--steps", "2"]

    made = CliRunner().invoke(app, command)
    judged = CliRunner().invoke(app, ["evaluate", "cells", "--data", str(data), "--model", str(tmp_path / "1")])

    assert made.exit_code == 0, made.output
    assert tried(tmp_path / "1") > 0
    card_text = (tmp_path / "1" / "CARD.md").read_text()
    assert "cytobus train cells --objective supervised --network resnet --epochs 1 --steps 2" in card_text
    assert "umap-learn's own transform" in card_text
    assert judged.exit_code == 0, judged.output
    assert "red cell shapes" in judged.output


def bent(vectors: np.ndarray) -> np.ndarray:
    """Another encoder, no linear map away."""
    random = np.random.default_rng(9)
    first, second = random.normal(size=(24, 64)), random.normal(size=(64, 24))
    return unit(np.maximum(vectors @ first, 0) @ second)


def test_a_network_translates_what_no_matrix_can() -> None:
    old = unit(np.random.default_rng(2).normal(size=(3000, 24)))
    anchors, fresh = (old[:2500], bent(old[:2500])), (old[2500:], bent(old[2500:]))

    assert recall(mlp(*anchors, steps=400), *fresh) > recall(ridge(*anchors), *fresh) + 0.05


def test_a_study_says_how_many_anchors_it_takes_and_when_none_will_do() -> None:
    random = np.random.default_rng(3)
    classes, images = np.repeat(np.arange(5), 40), np.arange(200) % 10
    middles = random.normal(size=(5, 24))
    turn, _ = np.linalg.qr(random.normal(size=(24, 24)))
    old = unit(middles[np.tile(classes, 5)] + 0.5 * random.normal(size=(1000, 24)))
    good, useless = unit(old @ turn), unit(random.normal(size=old.shape))

    def studied(new: np.ndarray) -> dict[str, object]:
        parts = [(old[part], new[part]) for part in (slice(600), slice(600, 800), slice(800, None))]
        return study(*parts, classes, images, counts=(100, 5000))

    found = studied(good)
    assert (found["enough_anchors"], found["embed_again"]) == (100, False)
    assert list(found["anchors"]) == ["100"], "there are no 5000"
    # Against vectors that mean nothing everything is as good as anything else, so this asks for the very same cells.
    parts = ((old[:600], useless[:600]), (old[800:], useless[800:]))
    assert compared(ridge(*parts[0]), parts[1], classes, images)["same_neighbours"] < 0.3
