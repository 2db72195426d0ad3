"""The encoder of ``cells`` in the stream says of a frame what the pipeline says of the same image, gates included."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import disk, ellipse

from contracts.gates import Gate, Rule, decide
from contracts.gates_client import HttpGates
from contracts.stream import PATH, Opening, Result
from contracts.stream_client import StreamClient, streaming
from pipelines.backends.address import Address
from pipelines.backends.tensors import ModelRef
from pipelines.embedding.crops import cell_plane, whole
from pipelines.embedding.frames import crops_of
from pipelines.embedding.model import shipped
from pipelines.embedding.streamed import StreamedCells
from pipelines.embedding.table import read_parquet, vectors_of
from pipelines.nuclei.model import BrokenModel, ModelFolder
from pipelines.stream.gates import Gates
from pipelines.stream.inference import Inference
from pipelines.stream.port import OnMap, named
from pipelines.stream.service import Limits, Stream
from tests.pipelines.embedding.cells import processed, variant
from tests.support.cell_map import cell_map
from tests.support.serving import listening
from tests.support.waiting import eventually


def frames(channels: int, dtype: str = "uint8", count: int = 6) -> list[NDArray[Any]]:
    """Discs and ellipses, dark on a lit stained ground or bright on a dark one, (64, 64, channels)."""
    made = []
    for number in range(count):
        cell = np.zeros((64, 64))
        shape = disk((32, 32), 10 + 3 * number) if number % 2 else ellipse(32, 30, 8 + number, 22, rotation=number)
        inside = [(axis >= 0) & (axis < 64) for axis in shape]
        cell[shape[0][inside[0] & inside[1]], shape[1][inside[0] & inside[1]]] = 1
        cell = ndimage.gaussian_filter(cell, 1.5)
        image = np.stack([220 - 20 * cell, 215 - 110 * cell, 225 - 60 * cell], axis=2)[..., :channels]
        if channels == 1:
            image = 20 + 180 * cell[..., None]
        noisy = image + np.random.default_rng(number).normal(0, 3, image.shape)
        made.append((noisy.clip(0, 255) * (200 if dtype == "uint16" else 1)).astype(dtype))
    return made


def by_the_pipeline(folder: Path, images: list[NDArray[Any]]) -> list[dict[str, Any]]:
    """The rows of the table of each image, and its vector as an array."""
    rows = []
    for number, image in enumerate(images):
        _, out = processed(folder / str(number), image.squeeze())
        table = read_parquet(out / "a_cells.parquet")
        assert table.num_rows == 1
        rows.append(table.to_pylist()[0] | {"vector": vectors_of(table)[0]})
    return rows


@asynccontextmanager
async def cells_stream(gateway: str = "") -> AsyncIterator[tuple[Stream, str]]:
    asked = Inference(StreamedCells(), Address())
    asked.sizes = (8,)
    async with httpx.AsyncClient(base_url=gateway) as client:
        gates = Gates(asked.model, HttpGates(client) if gateway else None, every=0.05)
        service = Stream(asked, Limits(deadline_ms=1.0), gates=gates)
        async with listening(service) as port:
            await service.ready()
            yield service, f"ws://127.0.0.1:{port}{PATH}"


async def streamed(client: StreamClient, images: list[NDArray[Any]]) -> list[Result]:
    await client.send_many([(number, image.tobytes()) for number, image in enumerate(images)])
    await client.end()
    return [result async for result in client]


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (3, "uint8"), (1, "uint16")])
def test_frames_are_scaled_as_small_images_are(channels: int, dtype: str) -> None:
    images = np.stack(frames(channels, dtype))
    alone = np.concatenate([whole(cell_plane(image)) for image in images])
    assert np.array_equal(StreamedCells().prepare(images), alone[:, None] * np.float32(1 / 255))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["noise", "bright ground", "even", "nearly even", "photons", "no numbers", "huge"])
def test_odd_frames_are_scaled_as_odd_images_are(channels: int, kind: str) -> None:
    chance, shape = np.random.default_rng(5), (7, 64, 64, channels)
    images = {
        "noise": chance.integers(0, 256, shape).astype(np.uint8),
        "bright ground": (250 - chance.gamma(1, 20, shape)).clip(0, 255).astype(np.uint8),
        "even": np.full(shape, 7, np.uint8),
        "nearly even": chance.integers(0, 3, shape).astype(np.uint16),
        "photons": chance.gamma(1, 50, shape).astype(np.float32),
        "no numbers": chance.normal(100, 9, shape).astype(np.float32),
        "huge": chance.normal(0, 1, shape).astype(np.float32) * np.float32(1e30),
    }[kind]
    if kind == "no numbers":
        images[2, 5, 5], images[4, 9, 1], images[6] = np.nan, np.inf, np.nan
    alone = np.concatenate([whole(cell_plane(image)) for image in images])
    assert np.array_equal(crops_of(images), alone)


async def test_a_frame_gets_class_vector_place_and_decisions_of_the_same_image_in_a_job(tmp_path: Path) -> None:
    grey, colour = frames(1), frames(3)
    rows = by_the_pipeline(tmp_path / "images", [*grey, *colour])
    middle = float(np.median([row["map_x"] for row in rows])) + 1e-3
    rules = {
        "left": {"Model": "1", "Polygon": [[-1e3, -1e3], [middle, -1e3], [middle, 1e3], [-1e3, 1e3]]},
        "known": {"Bounds": [{"Feature": "novelty", "Most": float(np.median([row["novelty"] for row in rows]))}]},
        "sure": {"Bounds": [{"Feature": "probability", "Least": 0.5}], "Action": "reject"},
    }
    results: list[tuple[Result, dict[str, Any]]] = []
    async with cell_map(tmp_path) as gateway:
        made = {name: Rule.model_validate(rule) for name, rule in rules.items()}
        for name, rule in rules.items():
            await gateway.make(name, **rule)
        async with cells_stream(f"http://127.0.0.1:{gateway.port}") as (service, url):
            await eventually(lambda: service.gates.judge.said.edition)
            for channels, images in ((1, grey), (3, colour)):
                async with streaming(url, Opening(channels=channels, gates=True)) as client:
                    answers = await streamed(client, images)
                    results += [(one, client.decisions(one)) for one in answers]
                    assert client.welcome.model_version == shipped().metadata["version"]
                    assert client.gates.not_applied == {}

    for (result, decisions), row in zip(results, rows, strict=True):
        assert client.welcome.classes[result.label] == row["class"]
        assert result.probability == pytest.approx(row["probability"], abs=1e-4)
        assert np.abs(np.array(result.vector) - row["vector"]).max() < 1e-4
        assert result.decided is not None
        assert result.decided.place == pytest.approx((row["map_x"], row["map_y"]), abs=1e-3)
        alone = {
            name: decide(rule, row["model_version"], row["map_x"], row["map_y"], row["class"], row)
            for name, rule in made.items()
        }
        if abs(row["novelty"] - made["known"].bounds[0].most) < 1e-5:  # on which side it is may be rounding
            decisions["known"] = alone["known"]
        assert decisions == alone
    assert len({tuple(decisions.values()) for _, decisions in results}) > 1, "the gates tell no frames apart"


def test_the_setting_names_it_and_it_has_places_on_its_map() -> None:
    model = named("cells")
    assert isinstance(model, OnMap)
    assert (model.name, model.side, model.vector, model.map_of) == ("cells", 64, 128, "1")


def test_an_encoder_without_a_map_gives_no_places_and_gates_on_maps_are_not_applied(tmp_path: Path) -> None:
    model = StreamedCells(ModelFolder(variant(tmp_path, without_map=True)))
    model.warm()
    outputs = {"probabilities": np.eye(len(model.classes), dtype=np.float32)[:2], "vectors": np.zeros((2, 128))}
    found = model.read(outputs)
    assert (found.labels.tolist(), found.places) == ([0, 1], None)
    judge = Gates(model).seen_by("7")
    drawn = Gate.model_validate({"Id": "1", "Name": "a", "Rule": {"Polygon": [[0, 0], [1, 0], [0, 1]]}})
    assert "goes by places" in judge.known.lacks(drawn)


def test_a_damaged_map_or_another_version_is_named(tmp_path: Path) -> None:
    folder = variant(tmp_path)
    (folder / "map" / "vectors.npy").write_bytes(b"damaged")
    with pytest.raises(BrokenModel, match=r"vectors\.npy"):
        StreamedCells(ModelFolder(folder)).warm()
    with pytest.raises(BrokenModel, match="which has version 7; name that, or none"):
        StreamedCells(ModelFolder(folder)).source(ModelRef("cells", "3"))
