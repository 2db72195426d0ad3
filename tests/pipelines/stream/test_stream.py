"""Instruments and the stream over real WebSockets."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from contracts.errors import Unavailable
from contracts.stream import NO_CLASS, NO_NUMBER, Drop, Opening, Result, Status, pack_frame
from contracts.stream_client import StreamClient, StreamEnded, streaming
from pipelines.stream.rules import ANSWERS
from pipelines.stream.service import Stream
from tests.pipelines.stream.conftest import Opener
from tests.pipelines.stream.shades import SIDE, Gated, frame
from tests.support.serving import listening
from tests.support.waiting import eventually

OPENING = Opening(width=SIDE, height=SIDE).model_dump_json()


async def rest(client: StreamClient) -> list[Result]:
    return [result async for result in client]


async def sent(client: StreamClient, values: range) -> None:
    for value in values:
        await client.send(value, frame(value))
    await client.end()


async def test_frames_come_back_classified_in_order_with_their_times(scene: Opener) -> None:
    async with scene() as here, here.opened(source="scope-1") as client:
        sending = asyncio.create_task(sent(client, range(10, 250)))
        results = await rest(client)
        await sending

    assert [result.number for result in results] == list(range(10, 250))
    assert all(result.status is Status.CLASSIFIED for result in results)
    assert [client.welcome.classes[result.label] for result in results] == ["dark"] * 118 + ["bright"] * 122
    assert results[0].probability == pytest.approx(1 - 10 / 255, abs=1e-5)
    assert results[-1].vector == (pytest.approx(-0.0237, abs=1e-3),)
    for result in results:
        assert 0 < result.received <= result.batched <= result.inferred <= result.sent
    assert client.farewell is not None
    assert client.farewell.received == client.farewell.classified == 240


async def test_several_frames_may_come_in_one_message_and_in_colour(scene: Opener) -> None:
    async with scene() as here, here.opened(channels=3) as client:
        await client.send_many([(number, frame(200, channels=3)) for number in range(70)])
        await client.end()
        results = await rest(client)
    assert [result.number for result in results] == list(range(70))
    assert {result.label for result in results} == {1}


async def test_an_instrument_that_sends_faster_than_it_is_answered_waits(scene: Opener) -> None:
    gated = Gated()
    async with scene(gated, window=8) as here, here.opened() as client:
        gated.open = False
        sending = asyncio.create_task(sent(client, range(1, 31)))
        await eventually(lambda: client.waits)
        assert client.free == 0
        assert len(client.unanswered) == 8
        listed = (await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{here.port}/api/v1/streams")).json()
        assert (listed[0]["Window"], listed[0]["Unanswered"]) == (8, 8)
        assert not sending.done()
        gated.release()
        results = await rest(client)
        await sending
    assert [result.number for result in results] == list(range(1, 31))


async def test_a_window_that_is_ignored_is_kept_by_reading_no_further(scene: Opener) -> None:
    gated = Gated()
    async with scene(gated, window=8) as here, connect(here.url, compression=None) as raw:
        await raw.send(OPENING)
        await raw.recv()
        gated.open = False

        async def flood() -> None:
            for number in range(1_500):
                await raw.send(pack_frame(number, frame(9)))
            await raw.send('{"kind": "end"}')

        flooding = asyncio.create_task(flood())
        line = await eventually(lambda: next((line for line in here.engine.lines if line.paused), None))
        assert len(line.lane.frames) == line.lane.received == 8
        gated.release()
        numbers = [result async for result in numbers_of(raw)]
        await flooding
    assert numbers == list(range(1_500))


async def numbers_of(raw: object) -> AsyncIterator[int]:
    from contracts.stream import results_in

    async for message in raw:  # type: ignore[attr-defined]
        if isinstance(message, bytes):
            for result in results_in(message, 1):
                yield result.number


@pytest.mark.parametrize("drop", [Drop.NEVER, Drop.OLDEST])
async def test_answers_that_nobody_reads_do_not_pile_up(scene: Opener, drop: Drop) -> None:
    async with scene(window=64) as here:
        narrow = socket.socket()
        narrow.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )  # or the system's buffers hold megabytes of answers
        narrow.connect(("127.0.0.1", here.port))
        async with connect(here.url, sock=narrow, compression=None, max_queue=1, ping_interval=None) as raw:
            await raw.send(Opening(width=SIDE, height=SIDE, drop=drop).model_dump_json())
            await raw.recv()
            raw.transport.pause_reading()

            async def flood() -> None:
                message = b"".join(pack_frame(number, frame(9)) for number in range(1000))
                while True:
                    await raw.send(message)

            flooding = asyncio.create_task(flood())
            line = next(iter(here.engine.lines))
            # The answers fill the buffers between, then the lane, and then nothing more is read.
            await eventually(lambda: stuck(line.lane), 120)
            assert len(line.lane.frames) <= 64 * (1 if drop is Drop.NEVER else ANSWERS)
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            raw.transport.abort()
        await eventually(lambda: not here.engine.lines)


_seen: dict[int, tuple[int, int]] = {}


def stuck(lane: object) -> bool:
    """Whether nothing more was read for a hundred looks."""
    received = lane.received  # type: ignore[attr-defined]
    last, times = _seen.get(id(lane), (0, 0))
    _seen[id(lane)] = (received, times + 1 if received == last else 0)
    return _seen[id(lane)][1] > 100


async def test_an_instrument_that_is_killed_leaves_nothing_behind(scene: Opener) -> None:
    gated = Gated()
    async with scene(gated, connections=1) as here:
        async with connect(here.url, compression=None) as raw:
            await raw.send(OPENING)
            await raw.recv()
            gated.open = False
            for number in range(50):
                await raw.send(pack_frame(number, frame(9)))
            await eventually(lambda: gated.gates)
            raw.transport.abort()
        await eventually(lambda: not here.engine.lines)
        gated.release()
        async with here.opened() as client:
            await sent(client, range(1, 5))
            assert len(await rest(client)) == 4


async def test_what_is_no_frame_is_refused_in_its_place_and_the_others_go_on(scene: Opener) -> None:
    async with scene() as here, connect(here.url, compression=None) as raw:
        await raw.send(OPENING)
        await raw.recv()
        for message in (pack_frame(1, frame(9)), pack_frame(2, b"short"), b"abc", pack_frame(3, frame(0)), b""):
            await raw.send(message)
        await raw.send(pack_frame(4, frame(9)))
        await raw.send('{"kind": "end"}')
        messages = [message async for message in raw]

    from contracts.stream import results_in

    results = [one for message in messages if isinstance(message, bytes) for one in results_in(message, 1)]
    assert [(one.number, one.status.name) for one in results] == [
        (1, "CLASSIFIED"),
        (2, "REFUSED"),
        (NO_NUMBER, "REFUSED"),
        (3, "FAILED"),  # black: the logarithm of its mean is no number
        (NO_NUMBER, "REFUSED"),
        (4, "CLASSIFIED"),
    ]
    assert {one.label for one in results if one.status is not Status.CLASSIFIED} == {NO_CLASS}
    said = [json.loads(message) for message in messages if isinstance(message, str)]
    assert "13 bytes is no whole number of frames" in next(one["text"] for one in said if one.get("number") == 2)
    assert any("NaN" in one.get("text", "") for one in said)
    assert said[-1] == {"kind": "farewell", "received": 6, "classified": 2, "dropped": 0, "refused": 3, "failed": 1}


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("hello", "JSON"),
        ("[" * 100_000, "JSON"),
        ('{"kind": "end"}', "the first message must be the opening"),
        (b"\0" * 72, "the first message must be the opening"),
        ('{"kind": "open", "width": 65, "height": 8}', "frames of 65x8 pixels: the model shades takes 8x8"),
        ('{"kind": "open", "dtype": "float32"}', "open.dtype"),
        ('{"kind": "open", "colour": 1}', "open.colour: Extra inputs"),
        (Opening(width=8, height=8, version=2).model_dump_json(), "version 2 of the stream is not spoken here"),
        ('{"kind": "open", "width": 8, "height": 8, "correction": {"flat": "AAAA"}}', "correction.flat has 3 bytes"),
        ('{"kind": "open", "width": 8, "height": 8, "correction": {"dark": "?"}}', "correction.dark is not base64"),
    ],
)
async def test_an_opening_that_makes_no_sense_is_refused_with_the_reason(
    scene: Opener, first: str | bytes, why: str
) -> None:
    async with scene() as here, connect(here.url, compression=None) as raw:
        await raw.send(first)
        notice = json.loads(await raw.recv())
        assert why in notice["text"]
        with pytest.raises(ConnectionClosed) as closed:
            await raw.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:40]) == (1008, notice["text"][:40])


async def test_text_that_makes_no_sense_ends_the_stream_with_the_reason(scene: Opener) -> None:
    async with scene() as here, here.opened() as client:
        await client.send(1, frame(9))
        await client._connection.send('{"kind": "farewell"}')  # noqa: SLF001 - what the client would never say
        with pytest.raises(StreamEnded, match=r"1008 farewell.received: Field required"):
            await rest(client)


async def test_silence_ends_a_connection(scene: Opener) -> None:
    async with scene(opening_seconds=0.05, idle_seconds=0.1) as here:
        async with connect(here.url) as raw:
            assert "no opening within" in await raw.recv()
        async with here.opened() as client:
            with pytest.raises(StreamEnded, match="nothing was sent for"):
                await rest(client)


async def test_results_keep_their_order_whatever_the_order_of_inference(scene: Opener) -> None:
    gated = Gated(at_once=4)
    async with scene(gated, most=2, deadline_ms=0.0) as here, here.opened() as client:
        gated.open = False
        await client.send_many([(number, frame(number)) for number in range(1, 9)])
        await eventually(lambda: len(gated.gates) == 4)
        for gate in reversed(gated.gates[1:]):
            gate.set()
        line = next(iter(here.engine.lines))
        await eventually(lambda: sum(one.status is not None for one in line.lane.frames) == 6)
        assert not line.lane.ready()
        gated.release()
        await client.end()
        assert [result.number for result in await rest(client)] == list(range(1, 9))


async def test_frames_are_dropped_only_by_an_instrument_that_asks_for_it(scene: Opener) -> None:
    gated = Gated()
    async with scene(gated, window=8, most=2) as here, here.opened(drop="newest") as live, here.opened() as patient:
        gated.open = False
        await patient.send_many([(number, frame(9)) for number in range(20)])
        await live.send_many([(number, frame(9)) for number in range(20)])
        live_line = next(line for line in here.engine.lines if line.lane.drop is Drop.NEWEST)
        await eventually(lambda: live_line.lane.received == 20)
        gated.release()
        await asyncio.gather(live.end(), patient.end())
        fates, others = await rest(live), await rest(patient)

    assert [result.number for result in fates] == list(range(20))
    assert [result.status for result in fates] == [Status.CLASSIFIED] * 8 + [Status.DROPPED] * 12
    assert {result.status for result in others} == {Status.CLASSIFIED}
    assert live.farewell is not None
    assert live.farewell.dropped == 12 == here.engine.counts[Status.DROPPED]


async def test_the_oldest_are_dropped_where_the_newest_matter(scene: Opener) -> None:
    gated = Gated()
    async with scene(gated, window=4, most=1, deadline_ms=0.0) as here, here.opened(drop="oldest") as live:
        gated.open = False
        await live.send(0, frame(9))
        await eventually(lambda: gated.gates)
        await live.send_many([(number, frame(9)) for number in range(1, 12)])
        line = next(iter(here.engine.lines))
        await eventually(lambda: line.lane.received == 12)
        gated.release()
        await live.end()
        kept = [result.number for result in await rest(live) if result.status is Status.CLASSIFIED]
    assert kept == [0, 9, 10, 11]  # the first was with the model already


async def test_what_waits_stays_bounded_while_the_model_is_away_and_the_oldest_are_dropped(scene: Opener) -> None:
    gated = Gated()
    async with scene(gated, window=4, most=1, deadline_ms=0.0) as here, here.opened(drop="oldest") as live:
        gated.open = False
        await live.send(0, frame(9))
        await eventually(lambda: gated.gates)
        line = next(iter(here.engine.lines))
        for number in range(1, 100):
            await live.send(number, frame(9))
        await eventually(lambda: line.lane.received == 100)
        assert here.engine.waiting == 3
        assert line.lane.open == 4
        gated.release()
        await live.end()
        results = await rest(live)
    assert [result.number for result in results] == list(range(100))
    assert live.farewell is not None
    assert (live.farewell.classified, live.farewell.dropped) == (4, 96)


async def test_a_stream_that_stops_says_so_and_the_instrument_knows_what_was_not_answered(scene: Opener) -> None:
    gated = Gated()
    async with asyncio.timeout(60):
        async with scene(gated) as here:
            opened = here.opened()
            client = await opened.__aenter__()
            await client.send(1, frame(9))
            first = await anext(aiter(client))
            gated.open = False
            await client.send_many([(2, frame(9)), (3, frame(9))])
            await eventually(lambda: gated.gates)
        with pytest.raises(StreamEnded) as ended:
            await rest(client)
        await opened.__aexit__(None, None, None)
    assert first.number == 1
    assert ended.value.unanswered == (2, 3)
    assert "1012" in str(ended.value)


async def test_more_instruments_than_there_is_room_for_are_told_to_come_back(scene: Opener) -> None:
    async with scene(connections=1) as here, here.opened():
        with pytest.raises(Unavailable, match="1 instruments are here already") as refused:
            async with here.opened():
                pass
        assert "503" not in str(refused.value)
    with pytest.raises(Unavailable, match="does not answer"):
        async with here.opened():
            pass


async def test_without_its_model_nobody_is_let_in_and_the_reason_is_told() -> None:
    class Elsewhere(Gated):
        async def ready(self) -> None:
            from pipelines.backends.errors import BadModel

            raise BadModel("model 'shades' version 1 cannot be read; export it again")

    async with listening(Stream(Elsewhere())) as port:
        url = f"127.0.0.1:{port}/api/v1"
        ready = await asyncio.to_thread(httpx.get, f"http://{url}/ready")
        assert ready.status_code == 503
        with pytest.raises(Unavailable, match="cannot be read; export it again"):
            async with streaming(f"ws://{url}/stream", Opening()):
                pass


async def test_figures_tell_what_became_of_frames_and_that_reading_paused(scene: Opener) -> None:
    gated = Gated()
    async with scene(gated, window=4) as here:
        async with here.opened(drop="never") as client:
            gated.open = False
            await client.send_many([(number, frame(number)) for number in range(10)])
            await eventually(lambda: next(iter(here.engine.lines)).paused)
            gated.release()
            await client.end()
            await rest(client)
        figures = (await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{here.port}/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in figures.splitlines() if not line.startswith("#"))
    assert lines['cytobus_stream_frames_total{outcome="classified"}'] == "9.0"
    assert lines['cytobus_stream_frames_total{outcome="failed"}'] == "1.0"
    assert float(lines["cytobus_stream_pauses_total"]) >= 1
    assert lines["cytobus_stream_seconds_count"] == "10.0"
    assert lines["cytobus_stream_unanswered"] == "0.0"


async def test_each_connection_has_its_own_correction(scene: Opener) -> None:
    flat = bytes([50] * 32 + [100] * 32)
    correction = {"flat": base64.b64encode(flat).decode()}
    async with scene() as here, here.opened(correction=correction) as one, here.opened() as other:
        for client in (one, other):
            await client.send(1, flat)
            await client.end()
        ((corrected,), (plain,)) = await asyncio.gather(rest(one), rest(other))
    assert corrected.vector == plain.vector == (pytest.approx(-1.2242, abs=1e-3),)  # the mean stays
    assert corrected.status is Status.CLASSIFIED


async def test_a_window_is_smaller_where_frames_are_large(scene: Opener) -> None:
    async with scene(memory_mb=0.01, connections=2) as here, here.opened() as client, here.opened(channels=3) as wide:
        assert client.welcome.window == 78
        assert wide.welcome.window == 26
