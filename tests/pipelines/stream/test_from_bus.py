"""Frames over the bus: the same answers, and none is lost."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.edgex import Event, Reading, unpack
from contracts.edgex_frames import frames_event, in_envelope
from contracts.ports import Bus, Delivery
from pipelines.stream.from_bus import FromBus
from pipelines.stream.service import Limits, Stream
from tests.pipelines.stream.shades import Gated, frame, inference
from tests.support.carriers import CARRIERS
from tests.support.waiting import eventually

TOPIC = "edgex/events/device/+/+/+/Frame"
SENT_ON = "edgex/events/device/device-camera/sorter/sorter-1/Frame"
ANSWERED_ON = "edgex/events/device/cytobus-stream/sorter/sorter-1/StreamResult"


@pytest.fixture(scope="module", params=["local", "redis"])
def carrier(request):
    made = CARRIERS[request.param]()
    yield made
    made.close()


@pytest.fixture
async def bus(carrier) -> AsyncIterator[Bus]:
    if carrier.has_server:
        carrier.forget()
    async with carrier.opened() as opened:
        yield opened


def event(number: int, *pixels: bytes) -> bytes:
    reading = Reading(resource_name="Frame", value_type="Binary", media_type="application/octet-stream")
    made = Event(
        id=f"00000000-0000-4000-8000-{number:012d}",
        device_name="sorter-1",
        profile_name="sorter",
        source_name="Frame",
        origin=1,
        readings=(reading,) * len(pixels),
    )
    return frames_event(made, list(pixels), request_id="")


@asynccontextmanager
async def listened(bus: Bus) -> AsyncIterator[list[dict]]:
    seen: list[dict] = []

    async def note(delivery: Delivery) -> None:
        found = unpack(delivery.payload)
        assert found.event is not None
        seen.append({**found.event.readings[0].object_value, "correlation": found.correlation_id})

    async with bus.subscribe("listener", {ANSWERED_ON: note}):
        yield seen


async def test_frames_of_an_event_are_answered_on_the_bus_in_order(bus: Bus) -> None:
    from_bus = FromBus(bus, TOPIC, window=8)
    stream = Stream(inference(), Limits(deadline_ms=1.0), from_bus)
    async with listened(bus) as seen, stream.running():
        await stream.ready()
        await eventually(lambda: from_bus.listening)
        colour = [frame(200, channels=3), frame(10), b"no frame", frame(220)]
        await bus.publish(SENT_ON, event(1, *[frame(level) for level in range(1, 31)]))
        await bus.publish(SENT_ON, in_envelope(event(2, *colour), "c-2"), key="sorter-1")
        await bus.publish(SENT_ON, b"no event", key="sorter-1")
        await bus.publish(SENT_ON, event(3, frame(0)), key="sorter-1")
        await eventually(lambda: len(seen) == 3)
    first, second, third = sorted(seen, key=lambda one: one["event"])

    assert [one["number"] for one in first["results"]] == list(range(30))
    assert {one["class"] for one in first["results"]} == {"dark"}
    assert all(one["received"] <= one["batched"] <= one["inferred"] <= one["sent"] for one in first["results"])
    assert [(one["status"], one["class"]) for one in second["results"]] == [
        ("classified", "bright"),
        ("classified", "dark"),
        ("refused", ""),
        ("classified", "bright"),
    ]
    assert second["correlation"] == "c-2"
    assert [one["status"] for one in third["results"]] == ["failed"]
    assert json.dumps(seen)


async def test_an_event_that_was_not_answered_when_the_stream_stopped_comes_again(bus: Bus, carrier) -> None:
    if not carrier.has_server:
        pytest.skip("the bus of one process ends with it")
    gated, from_bus = Gated(), FromBus(bus, TOPIC)
    stopped = Stream(gated, Limits(deadline_ms=1.0), from_bus)
    async with listened(bus) as seen:
        async with stopped.running():
            await stopped.ready()
            gated.open = False
            await eventually(lambda: from_bus.listening)
            await bus.publish(SENT_ON, event(4, frame(9)))
            await eventually(lambda: gated.gates)
        assert seen == []
        again = Stream(inference(), Limits(deadline_ms=1.0), FromBus(bus, TOPIC))
        async with again.running():
            await eventually(lambda: seen)
    assert seen[0]["results"][0]["status"] == "classified"
