"""The stream as a process of its own, with the model that ships."""

import asyncio
import base64
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import Unavailable
from contracts.stream import PATH, Opening, Result, Status
from contracts.stream_client import StreamEnded, streaming
from tests.support.instance import Instance

pytestmark = pytest.mark.system


def discs(number: int) -> list[bytes]:
    """Dark discs on a lit field under a lamp that is brighter on one side."""
    y, x = np.mgrid[:64, :64] - 31.5
    light = np.linspace(0.7, 1.0, 64)[None, :, None]
    made = []
    for at in range(number):
        disc = (x * x + y * y < (14 + at % 12) ** 2)[..., None]
        made.append((230 * light * np.where(disc, 0.5, 1.0) * np.ones(3)).astype(np.uint8).tobytes())
    return made


def flat() -> str:
    field = (230 * np.linspace(0.7, 1.0, 64)[None, :, None] * np.ones((64, 1, 3))).astype(np.uint8)
    return base64.b64encode(field.tobytes()).decode()


async def streamed(url: str, frames: list[bytes], opening: Opening) -> list[Result]:
    async with streaming(url, opening) as client:
        assert client.welcome.model == "bloodcells"
        assert (client.welcome.model_version, len(client.welcome.classes)) == ("1", 15)

        async def send() -> None:
            for number, frame in enumerate(frames):
                await client.send(number, frame)
            await client.end()

        sending = asyncio.create_task(send())
        found = [result async for result in client]
        await sending
        return found


async def cut_off(instance: Instance, url: str, frames: list[bytes]) -> StreamEnded:
    """The service is killed while frames are on their way."""
    async with streaming(url, Opening(channels=3)) as client:

        async def send() -> None:
            for number in range(10**6):
                await client.send(number, frames[number % len(frames)])
                if number == 100:
                    await asyncio.to_thread(instance.kill)

        with pytest.raises(StreamEnded) as ended:
            await send()
        return ended.value


def test_cells_are_classified_and_a_killed_stream_is_noticed_and_comes_back(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "data", side="serve stream")
    try:
        instance.start()
        instance.wait_for(lambda: instance.ask("GET", "stream", "/api/v1/ready").status_code == 200, 60, "not ready")
        url = f"{instance.url('stream')}{PATH}".replace("http", "ws", 1)
        frames = discs(60)

        results = asyncio.run(streamed(url, frames, Opening(channels=3, correction={"flat": flat()})))
        assert [result.number for result in results] == list(range(60))
        assert {result.status for result in results} == {Status.CLASSIFIED}
        assert all(0 < result.probability <= 1 for result in results)

        ended = asyncio.run(cut_off(instance, url, frames))
        assert ended.unanswered
        with pytest.raises(Unavailable, match="does not answer"):
            asyncio.run(streamed(url, frames[:1], Opening(channels=3)))

        instance.start()
        instance.wait_for(lambda: instance.ask("GET", "stream", "/api/v1/ready").status_code == 200, 60, "not ready")
        url = f"{instance.url('stream')}{PATH}".replace("http", "ws", 1)
        again = asyncio.run(streamed(url, [frames[at % 60] for at in ended.unanswered], Opening(channels=3)))
        assert len(again) == len(ended.unanswered)
        assert instance.stop() == 0
    finally:
        instance.close()
