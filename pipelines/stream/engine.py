"""Collects the frames of all connections into batches, asks the model, and gives each its answer."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from contracts.stream import Drop, GateList, Status
from contracts.stream_decisions import DECIDED
from pipelines.backends.errors import BackendError, Unavailable
from pipelines.stream.correct import Corrections
from pipelines.stream.gates import Gates
from pipelines.stream.inference import Groups, Then
from pipelines.stream.judge import Judge, Judged
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
    version: str

    async def ask(self, groups: Groups, then: Then | None = None) -> Findings: ...


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
    gates: bool = False
    """Whether the source wants to know what gates say."""
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

    def __init__(
        self, inference: Asked, *, most: int = 32, deadline_ms: float = 4.0, gates: Gates | None = None
    ) -> None:
        """A batch holds ``most`` frames, and its first waits ``deadline_ms`` for the others. Without ``gates`` nothing
        is ever decided."""
        self._inference, self._gates = inference, gates
        if gates is not None:
            gates.on_change = self._gates_changed
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
    async def line(
        self, window: int, corrections: Corrections, drop: Drop, name: str, gates: bool = False
    ) -> AsyncIterator[Line]:
        """A source of frames, while the context is open."""
        mine = Line(Lane(window, drop), corrections, name, gates)
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
            task = asyncio.create_task(self._deal_with(batch, self._judge_of(batch)), name="stream batch")
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

    def _judge_of(self, batch: list[Waiting]) -> Judge | None:
        """Who judges a batch; nobody, where there is no gate and no source wants to know."""
        judge = self._gates.seen_by(self._inference.version) if self._gates is not None else None
        return judge if judge is not None and (judge.gates or any(line.gates for line, _ in batch)) else None

    def gates_now(self) -> GateList:
        """By which frames that come now will be judged."""
        return self._gates.seen_by(self._inference.version).said if self._gates is not None else GateList()

    def _gates_changed(self) -> None:
        for line in self.lines:
            if line.gates:
                line.changed.set()
                self.tell_of_gates(line)

    def tell_of_gates(self, line: Line) -> None:
        """What is wrong with them, to a source that asked for decisions."""
        if line.gates and self._gates is not None and self._gates.trouble:
            line.tell(self._gates.trouble)

    async def _deal_with(self, batch: list[Waiting], judge: Judge | None) -> None:
        self.batches += 1
        self.on_batch(len(batch))
        # Frames of one connection are of one kind; the order in a batch does not matter, that on a line is the lane's.
        by_line: dict[Line, list[Frame]] = {}
        for line, frame in batch:
            by_line.setdefault(line, []).append(frame)
        frames = [frame for group in by_line.values() for frame in group]
        try:
            findings = await self._asked(by_line, judge)
            self._answer(by_line, frames, findings)
            if judge is not None and findings.judged is not None:
                self._decided(by_line, frames, judge, findings.judged)
            self._settle(by_line, dict(zip(map(id, frames), findings.sound.tolist(), strict=True)))
        except Exception as error:
            if not isinstance(error, BackendError):
                log.exception("the model of the stream fails")
            self._fail(by_line, f"{len(frames)} frames could not be classified: {error}")
        for line in by_line:
            line.changed.set()

    async def _asked(self, by_line: dict[Line, list[Frame]], judge: Judge | None) -> Findings:
        """Frames wait, and so do their instruments, while the place is away."""
        groups = [(line.corrections, [frame.pixels for frame in group]) for line, group in by_line.items()]
        then = None if judge is None or self._gates is None else partial(self._gates.judged, judge, clock=stamp)
        while True:
            try:
                findings = await self._inference.ask(lambda: _corrected(groups), then)
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
        now = findings.judged.inferred if findings.judged is not None else stamp()
        sound = findings.sound
        labels, probabilities = findings.labels.tolist(), findings.probabilities.tolist()
        vectors = findings.vectors.astype("<f4")
        for at, frame in enumerate(frames):
            frame.inferred = now
            if sound[at]:
                frame.label, frame.probability, frame.vector = labels[at], probabilities[at], vectors[at].tobytes()
        if not sound.all():
            for line in by_line:
                line.tell("the model gave NaN or infinity for some frames; its precision is too low, or it is damaged")

    def _decided(self, by_line: dict[Line, list[Frame]], frames: list[Frame], judge: Judge, judged: Judged) -> None:
        assert self._gates is not None
        self._gates.count(judge, judged)
        size = DECIDED.size
        wanted = {id(frame) for line, group in by_line.items() if line.gates for frame in group}
        for at, frame in enumerate(frames):
            if id(frame) in wanted:
                frame.decision, frame.gates = judged.decisions[at], judge.said
                frame.judged = judged.rows[at * size : (at + 1) * size]

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
