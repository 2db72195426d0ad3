"""The model of the stream at a server that goes away and comes back (a double of OpenVINO Model Server)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.stream import Status
from pipelines.backends.repository import Served, write_ovms
from pipelines.stream.service import Stream
from tests.doubles.ovms import OvmsDouble
from tests.pipelines.backends.networks import save
from tests.pipelines.stream.conftest import Opener
from tests.pipelines.stream.shades import WANTED, frame, inference, shades
from tests.support.serving import listening
from tests.support.waiting import eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OvmsDouble]:
    save(shades(), tmp_path / "shades" / "3")
    double = OvmsDouble(write_ovms(tmp_path / "config.json", [Served("shades", "openvino", WANTED)], str(tmp_path)))
    yield double
    double.stop()


@pytest.mark.parametrize("wire", ["grpc", "http"])
async def test_frames_wait_for_a_server_that_is_away_and_none_is_lost(
    scene: Opener, server: OvmsDouble, wire: str
) -> None:
    asked = inference(f"{server.address(wire)}?retries=0&timeout=10")
    stopped = asyncio.Event()
    async with scene(asked, window=16) as here, here.opened() as client:
        assert client.welcome.model_version == "3"

        async def send() -> None:
            for number in range(1, 101):
                await client.send(number, frame(number))
                if number == 30:
                    await asyncio.to_thread(server.stop)
                    stopped.set()
            await client.end()

        sending = asyncio.create_task(send())
        results = []
        reading = asyncio.create_task(_collected(client, results))
        await stopped.wait()
        await eventually(lambda: here.engine.trouble)
        assert "waits for the model server" in here.service.trouble
        await eventually(lambda: client.waits)
        assert not reading.done()
        await asyncio.to_thread(server.start)
        await asyncio.gather(sending, reading)
        assert here.engine.trouble == ""

    assert [result.number for result in results] == list(range(1, 101))
    assert {result.status for result in results} == {Status.CLASSIFIED}
    assert any("waits for the model server" in notice.text for notice in client.notices)


async def _collected(client, results) -> None:
    async for result in client:
        results.append(result)


async def test_a_model_that_the_server_does_not_have_is_told_and_nobody_let_in(server: OvmsDouble) -> None:
    service = Stream(inference(f"{server.address('grpc')}?model=spots"))
    async with listening(service):
        await eventually(lambda: "spots" in service.trouble)
    assert server.address("grpc") in service.trouble
