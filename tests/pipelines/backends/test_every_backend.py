"""One suite for all places where models run: the same images, the same outputs; the same faults, the same errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pipelines.backends.blocking import Blocking
from pipelines.backends.errors import BadModel, BadOutput, Mismatch, Unavailable
from pipelines.backends.factory import CHOSEN
from pipelines.backends.port import Backend
from pipelines.backends.predictor import Predictor
from pipelines.backends.tensors import ModelRef
from pipelines.nuclei import pipeline
from pipelines.nuclei.model import NAMES, PRECISIONS, Model
from pipelines.nuclei.pipeline import Nuclei
from pipelines.plugin import Later, Work
from tests.pipelines.backends.places import ALL, ROWS, Place, place
from tests.support.waiting import eventually

TOLERANCE = 1e-4
SHAPES = ((64, 64), (128, 192), (256, 256))


@pytest.fixture(scope="module", params=ALL)
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(request.param, tmp_path_factory.mktemp("repository")) as found:
        yield found


@pytest.fixture
async def there(where: Place) -> AsyncIterator[Backend]:
    made = where.opened()
    yield made
    await made.close()


@pytest.fixture(scope="module")
def planes() -> list[np.ndarray]:
    chance = np.random.default_rng(3)
    return [chance.random(shape, np.float32) for shape in SHAPES]


@pytest.fixture(scope="module")
def expected(planes: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """By the model that ships, in this process, as f32."""
    models = {precision: Model(precision=precision) for precision in PRECISIONS}
    return {precision: [model(plane) for plane in planes] for precision, model in models.items()}


@pytest.mark.parametrize("precision", PRECISIONS)
async def test_the_same_images_give_the_same_maps(
    there: Backend, planes: list[np.ndarray], expected: dict[str, list[np.ndarray]], precision: str
) -> None:
    ref = ModelRef(NAMES[precision])
    assert (await there.load(ref)).versions[-1:] == ("2",)
    for _ in range(2):  # the second time some places take another way
        answers = await asyncio.gather(*(there.infer(ref, {"image": plane[None, None]}) for plane in planes))
        for answer, maps in zip(answers, expected[precision], strict=True):
            assert answer.version == "2"
            assert answer.outputs["maps"].dtype == np.float32
            np.testing.assert_allclose(answer.outputs["maps"][0], maps, atol=TOLERANCE)


async def test_many_requests_at_once_get_each_their_own_answer(there: Backend, planes: list[np.ndarray]) -> None:
    ref, plane = ModelRef("nuclei"), planes[0]
    shifted = [np.roll(plane, by, axis=1) for by in range(12)]

    together = await asyncio.gather(*(there.infer(ref, {"image": one[None, None]}) for one in shifted))

    for one, answer in zip(shifted, together, strict=True):
        alone = await there.infer(ref, {"image": one[None, None]})
        np.testing.assert_allclose(answer.outputs["maps"], alone.outputs["maps"], atol=TOLERANCE)


async def test_a_batch_is_answered_picture_by_picture(there: Backend, planes: list[np.ndarray]) -> None:
    ref, batch = ModelRef("nuclei"), np.stack([planes[0], planes[0].T, planes[0][::-1]])[:, None]
    answer = await there.infer(ref, {"image": np.ascontiguousarray(batch)})
    for one, maps in zip(batch, answer.outputs["maps"], strict=True):
        alone = await there.infer(ref, {"image": np.ascontiguousarray(one[None])})
        np.testing.assert_allclose(maps, alone.outputs["maps"][0], atol=TOLERANCE)


async def test_what_is_wrong_is_named_with_model_version_and_input(there: Backend, planes: list[np.ndarray]) -> None:
    given = {"image": planes[0][None, None]}
    with pytest.raises(BadModel, match="model 'nothing' is not"):
        await there.load(ModelRef("nothing"))
    with pytest.raises(BadModel, match="model 'nuclei' version 7 is not"):
        await there.infer(ModelRef("nuclei", "7"), given)
    with pytest.raises(Mismatch, match=r"model 'nuclei': input '(picture|image)' is"):
        await there.infer(ModelRef("nuclei"), {"picture": given["image"]})
    with pytest.raises(Mismatch, match=r"model 'nuclei': input 'image' is float64"):
        await there.infer(ModelRef("nuclei"), {"image": given["image"].astype(np.float64)})
    answer = await there.infer(ModelRef("nuclei", "2"), given)  # and nothing is the worse for it
    assert answer.version == "2"
    assert await there.healthy()


def test_numbers_that_are_none_are_an_error(where: Place) -> None:
    if where.address.startswith("bentoml"):
        pytest.skip("JSON has no word for such numbers")
    asked = Blocking(where.opened())
    try:
        predict = Predictor(asked, ModelRef("logarithm"), ROWS)
        assert predict({"x": np.ones((1, 3), np.float32)}).outputs["y"].tolist() == [[0, 0, 0]]
        with pytest.raises(BadOutput, match=r"model 'logarithm' version 1 at .* gave NaN or infinity in output 'y'"):
            predict({"x": np.full((1, 3), -1, np.float32)})
    finally:
        asked.close()


async def test_while_a_server_is_away_requests_wait_and_go_on_when_it_is_back(
    where: Place, there: Backend, planes: list[np.ndarray]
) -> None:
    if where.stop is None or where.start is None:  # what runs in this process is never away
        assert await there.healthy()
        return
    ref, given = ModelRef("nuclei"), {"image": planes[0][None, None]}
    before = await there.infer(ref, given)
    where.stop()
    try:
        for _ in range(3):
            with pytest.raises(Unavailable, match=r"waits for the model server .*, which does not answer$") as caught:
                await there.infer(ref, given)
            assert isinstance(caught.value, Later)
        assert not await there.healthy()
    finally:
        where.start()

    async def back() -> bool:
        try:
            answer = await there.infer(ref, given)
        except Unavailable:
            return False
        np.testing.assert_allclose(answer.outputs["maps"], before.outputs["maps"], atol=TOLERANCE)
        return True

    await eventually(back, 60, every=0.1)
    assert await there.healthy()


def test_the_pipeline_finds_the_same_nuclei_wherever_its_model_runs(
    where: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, rows = np.meshgrid(np.arange(1100) % 64, np.arange(128) % 64)
    picture = 20 + 180 * ((columns - 32) ** 2 + (rows - 32) ** 2 < 15**2).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", picture)
    found = {}
    for name, address in (("here", "openvino"), ("there", where.address)):
        monkeypatch.setenv(CHOSEN, json.dumps({"nuclei": address}))
        pipeline._model.cache_clear()  # noqa: SLF001 - as a new worker process has it
        (tmp_path / name).mkdir()
        result = Nuclei().run(Work(tmp_path / "a.tif", tmp_path / name))
        found[name] = json.loads(result.results)["count"], tifffile.imread(tmp_path / name / "a_labels.tif")
        pipeline._model("fp32", None).close()  # noqa: SLF001
    pipeline._model.cache_clear()  # noqa: SLF001
    assert found["here"][0] == found["there"][0] > 20
    assert np.mean(found["here"][1] != found["there"][1]) < 1e-3
