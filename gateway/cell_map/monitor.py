"""Watches whether new cells still fall on the map, has it fitted anew when they do not, and moves the cells."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from contracts.errors import AppError, NotFound
from contracts.gates import Rule
from gateway.cell_map.charts import Charts, Drift
from gateway.cell_map.places import NOVELTY, Move, Places
from gateway.cell_map.points import Points
from gateway.cell_map.rules import Floats
from gateway.cell_map.said import OffMap
from gateway.cell_map.store import MapStore

log = logging.getLogger(__name__)
WINDOW = 5000
"""The newest cells of a model, by which it is judged."""
OLDER = 5000
"""So many of those before are in a new map too, at random."""
AT_ONCE = 100
"""Jobs whose cells are moved together."""
TICK = 5.0
"""Seconds between two looks at how many cells have come."""
Vectors = Callable[[str, Any], tuple[Floats, Any]]
"""The vectors of cells of a model by their ids (n), as the index keeps them, and which of them it knows (n). Blocks."""
Moved = Callable[[Sequence[Move]], Awaitable[None]]
"""Is told of cells that have new places in the database."""


async def _untold(_moves: Sequence[Move]) -> None:
    """Nobody is told."""


class Monitor:
    """Looks after ``every`` new cells (0: never). What it knows is only of the cells themselves: after a crash it looks
    again, and goes on moving those that still lie by an old map."""

    name = "map-drift"

    def __init__(
        self,
        charts: Charts,
        points: Points,
        store: MapStore,
        places: Places,
        *,
        every: int = 200,
        refit: bool = True,
        tick: float = TICK,
    ) -> None:
        self._charts, self._points, self._store, self._places = charts, points, store, places
        self._every, self._refit, self._tick = every, refit, tick
        self._vectors: Vectors | None = None
        self._moved: Moved = _untold
        self._looked, self._broken, self._settled = 0, "", False
        self._tried: dict[str, int] = {}
        self._stopping = asyncio.Event()
        self.drifts: dict[str, Drift] = {}
        """What was seen last, by model."""
        self.why: dict[str, str] = {}
        """Why a map that no longer fits stays as it is, or nothing could be measured, by model."""
        self.maps: dict[str, int] = {}
        """By which map all stored cells of a model lie, where one was fitted here."""

    def over(self, vectors: Vectors, moved: Moved) -> None:
        """Where vectors are, and who shows places."""
        self._vectors, self._moved = vectors, moved

    @property
    def trouble(self) -> str:
        """For people, who should see to it; empty when all maps fit. It keeps nobody from their work."""
        found = [
            f"{one.far} of the last {one.seen} cells of model {model} lie off the map: {self.why.get(model, '')}"
            for model, one in sorted(self.drifts.items())
            if one.drifted
        ]
        return "; ".join(filter(None, [self._broken, *found]))

    async def map_of(self, rule: Rule) -> int:
        """The version of the map by which a rule goes; 0: that which came with the model, or it goes by none."""
        models = [rule.model] if rule.model else list(self._points.names["model"].all)
        if not rule.polygon and NOVELTY not in (bound.feature for bound in rule.bounds):
            return 0
        return max([await asyncio.to_thread(self._charts.version, model) for model in models], default=0)

    def told(self) -> list[OffMap]:
        """For the page."""
        return [
            OffMap(Model=model, Far=one.far, Seen=one.seen, Drifted=one.drifted, Why=self.why.get(model, ""))
            for model, one in sorted(self.drifts.items())
        ]

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        shares = [one.far / max(1, one.seen) for one in self.drifts.values()]
        words = "Of the newest cells of a model, the share that lies off its map; of the model with most"
        yield GaugeMetricFamily("cytobus_cells_off_map", words, value=max(shares, default=0.0))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks while the context is open; a refit that is under way is ended with it."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            self._stopping.set()
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._settled:
                    await self.settle()
                if self._every and self._points.came - self._looked >= self._every:
                    self._looked = self._points.came
                    await self.look()
                self._broken = ""
            except Exception as error:  # of the database, or of a map that is damaged; the next look may do
                if str(error) != self._broken:
                    log.warning("the map is not looked after: %s", error, exc_info=not isinstance(error, AppError))
                self._broken = str(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tick):
                    await self._stopping.wait()

    async def look(self) -> None:
        """At the newest cells of each model."""
        for model in list(self._points.names["model"].all):
            try:
                await self._look(model)
            except AppError as error:
                self.why[model] = str(error)

    async def _look(self, model: str) -> None:
        ids = await asyncio.to_thread(self._points.newest, model)
        told = await self._measured(model, ids[-WINDOW:])
        if told is None or not told.drifted:
            self.why.pop(model, None)
            return
        if held := await self._held(model):
            self.why[model] = held
            return
        if self._points.came < self._tried.get(model, 0):
            return
        self._tried[model] = self._points.came + WINDOW
        self.why[model] = "it is being fitted anew"
        log.info("the map of model %s is fitted anew: %d of %d new cells lie off it", model, told.far, told.seen)
        older = ids[:-WINDOW]
        some = np.random.default_rng(len(ids)).permutation(len(older))[:OLDER]
        vectors = await self._kept(model, np.sort(np.concatenate([older[some], ids[-WINDOW:]])))
        await self._charts.refit(model, vectors)
        self.why.pop(model, None)
        await self.settle()
        await self._measured(model, ids[-WINDOW:])

    async def _held(self, model: str) -> str:
        """Why the map is not fitted anew by itself; empty: it may be. A gate that decides about cells is not
        to be shifted by a machine."""
        if not self._refit:
            return "gateway.cells.refit is off; cytobus cells refit makes a new one"
        for gate in await self._store.gates():
            if gate.rule.polygon and gate.rule.model in ("", model):
                return f"it stays as it is while the gate {gate.name} is drawn on it: delete that, and draw it anew"
        return ""

    async def _measured(self, model: str, ids: Any) -> Drift | None:
        vectors = await self._kept(model, ids)
        told = await asyncio.to_thread(self._charts.drift, model, vectors) if len(vectors) else None
        if told is None:
            self.drifts.pop(model, None)
        else:
            self.drifts[model] = told
        return told

    async def _kept(self, model: str, ids: Any) -> Floats:
        if self._vectors is None or not len(ids):
            return np.zeros((0, 1), np.float32)
        try:
            vectors, known = await asyncio.to_thread(self._vectors, model, ids)
        except NotFound:
            return np.zeros((0, 1), np.float32)
        found: Floats = vectors[known]
        return found

    def unsettle(self) -> None:
        """Cells have come that lie by an older map."""
        self._settled = False

    async def settle(self) -> None:
        """Bring cells that lie by an older map to where the newest has them, some jobs at a time."""
        self._settled = True
        try:
            await self._move_all()
        except Exception:
            self._settled = False
            raise

    async def _move_all(self) -> None:
        lying = await self._places.maps()
        models = {model for _, model, _ in lying}
        versions = {model: await asyncio.to_thread(self._charts.version, model) for model in models}
        stale = [(job, model) for job, model, version in lying if version != versions[model]]
        for start in range(0, len(stale), AT_ONCE):
            moves = [await self._move(job, model) for job, model in stale[start : start + AT_ONCE]]
            known = [one for one in moves if one is not None]
            await self._places.move(known)
            await self._moved(known)
        self.maps = {model: version for model, version in versions.items() if version}

    async def _move(self, job: str, model: str) -> Move | None:
        ids = await self._places.ids(job)
        if self._vectors is None or not len(ids):
            return None
        vectors, known = await asyncio.to_thread(self._vectors, model, ids)
        charted = await asyncio.to_thread(self._charts.placed, model, vectors[known])
        return Move(job, ids[known], charted) if charted else None
