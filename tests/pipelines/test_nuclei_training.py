"""Training, export and evaluation, from end to end on a set of a few drawn images."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk

pytest.importorskip("torch", reason="training needs the extra [train]: make test-train")
pytest.importorskip("nncf", reason="training needs the extra [train]: make test-train")

import torch

from pipelines.model_folder import ModelFolder
from pipelines.nuclei.model import Model
from pipelines.nuclei.networks import MAPS, NETWORKS, REDUCTION
from pipelines.training.card import card
from pipelines.training.crops import BOUNDARY, DISTANCE, HARD, INTERIOR, SIDE, batches, samples, targets
from pipelines.training.data import digest, entries
from pipelines.training.evaluate import evaluate
from pipelines.training.export import export
from pipelines.training.metrics import Match
from pipelines.training.train import Plan, Run, loss, train
from pipelines.training.tune import combinations, score
from tests.support.drawn import drawn_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn images to train on and one to test."""
    return drawn_set(tmp_path_factory.mktemp("set"), ("train", "train", "train", "test"))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_maps_any_multiple_of_its_reduction(name: str) -> None:
    network = NETWORKS[name]().eval()

    with torch.no_grad():
        assert network(torch.zeros(2, 1, 3 * REDUCTION, 4 * REDUCTION)).shape == (2, MAPS, 48, 64)
    assert 0.2e6 < sum(weight.numel() for weight in network.parameters()) < 1e6


def test_targets_tell_inside_edge_depth_and_contact() -> None:
    labels = np.zeros((30, 40), np.uint16)
    labels[disk((15, 12), 7)] = 1
    labels[disk((15, 27), 7)] = 2

    maps = targets(labels)

    np.testing.assert_array_equal(maps[INTERIOR] > 0, labels > 0)
    assert maps[DISTANCE, 15, 12] == maps[DISTANCE, 15, 27] == 255
    assert maps[BOUNDARY].astype(bool)[15, 6]
    assert not maps[BOUNDARY, 15, 12]
    assert maps[HARD, 15, 19]
    assert not maps[HARD, 15, 5]


def test_crops_are_bounded_and_the_same_for_the_same_seed(data: Path) -> None:
    ready = samples(data, "train", lambda: None)

    first, again = (next(batches(ready, 12, np.random.default_rng(3))) for _ in range(2))

    assert first[0].shape == (12, 1, SIDE, SIDE)
    assert first[1].shape == (12, 4, SIDE, SIDE)
    for one, other in zip(first, again, strict=True):
        assert one.dtype == np.float32
        assert 0 <= one.min() <= one.max() <= 1
        np.testing.assert_array_equal(one, other)


def test_a_perfect_guess_has_a_smaller_loss_than_a_bad_one() -> None:
    labels = np.zeros((32, 32), np.uint16)
    labels[disk((16, 16), 9)] = 1
    wanted = torch.from_numpy(targets(labels) / np.float32(255))[None]
    perfect = torch.stack([wanted[:, 0] * 20 - 10, wanted[:, 1] * 20 - 10, wanted[:, 2]], dim=1)

    assert loss(perfect, wanted) < 0.01
    assert loss(1 - perfect, wanted) > 1


def test_a_run_goes_on_where_it_was_interrupted(data: Path, tmp_path: Path) -> None:
    ready = samples(data, "train", lambda: None)
    plan = Plan("m2unet", epochs=2, batch=2)
    torch.manual_seed(0)
    whole = Run(plan, steps=1)
    whole.one_epoch(batches(ready, 2, np.random.default_rng(0)))
    whole.save(tmp_path / "half.pt")
    resumed = Run(plan, steps=1)
    resumed.load(tmp_path / "half.pt")

    losses = [run.one_epoch(batches(ready, 2, np.random.default_rng(1)))[0] for run in (whole, resumed)]

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert resumed.epoch == 2
    with pytest.raises(ValueError, match="another plan"):
        Run(Plan("m2unet", epochs=3), steps=1).load(tmp_path / "half.pt")
    with pytest.raises(ValueError, match="no network"):
        Plan("resnet")


def test_what_is_trained_can_be_exported_evaluated_and_described(data: Path, tmp_path: Path) -> None:
    checkpoint = train(data, tmp_path, epochs=1)
    assert train(data, tmp_path, epochs=1) == checkpoint  # nothing is left to do

    folder = ModelFolder(export(checkpoint, tmp_path / "9", data, calibration=4))

    assert folder.metadata["version"] == "9"
    assert folder.metadata["data"]["sha256"] == digest(data)
    plane = np.random.default_rng(0).random((64, 64), np.float32)
    single, eight = (Model(folder, precision)(plane) for precision in ("fp32", "int8"))
    assert single.shape == (3, 64, 64)
    assert np.abs(single - eight).mean() < 0.1
    state = torch.load(checkpoint, weights_only=True)
    network = NETWORKS["dense-unet"]().eval()
    network.load_state_dict(state["average"])
    with torch.no_grad():
        maps = network(torch.from_numpy(plane)[None, None])[0]
    np.testing.assert_allclose(single[:2], maps[:2].sigmoid(), atol=1e-4)

    report = evaluate(data, "test", ("fp32",), folder=folder)
    text = card(folder.path, [report], "none", "many", "none").read_text()

    assert report["images"] == 1
    assert "| fp32 | fluo | 1 | 6 |" in text
    assert ModelFolder(folder.path).metadata["metrics"]["test"]["fp32"]["fluo"]["images"] == 1


def test_an_unknown_split_is_named_with_those_that_exist(data: Path) -> None:
    with pytest.raises(ValueError, match="there are: test, train"):
        entries(data, "tset")


def test_tuning_compares_every_combination_by_what_it_finds() -> None:
    assert len({*combinations()}) == len([*combinations()]) > 10
    assert score(Match(2, 2, (2, 2))) == 1
    assert score(Match(2, 2, (1, 0))) < 0.5


def test_evaluating_needs_no_training_library() -> None:
    code = "import sys, pipelines.training.evaluate; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
