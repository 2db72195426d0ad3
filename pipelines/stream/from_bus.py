"""Frames that come over the bus in EdgeX events, and their results, which go back there."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from contracts.edgex import BadMessage, Style, device_topic, object_event, pack
from contracts.edgex_frames import RESOURCE, Frames, frames_of
from contracts.errors import Rejected, Unavailable
from contracts.ports import Bus, Delivery
from contracts.stream import NO_CLASS, Drop, Opening, Status
from contracts.stream_decisions import Decision, decided_in
from pipelines.stream.correct import Corrections
from pipelines.stream.engine import Engine, Line, stamp
from pipelines.stream.rules import Frame

log = logging.getLogger(__name__)
GROUP = "stream"
MOST_READINGS = 1024
"""Frames in one event."""


class FromBus:
    """A message is dealt with when its results are published: one that was not comes again. Nothing is dropped; the bus
    keeps what comes faster."""

    def __init__(self, bus: Bus, topic: str, window: int = 256) -> None:
        """``window`` frames of one event are in hand at once."""
        self._bus, self._topic, self._window = bus, topic, window
        self.listening = False
        """What is published from now on is heard."""

    @asynccontextmanager
    async def running(self, engine: Engine, classes: Sequence[str], side: int) -> AsyncIterator[None]:
        """Consumes while the context is open."""
        async with AsyncExitStack() as stack:
            lines: dict[int, Line] = {}
            for channels in (1, 3):
                corrections = Corrections.of(Opening(width=side, height=side, channels=channels))
                opened = engine.line(self._window, corrections, Drop.NEVER, f"the bus, {channels} channels", gates=True)
                lines[channels] = await stack.enter_async_context(opened)
            turn = asyncio.Lock()

            async def on_event(delivery: Delivery) -> None:
                try:
                    found = frames_of(delivery.payload)
                except BadMessage as error:
                    raise Rejected(f"{delivery.topic}: {error}") from None
                async with turn:  # one event at a time on a line: its answers are the next that come
                    done = await _answered(engine, lines, found, side)
                await self._publish(found, done, classes)

            await stack.enter_async_context(self._bus.subscribe(GROUP, {self._topic: on_event}))
            self.listening = True
            try:
                yield
            finally:
                self.listening = False
                for line in lines.values():
                    line.leave()  # whoever waits for answers gives its event back

    async def _publish(self, found: Frames, done: Sequence[Frame], classes: Sequence[str]) -> None:
        event, now = found.event, stamp()
        profile, device = event.profile_name or "stream", event.device_name
        results = [
            {
                "number": frame.number,
                "status": (frame.status or Status.CLASSIFIED).name.lower(),
                "class": classes[frame.label] if frame.label != NO_CLASS else "",
                "probability": round(frame.probability, 6),
                **{"received": frame.received, "batched": frame.batched, "inferred": frame.inferred, "sent": now},
                **decided(frame),
            }
            for frame in done
        ]
        # Of the same frames the same ids: who hears results twice sees that they are the same.
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"cytobus:stream:{event.id}")
        answer = object_event(
            {"event": event.id, "results": results},  # type: ignore[dict-item]  # a list of plain values
            device=device,
            profile=profile,
            source=RESOURCE,
            resource=RESOURCE,
            event_id=str(name),
            reading_id=str(uuid.uuid5(name, "reading")),
            origin=now,
        )
        body = pack(
            answer, style=Style.EDGEX, correlation_id=found.correlation_id, request_id=str(uuid.uuid5(name, "r"))
        )
        await self._bus.publish(device_topic("cytobus-stream", profile, device, RESOURCE), body, key=device)


def decided(frame: Frame) -> dict[str, object]:
    """What the gates say of a frame, where any are known, and where it lies on the map."""
    if frame.gates is None:
        return {}
    said = decided_in(frame.judged, 0, frame.decision)
    place: dict[str, object] = {"x": said.place[0], "y": said.place[1]} if said.place is not None else {}
    if not frame.gates.edition:
        return place
    names = dict(enumerate(frame.gates.names))
    return {
        **place,
        "decision": Decision(frame.decision).name.lower(),
        "accepting": [name for bit, name in names.items() if said.accepting >> bit & 1],
        "rejecting": [name for bit, name in names.items() if said.rejecting >> bit & 1],
        "decided": said.at,
    }


async def _answered(engine: Engine, lines: dict[int, Line], found: Frames, side: int) -> list[Frame]:
    """The frames of an event with their answers, in order."""
    if len(found.pixels) > MOST_READINGS:
        raise Rejected(f"event {found.event.id} has {len(found.pixels)} frames, at most {MOST_READINGS} go in one")
    done: list[Frame] = []
    used: Line | None = None
    for number, pixels in enumerate(found.pixels):
        line = lines.get(len(pixels) // side**2) if len(pixels) % side**2 == 0 else None
        line = line or used or lines[1]
        if used is not None and line is not used:
            done += await _rest(used)
        used = line
        if line.gone:
            raise Unavailable("the stream stops; the event comes again")
        while line.lane.full:
            done += await _some(line)
        if len(pixels) == side**2 * line.corrections.shape[2]:
            engine.submit(line, number, bytes(pixels))
        else:
            engine.refuse(line, number, f"event {found.event.id}: frame {number} has {len(pixels)} bytes")
    return done + (await _rest(used) if used is not None else [])


async def _rest(line: Line) -> list[Frame]:
    done: list[Frame] = []
    while line.lane.frames:
        done += await _some(line)
    return done


async def _some(line: Line) -> list[Frame]:
    await line.changed.wait()
    line.changed.clear()
    while line.notices:
        log.warning("frames of the bus: %s", line.notices.popleft()[0])
    if line.gone:
        raise Unavailable("the stream stops; the event comes again")
    return line.lane.ready()
