"""The service that instruments stream frames to."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from contracts import web
from contracts.stream import PATH, Status, Welcome
from pipelines.backends.errors import BackendError, Unavailable
from pipelines.stream.engine import AGAIN, Engine
from pipelines.stream.from_bus import FromBus
from pipelines.stream.gates import Gates
from pipelines.stream.inference import Inference
from pipelines.stream.openapi import GatesInfo, StreamInfo, operations
from pipelines.stream.rules import Frame
from pipelines.stream.session import Session, Terms

log = logging.getLogger(__name__)
SECONDS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1, 10, 60)
"""Upper bounds of the histogram of latencies (s)."""


@dataclass(frozen=True)
class Limits:
    """Of the service: connections, frames without an answer on each, bytes (10**6) of pixels that wait in all."""

    connections: int = 16
    window: int = 256
    memory_mb: float = 256.0
    most: int = 32
    """Frames in a batch."""
    deadline_ms: float = 4.0
    """So long the first frame of a batch waits for others."""
    idle_seconds: float = 600.0
    opening_seconds: float = 10.0


class Stream:
    """Frames in, answers out; nothing is written anywhere."""

    name = "stream"

    def __init__(
        self,
        inference: Inference,
        limits: Limits = Limits(),
        bus: FromBus | None = None,
        gates: Gates | None = None,
    ) -> None:
        """Nothing is loaded before it runs. ``bus``: frames come from there, too; ``gates`` decide of frames."""
        self._inference, self._limits, self._bus = inference, limits, bus
        self.gates = gates or Gates(inference.model)
        self.engine = Engine(inference, most=limits.most, deadline_ms=limits.deadline_ms, gates=self.gates)
        self._sessions: set[Session] = set()
        self._turned_away = 0
        self._loaded = asyncio.Event()
        self._loading = "the model is being loaded"
        self._latency = Histogram(
            "cytobus_stream_seconds",
            "From the arrival of a frame to its answer (s)",
            registry=None,
            buckets=SECONDS,
        )
        self._sizes = Histogram(
            "cytobus_stream_batch_frames", "Frames in a batch", registry=None, buckets=(1, 2, 4, 8, 12, 16, 24, 32)
        )
        self.engine.on_batch = self._sizes.observe
        self.desks = (self,)
        self.meters = (self._latency, self._sizes, self, self.gates)

    @property
    def trouble(self) -> str:
        """Why frames wait; empty when all is well."""
        return self._loading or self.engine.trouble

    @property
    def conditions(self) -> Sequence[Gates]:
        """What health tells besides: whether the gates are those of now, where there are any or somebody asks."""
        asked = any(session.opening is not None and session.opening.gates for session in self._sessions)
        return (self.gates,) if asked or self.gates.judge.said.edition else ()

    def routes(self) -> list[BaseRoute]:
        return [
            WebSocketRoute(PATH, self._enter),
            Route("/api/v1/streams", self._list, methods=["GET"]),
            Route("/api/v1/streams/gates", self._list_gates, methods=["GET"]),
        ]

    def operations(self) -> Any:
        """Its routes, described."""
        return operations()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The model is loaded beside: until it is, connections are turned away with what it waits for."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._inference.close)
            await stack.enter_async_context(self.engine.running())
            await stack.enter_async_context(self.gates.running())
            tasks = [asyncio.create_task(self._load(), name="stream model")]
            if self._bus is not None:
                tasks.append(asyncio.create_task(self._follow_bus(), name="stream bus"))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def leave(self) -> None:
        """The ports close: connections end, each with a word."""
        for session in self._sessions:
            session.leave()

    async def ready(self) -> None:
        """Returns when the model is loaded."""
        await self._loaded.wait()

    async def _load(self) -> None:
        while True:
            try:
                await self._inference.ready()
            except Exception as error:
                if not isinstance(error, BackendError):
                    log.exception("the model of the stream cannot be loaded")
                elif self._loading != str(error):
                    log.warning("the stream: %s", error)
                self._loading = str(error)
                await asyncio.sleep(max(AGAIN, error.seconds if isinstance(error, Unavailable) else 10 * AGAIN))
            else:
                # What is here by now stays: looking through all of it for garbage holds every frame up for some 20 ms.
                gc.collect()
                gc.freeze()
                self._loading = ""
                self.gates.seen_by(self._inference.version)
                self._loaded.set()
                return

    async def _follow_bus(self) -> None:
        """From the moment when the model is loaded: until then the bus keeps what comes."""
        assert self._bus is not None
        await self._loaded.wait()
        model = self._inference.model
        async with self._bus.running(self.engine, model.classes, model.side):
            await asyncio.Event().wait()

    async def _enter(self, socket: WebSocket) -> None:
        if len(self._sessions) >= self._limits.connections:
            await self._turn_away(socket, f"{self._limits.connections} instruments are here already: come back later")
        elif self._loading:
            await self._turn_away(socket, self._loading)
        else:
            session = Session(socket, self.engine, self._terms(), self._answered)
            self._sessions.add(session)
            try:
                await session.run()
            finally:
                self._sessions.discard(session)

    async def _turn_away(self, socket: WebSocket, why: str) -> None:
        """As HTTP does, with a word for people: 503."""
        self._turned_away += 1
        response = web.error(why, 503)
        response.headers["Retry-After"] = "1"
        with contextlib.suppress(RuntimeError):  # it has not waited for the answer
            await socket.send_denial_response(response)

    def _terms(self) -> Terms:
        model, limits = self._inference.model, self._limits
        return Terms(
            Welcome(
                window=limits.window,
                model=self._inference.ref.name,
                model_version=self._inference.version,
                classes=model.classes,
                vector=model.vector,
            ),
            model.side,
            int(limits.memory_mb * 1e6 / limits.connections),
            limits.opening_seconds,
            limits.idle_seconds,
        )

    def _answered(self, frames: Sequence[Frame], now: int) -> None:
        for frame in frames:
            if frame.inferred:
                self._latency.observe((now - frame.received) / 1e9)

    async def _list(self, request: Request) -> Response:
        found = [
            StreamInfo.of(session.opening, session.line, self.engine)
            for session in self._sessions
            if session.opening is not None and session.line is not None
        ]
        return web.json([one.model_dump(mode="json", by_alias=True) for one in found])

    async def _list_gates(self, request: Request) -> Response:
        now = self.engine.gates_now() if self._loaded.is_set() else self.gates.judge.said
        return web.json(GatesInfo.of(now, self.gates.counts(), self.gates.trouble), headers=web.NOT_CACHED)

    def collect(self) -> Iterable[Metric]:
        """What is here now, and what became of all frames."""
        frames = CounterMetricFamily("cytobus_stream_frames", "Frames by what became of them", labels=["outcome"])
        for status in Status:
            frames.add_metric([status.name.lower()], self.engine.counts[status])
        yield frames
        paused = sum(line.paused for line in self.engine.lines) + self.engine.paused
        words = "Times that reading waited for room: the instrument sends faster than it is answered, or does not read"
        yield CounterMetricFamily("cytobus_stream_pauses", words, value=paused)
        yield CounterMetricFamily(
            "cytobus_stream_refused_connections", "Instruments that were told to come back", value=self._turned_away
        )
        yield GaugeMetricFamily("cytobus_stream_connections", "Instruments that stream", value=len(self._sessions))
        yield GaugeMetricFamily("cytobus_stream_waiting", "Frames in no batch yet", value=self.engine.waiting)
        unanswered = sum(len(line.lane.frames) for line in self.engine.lines)
        yield GaugeMetricFamily("cytobus_stream_unanswered", "Frames without an answer", value=unanswered)
