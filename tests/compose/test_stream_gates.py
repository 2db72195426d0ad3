"""The stream that is wired beside the cell index hears of its gates at once."""

from pathlib import Path

import httpx

from compose.running import gateway_side
from compose.settings import Settings, StreamSettings
from contracts.stream import PATH, Opening
from contracts.stream_client import streaming
from contracts.stream_decisions import Decision
from tests.pipelines.stream.shades import SIDE, frame
from tests.support.waiting import eventually


async def test_a_gate_that_is_made_decides_of_frames_without_waiting_for_the_next_look(tmp_path: Path) -> None:
    stream = StreamSettings(model="tests.pipelines.stream.shades:MappedShades", gates_seconds=3600)
    settings = Settings(data=tmp_path, port_offset=-1, stream=stream)
    async with (
        gateway_side(settings, ["cell-index", "stream"]) as deployment,
        httpx.AsyncClient(timeout=60) as client,
    ):

        async def known() -> dict:
            return (await client.get(f"{deployment.url('stream')}/api/v1/streams/gates")).json()

        await eventually(lambda: edition(known, 1))
        rule = {"Bounds": [{"Feature": "novelty", "Most": 0.5}]}
        made = await client.post(
            f"{deployment.url('cell-index')}/api/v1/map/gates", json={"Name": "bright", "Rule": rule}
        )
        assert made.status_code == 201
        await eventually(lambda: edition(known, 2))
        assert (await known())["Gates"] == [{"Name": "bright", "Accepted": 0, "Rejected": 0}]
        url = f"{deployment.url('stream')}{PATH}".replace("http", "ws", 1)
        async with streaming(url, Opening(width=SIDE, height=SIDE, gates=True)) as opened:
            await opened.send_many([(1, frame(40)), (2, frame(240))])
            await opened.end()
            decided = [one.decided async for one in opened]
    assert [one.decision for one in decided if one is not None] == [Decision.REJECT, Decision.ACCEPT]


async def edition(known, number: int) -> bool:
    return (await known())["Edition"] >= number


async def test_a_stream_that_is_told_not_to_follow_gates_says_so(tmp_path: Path) -> None:
    stream = StreamSettings(model="tests.pipelines.stream.shades:Shades", gates_seconds=0)
    async with (
        gateway_side(Settings(data=tmp_path, port_offset=-1, stream=stream), ["stream"]) as deployment,
        httpx.AsyncClient(timeout=60) as client,
    ):
        told = (await client.get(f"{deployment.url('stream')}/api/v1/streams/gates")).json()
    assert "this stream is told not to follow them" in told["Trouble"]
