"""What only a real Triton can show: batching, versions, loading under load, and its end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.backends import python_model_file
from pipelines.backends.address import parsed
from pipelines.backends.control import TritonControl
from pipelines.backends.errors import BadModel, Mismatch, TooSlow, Unavailable
from pipelines.backends.factory import backend
from pipelines.backends.openvino import repository
from pipelines.backends.port import Backend
from pipelines.backends.repository import Batching, Served, Versions, add_version, write_config
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from tests.pipelines.backends.networks import save, scaled
from tests.pipelines.backends.places import ROWS, triton
from tests.support.triton import TritonServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.serving
X = {"x": np.ones((1, 2), np.float32)}
BOTH = pytest.mark.parametrize("kind", ["grpc", "http"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with triton(tmp_path_factory.mktemp("repository")) as made:
        yield made


@pytest.fixture
async def opened(server: TritonServer) -> AsyncIterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def open_one(kind: str, options: str = "") -> Backend:
        made.append(backend(parsed(server.address(kind) + options), repository(server.repository)))
        return made[-1]

    yield open_one
    for one in made:
        await one.close()


def put(server: TritonServer, served: Served, version: int, factor: float, name: str = "x") -> None:
    made = save(scaled(factor, name), server.repository / f".made-{served.name}-{version}")
    files: dict[str, bytes | Path] = {file: made / file for file in ("model.xml", "model.bin")}
    add_version(server.repository, served, version, files | {"model.py": python_model_file()})
    write_config(server.repository, served)


async def test_requests_that_wait_together_are_run_together(
    server: TritonServer, opened: Callable[..., Backend]
) -> None:
    served = Served("batched", "python", ROWS, batching=Batching(16, (8, 16), delay_us=1_000_000))
    put(server, served, 1, 2.0)
    async with TritonControl(server.url) as control:
        await control.load("batched")
    asked = opened("grpc")
    rows = [{"x": np.full((1, 4), number, np.float32)} for number in range(32)]

    answers = await asyncio.gather(*(asked.infer(ModelRef("batched"), one) for one in rows))

    assert [float(answer.outputs["y"][0, 0]) for answer in answers] == [2.0 * number for number in range(32)]
    ran = server.figure("nv_inference_exec_count", "batched")
    assert server.figure("nv_inference_count", "batched") == 32
    assert ran <= 8, f"32 requests in {ran} runs"


@BOTH
async def test_two_models_in_two_versions_are_asked_at_once(
    server: TritonServer, opened: Callable[..., Backend], kind: str
) -> None:
    models = {f"{name}-{kind}": base for name, base in (("twice", 2.0), ("tenfold", 10.0))}
    async with TritonControl(server.url) as control:
        for name, base in models.items():
            served = Served(name, "python", ROWS, versions=Versions(latest=2))
            for version in (1, 2):
                put(server, served, version, base + version)
            await control.load(name)
    asked = opened(kind)
    refs = [ModelRef(name, version) for name in models for version in ("1", "2", "")]

    answers = await asyncio.gather(*(asked.infer(ref, X) for ref in refs * 5))

    assert [float(answer.outputs["y"][0, 0]) for answer in answers] == [3, 4, 4, 11, 12, 12] * 5
    assert [answer.version for answer in answers] == ["1", "2", "2"] * 10
    assert (await asked.load(refs[2])).versions == ("1", "2")


@BOTH
@pytest.mark.parametrize("shared", ["on", "off"])
async def test_a_model_is_loaded_anew_under_load_and_no_request_fails(
    server: TritonServer, opened: Callable[..., Backend], kind: str, shared: str
) -> None:
    name = f"living-{kind}-{shared}"
    served = Served(name, "python", ROWS, versions=Versions(latest=1))
    put(server, served, 1, 1.0)
    asked, seen = opened(kind, f"?shm={shared}&retries=0"), list[tuple[str, float]]()
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            answer = await asked.infer(ModelRef(name), X)
            seen.append((answer.version, float(answer.outputs["y"][0, 0])))

    async with TritonControl(server.url) as control:
        await control.load(name)
        clients = [asyncio.create_task(client()) for _ in range(4)]
        try:
            for version in (2, 3):
                many = len(seen)
                await eventually(lambda many=many: len(seen) > many + 20)
                put(server, served, version, float(version))
                await control.load(name)
                await eventually(lambda version=version: seen[-1][0] == str(version))
        finally:
            done.set()
            await asyncio.gather(*clients)

    assert set(seen) == {("1", 1.0), ("2", 2.0), ("3", 3.0)}


@BOTH
async def test_a_server_that_is_killed_under_load_comes_back_and_nothing_but_waiting_was_asked(
    server: TritonServer, opened: Callable[..., Backend], kind: str
) -> None:
    asked, ref = opened(kind, "?shm=on"), ModelRef("nuclei")
    given = {"image": np.ones((1, 1, 64, 64), np.float32)}
    first, answered, done = await asked.infer(ref, given), list[int](), asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            try:
                answer = await asked.infer(ref, given)
            except Unavailable as error:  # any other error fails the test
                await asyncio.sleep(max(0.01, error.seconds))
                continue
            np.testing.assert_allclose(answer.outputs["maps"], first.outputs["maps"], atol=1e-5)
            answered.append(1)

    clients = [asyncio.create_task(client()) for _ in range(3)]
    try:
        await eventually(lambda: len(answered) > 5)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        many = len(answered)
        await eventually(lambda: len(answered) > many + 20, 60)
    finally:
        done.set()
        await asyncio.gather(*clients)


@BOTH
async def test_a_server_that_stands_still_is_away_and_one_that_is_merely_slow_is_not(
    server: TritonServer, opened: Callable[..., Backend], kind: str
) -> None:
    asked, given = opened(kind, "?timeout=1&retries=0&shm=off"), {"image": np.ones((1, 1, 64, 64), np.float32)}
    await asked.load(ModelRef("nuclei"))
    server.stand_still()
    try:
        with pytest.raises(Unavailable):
            await asked.infer(ModelRef("nuclei"), given)
    finally:
        server.go_on()

    hurried = opened(kind, "?timeout=0.2&retries=0&shm=off")
    await eventually(asked.healthy)
    slow = {"image": np.ones((4, 1, 1024, 1024), np.float32)}
    await eventually(lambda: _loaded(hurried))
    with pytest.raises(TooSlow, match=r"no answer within 0.2 s, 1 times; give it more time \(\?timeout=\)"):
        await eventually(lambda: _infer(hurried, slow), every=0.2)


async def _loaded(asked: Backend) -> bool:
    try:
        await asked.load(ModelRef("nuclei"))
    except (TooSlow, Unavailable):
        return False
    return True


async def _infer(asked: Backend, given: dict[str, np.ndarray]) -> bool:
    try:
        return bool(await asked.infer(ModelRef("nuclei"), given))
    except Unavailable:  # on a machine that is too busy, it could not even say that it is alive
        return False


@BOTH
async def test_a_model_that_was_exchanged_for_another_is_noticed(
    server: TritonServer, opened: Callable[..., Backend], kind: str
) -> None:
    name = f"changing-{kind}"
    served = Served(name, "python", ROWS, versions=Versions(latest=1))
    put(server, served, 1, 1.0)
    asked = opened(kind)
    async with TritonControl(server.url) as control:
        await control.load(name)
        assert (await asked.infer(ModelRef(name), X)).version == "1"
        other = Signature((Tensor("z", "float32", (None, None)),), ROWS.outputs)
        put(server, Served(name, "python", other, versions=Versions(latest=1)), 2, 1.0, "z")
        await control.load(name)
        with pytest.raises(Exception, match="refused the request"):
            await asked.infer(ModelRef(name), X)
        with pytest.raises(Mismatch, match=f"model '{name}': input 'z' is missing"):
            await asked.infer(ModelRef(name), X)
        await control.unload(name)
        await eventually(lambda: _gone(asked, name))


async def _gone(asked: Backend, name: str) -> bool:
    try:
        await asked.load(ModelRef(name))
    except BadModel as error:
        return name in str(error)
    return False


async def test_a_model_that_cannot_be_loaded_is_named_with_what_the_server_says(server: TritonServer) -> None:
    served = Served("broken", "python", ROWS)
    files = {"model.xml": b"<net>", "model.bin": b"", "model.py": python_model_file()}
    add_version(server.repository, served, 1, files)
    write_config(server.repository, served)
    async with TritonControl(server.url) as control:
        with pytest.raises(BadModel, match=r"(?s)model 'broken' cannot be loaded at .*Unable to read the model"):
            await control.load("broken")
        states = {(one["name"], one.get("state")) for one in await control.index()}
    assert ("nuclei", "READY") in states
    assert ("broken", "UNAVAILABLE") in states
