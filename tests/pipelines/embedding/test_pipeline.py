"""The cells pipeline as a worker calls it, with the encoder that ships."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.draw import disk

from pipelines.embedding.model import WIDTH, Encoder, shipped
from pipelines.embedding.pipeline import Cells
from pipelines.embedding.table import crops_of, read_parquet, vectors_of
from pipelines.execution import RunRequest, Status, execute
from pipelines.plugin import BadInput, Pipeline, WithModel
from tests.pipelines.embedding.cells import COUNT, picture, processed, variant


def smear() -> np.ndarray:
    """Ten red cells on a bright ground, uint8 (200, 240, 3)."""
    cells = np.zeros((200, 240))
    for number in range(10):
        row, column = divmod(number, 5)
        cells[disk((50 + 100 * row, 24 + 48 * column), 16)] = 1
    cells = ndimage.gaussian_filter(cells, 1.5)
    colour = np.stack([220 - 20 * cells, 215 - 110 * cells, 225 - 60 * cells], axis=2)
    return (colour + np.random.default_rng(2).normal(0, 2, colour.shape)).clip(0, 255).astype(np.uint8)


def test_it_is_a_pipeline_whose_model_can_be_exchanged() -> None:
    assert isinstance(Cells(), Pipeline)
    assert isinstance(Cells(), WithModel)
    card = Cells().model_card()
    assert (card.version, len(card.sha256)) == (shipped().metadata["version"], 64)
    assert len(json.dumps(card.about)) < 4000, "it is told every half minute"


def test_every_cell_has_a_row_with_vector_class_place_and_features(tmp_path: Path) -> None:
    result, out = processed(tmp_path, picture())

    assert result.outputs == ("a_cells.parquet", "a_cells.csv", "a_labels.tif")
    table = read_parquet(out / "a_cells.parquet")
    labels = tifffile.imread(out / "a_labels.tif")
    assert table.num_rows == labels.max() == COUNT
    vectors = vectors_of(table)
    assert vectors.shape == (COUNT, WIDTH)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)
    assert vectors_of(table, "probabilities").sum(1) == pytest.approx(1, abs=1e-3)
    rows = table.to_pylist()
    assert {(row["job"], row["image"], row["model_version"]) for row in rows} == {("job-1", "a.tif", "1")}
    for row in rows:
        assert labels[round(row["centroid_y"]), round(row["centroid_x"])] == row["cell"]
        assert np.isfinite([row["map_x"], row["map_y"], row["novelty"], row["circularity"], row["ring_2"]]).all()
    assert [row["area"] for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    said = json.loads(result.results)
    assert sum(said["classes"].values()) == said["cells"] == COUNT
    assert said["model"] == {"version": "1", "sha256": shipped().sha256}


def test_both_tables_say_the_same(tmp_path: Path) -> None:
    _, out = processed(tmp_path, picture(), "a,=b.tif")

    rows = read_parquet(out / "a,=b_cells.parquet").to_pylist()
    with (out / "a,=b_cells.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert (line["image"], line["class"], int(line["cell"])) == ("a,=b.tif", row["class"], row["cell"])
        assert [float(line[f"v{n}"]) for n in range(WIDTH)] == pytest.approx(row["vector"], abs=2e-5)
        assert float(line["area"]) == row["area"]


def test_the_crops_in_the_table_are_those_of_the_cells_and_can_be_left_out(tmp_path: Path) -> None:
    _, out = processed(tmp_path / "with", picture())
    _, bare = processed(tmp_path / "without", picture(), crops="false")

    table = read_parquet(out / "a_cells.parquet")
    again = Encoder()(crops_of(table))
    assert again.vectors == pytest.approx(vectors_of(table), abs=1e-3)
    assert crops_of(table)[:, 32, 32].min() > 150
    assert "crop" not in read_parquet(bare / "a_cells.parquet").column_names


def test_a_small_image_shows_one_cell(tmp_path: Path) -> None:
    result, out = processed(tmp_path, smear()[18:82, 40:104], "one.png")

    row = read_parquet(out / "one_cells.parquet").to_pylist()
    assert json.loads(result.results)["cells"] == len(row) == 1
    assert (row[0]["centroid_y"], row[0]["centroid_x"]) == pytest.approx((32, 32), abs=1.5)
    assert row[0]["diameter"] == pytest.approx(32, abs=4)


def test_a_small_image_of_nothing_has_a_row_that_knows_only_its_middle(tmp_path: Path) -> None:
    _, out = processed(tmp_path, np.full((50, 60), 90, np.uint8))

    row = read_parquet(out / "a_cells.parquet").to_pylist()[0]
    assert (row["centroid_y"], row["centroid_x"]) == (24.5, 29.5)
    assert np.isnan(row["area"])
    assert np.isfinite(row["vector"]).all()


def test_cells_that_are_no_nuclei_are_found_by_what_stands_out(tmp_path: Path) -> None:
    result, _ = processed(tmp_path, smear(), "smear.png", cells="islands")

    assert json.loads(result.results)["cells"] == 10


def test_an_image_without_cells_gives_empty_tables_and_says_so(tmp_path: Path) -> None:
    result, out = processed(tmp_path, np.random.default_rng(1).normal(100, 2, (300, 300)).astype(np.uint8))

    assert result.qc_flags == "empty"
    assert read_parquet(out / "a_cells.parquet").num_rows == 0
    assert len((out / "a_cells.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"cells": "all"}, "'cells' of the task is 'all'"),
        ({"window": "3"}, "8 to 4096"),
        ({"window": "wide"}, "'window'"),
        ({"crops": "perhaps"}, "'crops'"),
        ({"window": "nan"}, "8 to 4096"),
    ],
)
def test_impossible_parameters_end_the_job_with_the_remedy(
    tmp_path: Path, parameters: dict[str, str], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        processed(tmp_path, picture(), **parameters)


@pytest.mark.parametrize("shape", [(5, 90), (1, 1)])
def test_an_image_too_small_for_a_cell_is_refused_by_name(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match=r"a\.tif: an image of .* pixels shows no cell"):
        processed(tmp_path, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("way", ["nuclei", "islands"])
def test_a_wide_strip_of_few_rows_or_a_huge_window_breaks_nothing(tmp_path: Path, way: str) -> None:
    for number, pixels in enumerate([np.eye(3, 700, 300, np.uint8) * 200, picture()]):
        result, _ = processed(tmp_path / str(number), pixels, cells=way, window="4096" if number else "0")
        assert json.loads(result.results)["cells"] >= 0


def test_the_vector_does_not_depend_on_the_batch() -> None:
    crops = np.random.default_rng(3).integers(0, 256, (75, 64, 64), np.uint8)
    encoder = Encoder()

    together = encoder(crops)
    alone = np.concatenate([encoder(crops[n : n + 1]).vectors for n in (0, 63, 64, 74)])

    assert together.vectors.shape == (75, WIDTH)
    assert together.vectors[[0, 63, 64, 74]] == pytest.approx(alone, abs=1e-4)
    assert encoder(crops[:0]).vectors.shape == (0, WIDTH)


def test_the_chosen_model_is_used_and_named_and_may_have_no_map(tmp_path: Path) -> None:
    other = variant(tmp_path, "7", without_map=True)

    result, out = processed(tmp_path / "run", picture(), model=other)

    said, row = json.loads(result.results), read_parquet(out / "a_cells.parquet").to_pylist()[0]
    assert (said["model"]["version"], row["model_version"]) == ("7", "7")
    assert "off_the_map" not in said
    assert np.isnan(row["map_x"])


def test_a_worker_runs_it_as_any_other_and_tells_it_the_job(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture())
    plugin = "pipelines.embedding.pipeline:Cells"

    outcome = execute(RunRequest("job-9", "cells", plugin, tmp_path / "a.tif", tmp_path / "out"))

    assert outcome.status is Status.DONE
    assert outcome.folder is not None
    named = next(output.name for output in outcome.outputs if output.name.endswith(".parquet"))
    assert set(read_parquet(outcome.folder / named, ["job"]).column("job").to_pylist()) == {"job-9"}
