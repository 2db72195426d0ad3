"""A map fitted anew, and the way from one encoder to another, from tables that jobs have left."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="fitting maps needs the extra [train]")
pytest.importorskip("umap", reason="fitting maps needs the extra [train]")

from compose.cli import app
from pipelines.embedding.atlas import Atlas
from pipelines.embedding.model import SIDE, Embedded, Encoder, shipped
from pipelines.embedding.table import Rows, to_arrow, write_parquet
from pipelines.embedding.translation import opened, unit
from pipelines.embedding.trial import tried
from pipelines.nuclei.model import ModelFolder
from tests.pipelines.embedding.cells import SHIPPED, variant


def table(path: Path, vectors: np.ndarray, crops: np.ndarray | None = None) -> None:
    """A table of cells with these vectors, as if the shipped encoder had made them."""
    count, atlas = len(vectors), Atlas(shipped())
    classes = tuple(shipped().metadata["classes"])
    rows = Rows(
        "job",
        path.name,
        {"id": np.arange(count) + 1, "centroid_y": np.zeros(count), "centroid_x": np.zeros(count)},
        Embedded(vectors, np.full((count, len(classes)), 1 / len(classes), np.float32)),
        np.zeros((count, SIDE, SIDE), np.uint8) if crops is None else crops,
        atlas.places(vectors),
        atlas.novelty(vectors),
        classes,
        {"version": "1", "sha256": shipped().sha256},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, to_arrow(rows))


def new_kind(count: int) -> np.ndarray:
    """Cells of a kind that the map does not know, all alike."""
    random = np.random.default_rng(1)
    return unit(random.normal(size=(1, 128)) + 0.25 * random.normal(size=(count, 128)))


def known(count: int) -> np.ndarray:
    """Cells such as the map was made of."""
    random = np.random.default_rng(2)
    reference = Atlas(shipped()).reference
    return unit(reference[random.integers(0, len(reference), count)] + random.normal(0, 0.002, (count, 128)))


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, words)])
    return result.exit_code, result.output


def test_the_monitor_calls_for_a_new_map_when_new_cells_fall_off_it_and_not_before(tmp_path: Path) -> None:
    table(tmp_path / "a" / "old_cells.parquet", known(600))
    code, words = run("cells", "drift", tmp_path)
    assert (code, "0.0% of the cells" in words) == (0, True)

    table(tmp_path / "b" / "new_cells.parquet", new_kind(120))
    code, words = run("cells", "drift", tmp_path)
    assert code == 3
    assert "cytobus cells refit" in words


@pytest.mark.heavy
def test_a_new_map_knows_the_new_cells_and_lies_over_the_old(tmp_path: Path) -> None:
    table(tmp_path / "new_cells.parquet", new_kind(800))

    code, words = run("cells", "refit", tmp_path, "--out", tmp_path / "2")

    assert code == 0, words
    old, fresh = Atlas(shipped()), Atlas(ModelFolder(tmp_path / "2"))
    said = json.loads((tmp_path / "2" / "metadata.json").read_text())
    assert said["version"] == "2"
    assert said["map"]["faithfulness"]["jumped"] < 0.5
    assert (fresh.novelty(new_kind(800)) > fresh.reach.limit).mean() < 0.2
    assert (old.novelty(new_kind(800)) > old.reach.limit).all()
    apart = np.linalg.norm(fresh.places(old.reference) - old.reference_places, axis=1)
    assert np.median(apart) < 0.5 * old.reference_places.std()
    assert tried(tmp_path / "2") > 0
    assert (tmp_path / "2" / "fp32" / "model.bin").read_bytes() == (SHIPPED / "fp32" / "model.bin").read_bytes()


def test_too_few_cells_or_a_folder_in_use_are_refused_with_the_remedy(tmp_path: Path) -> None:
    table(tmp_path / "t" / "few_cells.parquet", known(20))
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "mine").write_text("kept")

    code, words = run("cells", "refit", tmp_path / "t", "--out", tmp_path / "3")
    assert (code, "20 cells by version 1" in words, "process more images" in words.replace("\n", " ")) == (
        1,
        True,
        True,
    )
    code, words = run("cells", "refit", tmp_path / "t", "--out", tmp_path / "2")
    assert (code, "is not empty" in words) == (1, True)
    code, words = run("cells", "translate", tmp_path / "t", "--old", SHIPPED, "--new", SHIPPED, "--out", tmp_path / "4")
    assert (code, "500 are needed" in words) == (1, True)


@pytest.mark.heavy
def test_the_way_between_two_encoders_is_learnt_from_stored_crops(tmp_path: Path) -> None:
    crops = np.random.default_rng(3).integers(0, 256, (600, 8, 8), np.uint8).repeat(8, 1).repeat(8, 2)
    table(tmp_path / "t" / "a_cells.parquet", known(600), crops)
    new = variant(tmp_path, "7")

    code, words = run("cells", "translate", tmp_path / "t", "--old", SHIPPED, "--new", new, "--out", tmp_path / "way")

    assert code == 0, words
    said = json.loads((tmp_path / "way" / "metadata.json").read_text())
    way = opened(ModelFolder(tmp_path / "way"))
    vectors = Encoder()(crops[:50]).vectors
    assert (way(vectors) * vectors).sum(axis=1).min() > 0.9, "it is the same network"
    assert said["figures"]["kept"] > 0.9
    assert said["to"] == {"version": "7", "sha256": ModelFolder(new).sha256}
