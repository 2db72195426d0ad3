"""Gates that are made at a real gateway decide of frames on a real WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from contracts.bus.local import LocalBus
from contracts.errors import Unavailable
from contracts.gates import Action
from contracts.gates_client import HttpGates
from contracts.ports import Bus
from contracts.stream import RESULT, Opening, Result, Status, pack_frame
from contracts.stream_client import StreamClient
from contracts.stream_decisions import Decision
from pipelines.stream.from_bus import FromBus
from pipelines.stream.gates import Gates
from pipelines.stream.service import Limits, Stream
from tests.pipelines.stream.conftest import Scene
from tests.pipelines.stream.shades import SIDE, Gated, MappedShades, frame
from tests.pipelines.stream.test_from_bus import SENT_ON, TOPIC, event, listened
from tests.support.cell_map import GatesAt, cell_map
from tests.support.serving import listening
from tests.support.waiting import eventually

BRIGHT = [[0.5, -1], [2, -1], [2, 1], [0.5, 1]]
"""Around the places of frames brighter than half."""


class Follower(Scene):
    """A stream that follows the gates of a gateway."""

    def __init__(self, service: Stream, port: int, inference: Gated) -> None:
        super().__init__(service, port)
        self.inference = inference

    async def edition(self, number: int) -> None:
        await eventually(lambda: self.service.gates.judge.said.edition >= number)

    async def told(self, path: str) -> Any:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            answer = await client.get(path)
        return answer.json() if "json" in answer.headers["content-type"] else answer.text


@asynccontextmanager
async def following(port: int, bus: Bus | None = None, every: float = 0.05) -> AsyncIterator[Follower]:
    """``every`` seconds; announcements come by the ``bus``."""
    asked = Gated(model=MappedShades())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        gates = Gates(asked.model, HttpGates(client), bus, every=every)
        from_bus = FromBus(bus, TOPIC) if bus is not None else None
        service = Stream(asked, Limits(deadline_ms=1.0), from_bus, gates)
        async with listening(service) as at:
            await service.ready()
            yield Follower(service, at, asked)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatesAt]:
    async with cell_map(tmp_path) as opened:
        yield opened


async def answered(client: StreamClient, *levels: int) -> list[Result]:
    """The results of frames of these levels, numbered by them."""
    for level in levels:
        await client.send(level, frame(level))
    answers = aiter(client)
    return [await anext(answers) for _ in levels]


async def test_each_result_says_what_each_gate_decides_and_when(gateway: GatesAt) -> None:
    await gateway.make("bright ones", Polygon=BRIGHT, Model="1")
    await gateway.make("no white", Bounds=[{"Feature": "novelty", "Most": 0.1}], Action="reject")
    await gateway.make("small ones", Bounds=[{"Feature": "area", "Most": 10}])
    await gateway.make("of another map", Polygon=BRIGHT, Model="2")
    async with following(gateway.port) as here:
        await here.edition(1)
        async with here.opened(gates=True) as client:
            assert client.gates.names == ("bright ones", "no white")
            assert client.gates.not_applied == {
                "small ones": "goes by area, which a stream does not measure",
                "of another map": "belongs to the map of model 2; frames are seen by 1",
            }
            dark, bright, white, black = await answered(client, 50, 200, 250, 0)
            said = [client.decisions(one) for one in (dark, bright, white, black)]
            assert said == [
                {"bright ones": Action.REJECT, "no white": Action.ACCEPT},
                {"bright ones": Action.ACCEPT, "no white": Action.ACCEPT},
                {"bright ones": Action.ACCEPT, "no white": Action.REJECT},
                {},
            ]
            decided = [one.decided for one in (dark, bright, white, black)]
            assert [one.decision for one in decided] == [
                Decision.REJECT,
                Decision.ACCEPT,
                Decision.REJECT,
                Decision.NONE,
            ]
            assert bright.inferred <= bright.decided.at <= bright.sent
            assert bright.decided.place == pytest.approx((200 / 255, 0), abs=1e-3)
            assert black.status is Status.FAILED
        figures, shown = await here.told("/metrics"), await here.told("/api/v1/streams/gates")
    assert shown["Gates"][0] == {"Name": "bright ones", "Accepted": 2, "Rejected": 1}
    assert (shown["Edition"], shown["Trouble"]) == (1, "")
    assert 'cytobus_stream_gate_frames_total{decision="reject",gate="no white"} 1.0' in figures
    assert 'cytobus_stream_decisions_total{decision="accept"} 1.0' in figures
    assert 'cytobus_stream_gates{applied="no"} 2.0' in figures
    assert "cytobus_stream_gate_seconds_count" in figures
    assert "cytobus_stream_gates_away 0.0" in figures


async def test_an_instrument_that_asks_for_no_decisions_gets_the_bytes_it_always_got(gateway: GatesAt) -> None:
    await gateway.make("bright ones", Polygon=BRIGHT)
    async with following(gateway.port) as here:
        await here.edition(1)
        async with connect(here.url, compression=None) as raw:
            opening = Opening(width=SIDE, height=SIDE).model_dump_json()
            assert "gates" not in opening
            await raw.send(opening)
            welcome = json.loads(await raw.recv())
            assert set(welcome) == {"kind", "version", "window", "model", "model_version", "classes", "vector"}
            await raw.send(pack_frame(7, frame(200)))
            result = await raw.recv()
            await gateway.make("another", Classes=["dark"])
            await here.edition(2)
            await raw.send('{"kind": "end"}')
            assert json.loads(await raw.recv())["kind"] == "farewell"
    assert len(result) == RESULT.size + 4
    assert result[8:10] == bytes([Status.CLASSIFIED, 0])


async def test_gates_that_change_are_told_before_the_first_result_that_they_decide(tmp_path: Path) -> None:
    bus = LocalBus()
    # Nobody would look again within the test: it is the announcement that brings the change.
    async with cell_map(tmp_path, bus) as gateway, following(gateway.port, bus, every=3600) as here:
        await here.edition(1)
        async with here.opened(gates=True) as client:
            (before,) = await answered(client, 200)
            assert (before.decided.decision, before.decided.edition) == (Decision.NONE, 1)
            # One frame is with the model while the gates change: it is decided by those of before.
            here.inference.open = False
            await client.send(201, frame(201))
            await eventually(lambda: here.inference.gates)
            made = await gateway.make("bright ones", Polygon=BRIGHT)
            await here.edition(2)
            here.inference.release()
            (during, after) = await answered_beside(client, 202)
            assert (during.decided.decision, during.decided.edition) == (Decision.NONE, 1)
            assert (after.decided.decision, after.decided.edition) == (Decision.ACCEPT, 2)
            assert client.gates.names == ("bright ones",)
            await gateway.make("bright ones", Polygon=BRIGHT, Action="reject")
            await here.edition(3)
            assert here.service.gates.counts() == {}, "it is another gate"
            (turned,) = await answered(client, 203)
            assert client.decisions(turned) == {"bright ones": Action.REJECT}
            assert client.decisions(after) == {"bright ones": Action.ACCEPT}
            await gateway.drop(made)
            await here.edition(4)
            (last,) = await answered(client, 204)
            assert (last.decided.decision, client.gates.names) == (Decision.NONE, ())


async def answered_beside(client: StreamClient, level: int) -> list[Result]:
    """The result that is due, and that of one frame more."""
    await client.send(level, frame(level))
    answers = aiter(client)
    return [await anext(answers), await anext(answers)]


async def test_a_change_of_which_nobody_heard_is_found_by_looking(gateway: GatesAt) -> None:
    async with following(gateway.port) as here:
        await here.edition(1)
        await gateway.make("bright ones", Polygon=BRIGHT)
        await here.edition(2)
        assert here.service.gates.judge.said.names == ("bright ones",)


async def test_while_the_gateway_is_away_the_last_gates_go_on_and_that_is_said(tmp_path: Path) -> None:
    async with cell_map(tmp_path) as gateway:
        port = gateway.port
        await gateway.make("bright ones", Polygon=BRIGHT)
        opened = following(port)
        here = await opened.__aenter__()
        await here.edition(1)
    try:
        await eventually(lambda: here.service.gates.trouble)
        async with here.opened(gates=True) as client:
            (one,) = await answered(client, 200)
            assert one.decided.decision is Decision.ACCEPT
            await eventually(lambda: hear(client))
            assert "earlier ones go on to decide" in client.notices[-1].text
        health = await here.told("/api/v1/health")
        assert health["state"] == "degraded"
        assert "earlier ones go on" in health["troubles"]["gates"]
        assert (await here.told("/api/v1/ready"))["ready"] is True
        assert "cytobus_stream_gates_away 1.0" in await here.told("/metrics")
        async with cell_map(tmp_path, port=port) as again:
            await eventually(lambda: not here.service.gates.trouble)
            assert here.service.gates.judge.said.edition == 1
            await again.make("dark ones", Classes=["dark"])
            await here.edition(2)
    finally:
        await opened.__aexit__(None, None, None)


async def hear(client: StreamClient) -> object:
    """The notices, which come beside the answer of a frame."""
    if not client.notices:
        await answered(client, 9)
    return client.notices


async def test_gates_that_were_never_known_leave_frames_undecided_and_none_is_lost() -> None:
    nobody = 9  # the port of discard, where nobody listens
    async with following(nobody) as here:
        async with here.opened(gates=True) as client:
            assert client.gates.edition == 0
            results = await answered(client, *range(1, 100))
            assert "no gates are known yet" in client.notices[0].text
            assert (await here.told("/api/v1/health"))["state"] == "degraded"
        assert [one.number for one in results] == list(range(1, 100))
        assert {(one.status, one.decided.decision, one.decided.edition) for one in results} == {
            (Status.CLASSIFIED, Decision.NONE, 0)
        }
        assert results[-1].decided.place is not None
        await eventually(lambda: not here.engine.lines)
        assert (await here.told("/api/v1/health"))["state"] == "ok", "nobody asks for decisions"


async def test_results_on_the_bus_say_what_gates_decide(tmp_path: Path) -> None:
    bus = LocalBus()
    async with cell_map(tmp_path, bus) as gateway:
        await gateway.make("bright ones", Polygon=BRIGHT)
        async with following(gateway.port, bus) as here, listened(bus) as seen:
            await here.edition(1)
            await eventually(lambda: len(here.engine.lines) == 2)
            await bus.publish(SENT_ON, event(1, frame(20), frame(200), b"no frame"))
            await eventually(lambda: seen)
    dark, bright, refused = seen[0]["results"]
    assert (dark["decision"], dark["rejecting"], dark["accepting"]) == ("reject", ["bright ones"], [])
    assert (bright["decision"], bright["accepting"]) == ("accept", ["bright ones"])
    assert bright["inferred"] <= bright["decided"] <= bright["sent"]
    assert bright["x"] == pytest.approx(200 / 255, abs=1e-3)
    assert "decision" not in refused


async def test_a_gate_of_a_newer_gateway_is_named_and_the_others_hold() -> None:
    good = {"Id": "1", "Name": "burrs", "Rule": {"Classes": ["burr"]}, "By": "anna"}
    newer = {"Id": "2", "Name": "newer", "Rule": {"Classes": ["burr"], "Sphere": 1}}

    async def told(content: object) -> Any:
        transport = httpx.MockTransport(lambda request: httpx.Response(200, json=content))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await HttpGates(client).gates()

    gates, strange = await told([newer, good])
    assert [gate.name for gate in gates] == ["burrs"]
    assert "Rule.Sphere: Extra inputs are not permitted" in strange["newer"]
    with pytest.raises(Unavailable, match="the answer is no list of gates"):
        await told({"Message": "hello"})


async def test_a_model_whose_places_fail_loses_no_frame(gateway: GatesAt, caplog: pytest.LogCaptureFixture) -> None:
    await gateway.make("bright ones", Polygon=BRIGHT)
    async with following(gateway.port) as here:
        await here.edition(1)

        class Broken(MappedShades):
            def read(self, outputs: Any) -> Any:
                from dataclasses import replace

                return replace(super().read(outputs), places=lambda: 1 / 0)

        here.inference.model = Broken()
        async with here.opened(gates=True) as client:
            (one,) = await answered(client, 200)
    assert (one.status, one.decided.decision) == (Status.CLASSIFIED, Decision.NONE)
    assert "gates of edition 1 fail: nothing is decided" in caplog.text


async def test_the_bus_being_silent_does_not_keep_an_operator_from_making_gates(tmp_path: Path) -> None:
    class Silent(LocalBus):
        async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None:
            raise Unavailable("the bus is away")

    async with cell_map(tmp_path, Silent()) as gateway:
        await asyncio.gather(gateway.make("one", Classes=["a"]), gateway.make("two", Classes=["b"]))
