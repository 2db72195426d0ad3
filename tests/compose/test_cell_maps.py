"""Encoders and maps as the cell index is given them: images, ways between models, drift, and maps fitted anew."""

import asyncio
import hashlib
import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compose.charts import CellCharts
from compose.encoders import Encoders
from contracts.errors import BadRequest, Conflict
from pipelines.embedding.atlas import Atlas
from pipelines.embedding.model import WIDTH, Encoder, shipped
from pipelines.embedding.pipeline import found
from pipelines.embedding.translation import arrays, of_arrays, unit
from pipelines.nuclei.model import ModelFolder
from tests.pipelines.embedding.cells import variant

FITS = pytest.mark.skipif(not all(map(find_spec, ("torch", "umap"))), reason="fitting maps needs the extra [train]")
VERSION = str(shipped().metadata["version"])


def known(count: int) -> np.ndarray:
    """Vectors such as the map was made of."""
    chance, reference = np.random.default_rng(2), Atlas(shipped()).reference
    return unit(reference[chance.integers(0, len(reference), count)] + chance.normal(0, 0.002, (count, WIDTH)))


def strange(count: int) -> np.ndarray:
    """Vectors of a kind that it does not know."""
    chance = np.random.default_rng(1)
    return unit(chance.normal(size=(1, WIDTH)) + 0.25 * chance.normal(size=(count, WIDTH)))


@pytest.fixture
def encoders(tmp_path: Path) -> Encoders:
    return Encoders(tmp_path / "uploaded", tmp_path / "vectors")


@pytest.fixture
def charts(tmp_path: Path, encoders: Encoders) -> CellCharts:
    return CellCharts(tmp_path / "maps", encoders)


def uploaded(tmp_path: Path, version: str, **more: object) -> ModelFolder:
    """Another version of the encoder that ships, packed as the gateway keeps it."""
    folder = ModelFolder(variant(tmp_path / "made", version, **more))
    package = tmp_path / "uploaded" / f"{version}-{folder.sha256[:12]}.zip"
    package.parent.mkdir(exist_ok=True)
    shutil.make_archive(str(package.with_suffix("")), "zip", folder.path)
    return folder


async def test_an_image_of_a_cell_gets_the_vector_that_its_pipeline_gives_it(encoders: Encoders, tmp_path: Path):
    pixels = (np.hypot(*(np.mgrid[:80, :80] - 40)) < 20).astype(np.uint8) * 180 + 20
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")

    made = await encoders.embed(content.getvalue(), "")

    (wanted,) = Encoder()(found(pixels, "whole", 0, "x").crops).vectors
    assert (made.model, float(made.vector @ wanted)) == (VERSION, pytest.approx(1, abs=1e-4))
    with pytest.raises(BadRequest, match="is not a TIFF, PNG"):
        await encoders.embed(b"no image", "")
    uploaded(tmp_path, "mine-2")
    assert (await encoders.embed(content.getvalue(), "mine-2")).model == "mine-2"
    assert (await encoders.embed(content.getvalue(), "unknown")).model == VERSION


def test_vectors_of_one_network_are_compared_as_they_are_whatever_its_map(encoders: Encoders, tmp_path: Path):
    uploaded(tmp_path, "2")
    told = encoders.mapped(known(3), "2", VERSION)
    assert told is not None
    assert (told.through, told.recall, np.array_equal(told.vectors, known(3))) == ("the same encoder", 1.0, True)


def test_a_way_between_models_is_that_which_was_learnt_or_it_is_said_how_to_learn_it(encoders: Encoders):
    with pytest.raises(Conflict, match=r"cytobus cells translate RESULTS --old FOLDER-OF-theirs/9 .*theirs_9-to-1'"):
        encoders.mapped(known(3), "theirs/9", VERSION)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    way = of_arrays("procrustes", [turn, np.zeros(WIDTH, np.float32)])
    learnt(encoders.ways / "any", way, "theirs/9", VERSION, shipped().sha256)
    told = encoders.mapped(known(3), "theirs/9", VERSION)
    assert told is not None
    assert (told.through, told.recall) == (f"procrustes from theirs/9 to {VERSION}", 0.93)
    assert np.allclose(told.vectors, known(3) @ turn, atol=1e-5)
    learnt(encoders.ways / "any", way, "theirs/9", VERSION, "0" * 64)
    with pytest.raises(Conflict, match="no way from"):
        encoders.mapped(known(3), "theirs/9", VERSION)


def learnt(folder: Path, way, source: str, target: str, sha256: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays(way)):
        np.save(folder / f"{number}.npy", array)
    ends = {"from": {"version": source, "sha256": "1" * 64}, "to": {"version": target, "sha256": sha256}}
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.npy")}
    said = {"kind": way.kind, **ends, "figures": {"kept": 0.95, "kept_as_query": 0.93}, "files": files}
    (folder / "metadata.json").write_text(json.dumps(said))


def test_drift_is_seen_on_vectors_and_unknown_models_have_none(charts: CellCharts):
    calm, drifted = charts.drift(VERSION, known(300)), charts.drift(VERSION, strange(300))
    assert calm is not None
    assert drifted is not None
    assert (calm.far < 10, calm.drifted, drifted.far > 290, drifted.drifted) == (True, False, True, True)
    assert charts.drift("theirs/9", known(3)) is None
    assert charts.drift(VERSION, known(3)[:, :16]) is None
    assert (charts.version(VERSION), charts.placed(VERSION, known(3))) == (0, None)


@FITS
async def test_a_map_that_cannot_be_fitted_leaves_the_old_one_and_says_why(charts: CellCharts, tmp_path: Path):
    old = tmp_path / "maps" / hashlib.sha256(VERSION.encode()).hexdigest()[:16] / "1"
    old.mkdir(parents=True)
    (old / "metadata.json").write_text('{"version": "1"}')
    with pytest.raises(Conflict, match=r"could not be fitted anew: ValueError: .* has no map"):
        await charts.refit(VERSION, known(200))
    assert charts.version(VERSION) == 1
    assert [path.name for path in (tmp_path / "maps").rglob("*") if path.is_file()] == ["metadata.json"]
    with pytest.raises(Conflict, match="the model theirs is not here"):
        await charts.refit("theirs", known(200))


@FITS
@pytest.mark.heavy
async def test_a_new_map_is_published_whole_knows_the_new_cells_and_lies_over_the_old(charts: CellCharts):
    for version in (1, 2):
        await charts.refit(VERSION, np.concatenate([known(200), strange(400)]))
        assert charts.version(VERSION) == version
    told, placed = charts.drift(VERSION, strange(300)), charts.placed(VERSION, Atlas(shipped()).reference)
    assert told is not None
    assert placed is not None
    assert (told.drifted, placed.version) == (False, 2)
    old = Atlas(shipped()).reference_places
    assert np.median(np.linalg.norm(placed.places - old, axis=1)) < 0.5 * old.std()


@FITS
@pytest.mark.heavy
async def test_a_refit_that_is_stopped_ends_its_process_and_publishes_nothing(charts: CellCharts, tmp_path: Path):
    running = asyncio.create_task(charts.refit(VERSION, strange(3000)))
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert charts.version(VERSION) == 0
    assert [path for path in (tmp_path / "maps").rglob("*") if path.is_file()] == []
