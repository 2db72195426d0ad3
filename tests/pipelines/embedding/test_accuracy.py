"""The shipped encoder against real cells of images that it has never seen, where these are at hand."""

import os
from pathlib import Path

import pytest

from pipelines.embedding.model import Encoder, shipped
from pipelines.training.cells.data import collected
from pipelines.training.cells.evaluate import evaluate

BESIDE = Path(__file__).parents[3].parent / "shared" / "data"
DATA = Path(os.environ.get("CYTOBUS_CELLS", BESIDE))


def test_the_shipped_map_lies_as_umap_itself_would_have_it() -> None:
    figures = shipped().metadata["map"]["faithfulness"]

    assert figures["held_out_cells"] > 4000
    assert figures["projector"]["trustworthiness"] > figures["umap"]["trustworthiness"] - 0.02
    assert figures["projector"]["preservation"] > 0.8 * figures["umap"]["preservation"]


@pytest.mark.heavy
@pytest.mark.data
@pytest.mark.skipif(not (DATA / "bloodcells").is_dir(), reason=f"no images with ground truth at {DATA}")
def test_the_shipped_encoder_keeps_its_promises_on_the_test_split() -> None:
    report = evaluate(collected(DATA), Encoder(), "test")

    told = shipped().metadata["metrics"]["test"]["all"]
    for name in ("accuracy", "knn_accuracy", "map_at_10"):
        assert report["all"][name] == pytest.approx(told[name], abs=0.005), name
    assert report["all"]["accuracy"] > 0.87
    assert report["all"]["knn_accuracy"] > 0.89
    assert report["all"]["map_at_10"] > 0.79
    assert min(report["all"]["same_class_at"]) > 0.82
    assert report["red cell shapes without elliptocyte"]["accuracy"] > 0.78
