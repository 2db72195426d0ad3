"""Follows the gates that hold at the gateway, so that frames are decided by those of now."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from contracts.errors import AppError
from contracts.gates import CHANGED, Gate
from contracts.ports import Bus, Delivery
from contracts.stream_decisions import Decision
from pipelines.stream.judge import Judge, Judged, Known
from pipelines.stream.port import Findings, OnMap, StreamModel

log = logging.getLogger(__name__)
PATIENCE = 10.0
"""Seconds that one answer of the gateway is waited for."""
SECONDS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1)
"""Upper bounds of the histogram of the time that decisions take (s)."""


class Source(Protocol):
    """Where gates are kept."""

    async def gates(self) -> tuple[list[Gate], dict[str, str]]:
        """All that are understood; of the others the names, and why not. Raises ``AppError``."""
        ...


class Gates:
    """The gates of now, or the last that were known while the gateway is away: then ``trouble`` says so.

    They are read every few seconds, and at once when a change is announced on the bus. Each other set of them is an
    edition of its own; a batch is decided by one edition, which is chosen when the batch is made, so that on each
    connection editions only go up.
    """

    name = "gates"

    def __init__(
        self,
        model: StreamModel,
        source: Source | None = None,
        bus: Bus | None = None,
        *,
        every: float = 5.0,
        group: str = "stream-gates",
    ) -> None:
        """Without a ``source`` none are ever known. ``every``: seconds between two looks; ``group``: of this process
        alone on the ``bus``, as each has to hear of a change."""
        self._model, self._source, self._bus, self._every, self._group = model, source, bus, every, group
        self._map = model if isinstance(model, OnMap) else None
        self._held: list[Gate] = []
        self._strange: dict[str, str] = {}
        self._wake, self._met = asyncio.Event(), asyncio.Event()
        self._away = "they have not been read yet" if source is not None else "this stream is told not to follow them"
        self.judge = Judge(self._known(""))
        self.on_change: Callable[[], None] = lambda: None
        """Called after another edition, and after another trouble, has come."""
        self.decisions = Counter[Decision]()
        self._by_gate = Counter[tuple[str, Decision]]()
        self.seconds = Histogram(
            "cytobus_stream_gate_seconds",
            "From the inference of a batch to what the gates decide of it (s)",
            registry=None,
            buckets=SECONDS,
        )

    @property
    def trouble(self) -> str:
        """Why the gates may not be those of now; empty when all is well."""
        if not self._away:
            return ""
        if self.judge.said.edition:
            return f"gates that were changed lately are not known, earlier ones go on to decide: {self._away}"
        return f"no gates are known yet, frames are answered without a decision: {self._away}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows them while the context is open."""
        if self._source is None:
            yield
            return
        following = asyncio.create_task(self._follow(self._source), name="stream gates")
        try:
            async with AsyncExitStack() as stack:
                if self._bus is not None:
                    await stack.enter_async_context(self._bus.subscribe(self._group, {CHANGED: self._hear}))
                yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _hear(self, _delivery: Delivery) -> None:
        self._wake.set()

    async def _follow(self, source: Source) -> None:
        await self._met.wait()
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    held, strange = await source.gates()
            except TimeoutError:
                self._miss(f"the gateway does not answer within {PATIENCE:g} s")
            except AppError as error:
                self._miss(str(error))
            except Exception as error:  # whatever it is, earlier gates go on
                log.exception("the gates cannot be read")
                self._miss(str(error) or type(error).__name__)
            else:
                self._take(held, strange)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._wake.wait()

    def _miss(self, why: str) -> None:
        if why != self._away:
            self._away = why
            log.warning("the stream: %s", self.trouble)
            self.on_change()

    def _take(self, held: list[Gate], strange: dict[str, str]) -> None:
        if self._away:
            log.info("the stream: the gates are read")
        was, self._away = self._away, ""
        if (held, strange) != (self._held, self._strange) or not self.judge.said.edition:
            self._held, self._strange = held, strange
            self._judge_by(self.judge.known)
        elif was:
            self.on_change()

    def _judge_by(self, known: Known) -> None:
        before = set(self.judge.gates)
        self.judge = Judge(known, self.judge.said.edition + 1, self._held, self._strange)
        same = {gate.name for gate in self.judge.gates if gate in before}
        self._by_gate = Counter({key: count for key, count in self._by_gate.items() if key[0] in same})
        self.on_change()

    def seen_by(self, version: str) -> Judge:
        """The gates of now for frames that a version of the model will see. They are not read before somebody asks."""
        self._met.set()
        known = self._known(version)
        if known != self.judge.known:
            if self.judge.said.edition:
                self._judge_by(known)
            else:
                self.judge = Judge(known)
        return self.judge

    def _known(self, version: str) -> Known:
        model = self._model
        if self._map is not None:
            mine = version == self._map.map_of
            return Known(version, model.classes, mine, self._map.measures if mine else ())
        return Known(f"{model.name}/{version}", model.classes)

    def judged(self, judge: Judge, findings: Findings, version: str, clock: Callable[[], int]) -> Judged | None:
        """What a judge says; None where it fails, as a frame's class must not be lost by that. For threads, too."""
        try:
            return judge(findings, self._known(version).model, clock)
        except Exception:
            log.exception("gates of edition %d fail: nothing is decided", judge.said.edition)
            return None

    def count(self, judge: Judge, judged: Judged) -> None:
        """Frames were decided."""
        self.seconds.observe((judged.decided - judged.inferred) / 1e9)
        self.decisions.update(map(Decision, judged.decisions))
        for name, accepted, rejected in zip(judge.said.names, judged.accepted, judged.rejected, strict=True):
            if name in self.judge.said.names:
                self._by_gate[name, Decision.ACCEPT] += accepted
                self._by_gate[name, Decision.REJECT] += rejected

    def counts(self) -> Mapping[tuple[str, Decision], int]:
        """Frames by gate, of those that hold, and what it decided."""
        return self._by_gate

    def collect(self) -> Iterable[Metric]:
        """What was decided, and how well the gates are known."""
        yield from self.seconds.collect()
        words = "Frames by what all gates together decided of them"
        together = CounterMetricFamily("cytobus_stream_decisions", words, labels=["decision"])
        for decision in Decision:
            together.add_metric([decision.name.lower()], self.decisions[decision])
        yield together
        each = CounterMetricFamily(
            "cytobus_stream_gate_frames", "Frames by gate and its decision", labels=["gate", "decision"]
        )
        for (name, decision), count in self._by_gate.items():
            each.add_metric([name, decision.name.lower()], count)
        yield each
        said, held = self.judge.said, GaugeMetricFamily("cytobus_stream_gates", "Gates that hold", labels=["applied"])
        held.add_metric(["yes"], len(said.names))
        held.add_metric(["no"], len(said.not_applied))
        yield held
        words = "1: the gateway cannot tell which gates hold; earlier ones decide, or none"
        yield GaugeMetricFamily("cytobus_stream_gates_away", words, value=bool(self._away and self._source))
