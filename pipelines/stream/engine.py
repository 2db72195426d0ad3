"""Collects the frames of all connections into batches, asks the model, and gives each its answer."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.stream import Drop, Status
from pipelines.backends.errors import BackendError, Unavailable
from pipelines.stream.correct import Corrections
from pipelines.stream.inference import Groups
from pipelines.stream.port import Findings
from pipelines.stream.rules import Batcher, Frame, Lane

log = logging.getLogger(__name__)
AGAIN = 1.0
"""Seconds after which a place that is away is asked again, unless it says more."""
MOST_NOTICES = 20
"""So many words for people wait for an instrument that does not read; later ones are left out."""


class Asked(Protocol):
    """What the engine needs of an inference."""

    at_once: int

    async def ask(self, groups: Groups) -> Findings: ...


def stamp() -> int:
    """ns since 1970 that never go back while the process lives."""
    return _START + time.monotonic_ns()


_START = time.time_ns() - time.monotonic_ns()


@dataclass(eq=False)
class Line:
    """One source of frames: its lane, its corrections, and what wakes it."""

    lane: Lane
    corrections: Corrections
    name: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Something is to be said to the source."""
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """More may be read, or the line is gone."""
    notices: deque[tuple[str, int | None]] = field(default_factory=deque)
    gone: bool = False
    paused: int = 0
    """So many times reading had to wait for room."""

    def tell(self, text: str, number: int | None = None) -> None:
        """Words for a person."""
        if len(self.notices) < MOST_NOTICES:
            self.notices.append((text, number))
            self.changed.set()

    def leave(self) -> None:
        """Nobody waits for answers any more."""
        self.gone = True
        self.changed.set()
        self.room.set()


Waiting = tuple[Line, Frame]


class Engine:
    """One for a model. What waits in it is bounded by the windows of its lines."""

    name = "stream"

    def __init__(self, inference: Asked, *, most: int = 32, deadline_ms: float = 4.0) -> None:
        """A batch holds ``most`` frames, and its first waits ``deadline_ms`` for the others."""
        self._inference = inference
        self._batcher: Batcher[Waiting] = Batcher(most, int(deadline_ms * 1e6))
        self._free = asyncio.Semaphore(inference.at_once)
        self._news = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self.lines: set[Line] = set()
        self.trouble = ""
        """Why frames wait; empty when all is well."""
        self.counts = Counter[Status]()
        self.batches = 0
        self.paused = 0
        """Times that lines which are no more had to wait for room."""
        self.on_batch: Callable[[int], None] = lambda size: None

    @property
    def waiting(self) -> int:
        """Frames that are in no batch yet."""
        return len(self._batcher)

    @asynccontextmanager
    async def line(self, window: int, corrections: Corrections, drop: Drop, name: str) -> AsyncIterator[Line]:
        """A source of frames, while the context is open."""
        mine = Line(Lane(window, drop), corrections, name)
        self.lines.add(mine)
        try:
            yield mine
        finally:
            mine.leave()
            self.lines.discard(mine)
            self.paused += mine.paused

    def submit(self, line: Line, number: int, pixels: memoryview | bytes) -> None:
        """A frame has come; its lane must not be full."""
        now = stamp()
        frame = Frame(number, pixels, now)
        dropped = line.lane.take(frame)
        if dropped is not None:
            self.counts[Status.DROPPED] += 1
            line.changed.set()
            if dropped is frame:
                return
            self._batcher.discard(lambda waiting: waiting[1] is dropped)
        first = not self._batcher
        if self._batcher.add((line, frame), now) or first:
            self._news.set()

    def refuse(self, line: Line, number: int, why: str) -> None:
        """Something has come that is no frame."""
        line.lane.refuse(Frame(number, b"", stamp()))
        self.counts[Status.REFUSED] += 1
        line.tell(why, number)
        line.changed.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Batches are made while the context is open."""
        making = asyncio.create_task(self._make(), name="stream batches")
        try:
            yield
        finally:
            tasks = [making, *self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self) -> None:
        while True:
            await self._due()
            await self._free.acquire()
            # Not before: while all places are taken a batch goes on growing.
            batch = [(line, frame) for line, frame in self._batcher.batch() if frame.status is None and not line.gone]
            if not batch:
                self._free.release()
                continue
            now = stamp()
            for _, frame in batch:
                frame.batched = now
            task = asyncio.create_task(self._deal_with(batch), name="stream batch")
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._free.release()

    async def _due(self) -> None:
        while (wait := self._batcher.wait(stamp())) != 0:
            self._news.clear()
            try:
                async with asyncio.timeout(None if wait is None else wait / 1e9):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _deal_with(self, batch: list[Waiting]) -> None:
        self.batches += 1
        self.on_batch(len(batch))
        # Frames of one connection are of one kind; the order in a batch does not matter, that on a line is the lane's.
        by_line: dict[Line, list[Frame]] = {}
        for line, frame in batch:
            by_line.setdefault(line, []).append(frame)
        frames = [frame for group in by_line.values() for frame in group]
        try:
            findings = await self._asked(by_line)
            self._answer(by_line, frames, findings)
        except Exception as error:
            if not isinstance(error, BackendError):
                log.exception("the model of the stream fails")
            self._fail(by_line, f"{len(frames)} frames could not be classified: {error}")
        for line in by_line:
            line.changed.set()

    async def _asked(self, by_line: dict[Line, list[Frame]]) -> Findings:
        """Frames wait, and so do their instruments, while the place is away."""
        groups = [(line.corrections, [frame.pixels for frame in group]) for line, group in by_line.items()]
        while True:
            try:
                findings = await self._inference.ask(lambda: _corrected(groups))
            except Unavailable as error:
                if all(line.gone for line in by_line):
                    raise
                self._troubled(str(error))
                await asyncio.sleep(max(AGAIN, error.seconds))
            else:
                self._troubled("")
                return findings

    def _troubled(self, why: str) -> None:
        if why and why != self.trouble:
            log.warning("the stream %s", why)
            for line in self.lines:
                line.tell(why)
        self.trouble = why

    def _answer(self, by_line: dict[Line, list[Frame]], frames: list[Frame], findings: Findings) -> None:
        now = stamp()
        sound = np.isfinite(findings.probabilities) & np.isfinite(findings.vectors).all(axis=1)
        labels, probabilities = findings.labels.tolist(), findings.probabilities.tolist()
        vectors = findings.vectors.astype("<f4")
        for at, frame in enumerate(frames):
            frame.inferred = now
            if sound[at]:
                frame.label, frame.probability, frame.vector = labels[at], probabilities[at], vectors[at].tobytes()
        if not sound.all():
            for line in by_line:
                line.tell("the model gave NaN or infinity for some frames; its precision is too low, or it is damaged")
        self._settle(by_line, dict(zip(map(id, frames), sound.tolist(), strict=True)))

    def _fail(self, by_line: dict[Line, list[Frame]], why: str) -> None:
        for line in by_line:
            line.tell(why)
        self._settle(by_line, {})

    def _settle(self, by_line: dict[Line, list[Frame]], sound: dict[int, bool]) -> None:
        for line, group in by_line.items():
            for frame in group:
                status = Status.CLASSIFIED if sound.get(id(frame)) else Status.FAILED
                line.lane.answer(frame, status)
                self.counts[status] += 1


def _corrected(groups: Sequence[tuple[Corrections, list[memoryview | bytes]]]) -> list[NDArray[Any]]:
    return [corrections(corrections.frames(pixels)) for corrections, pixels in groups]
