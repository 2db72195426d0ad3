"""Brings the cells of finished jobs into the index and onto the map."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from contracts.desk import Desk
from contracts.errors import AppError, BadRequest, Gone, Unavailable
from contracts.gates import Action, Rule, decide
from contracts.models import Files, Job, OutputFile, State
from contracts.ports import Delivery, JobQuery, Jobs
from gateway.cell_map.charts import Charts, NoCharts
from gateway.cell_map.places import NOVELTY
from gateway.cell_map.points import Source
from gateway.cell_map.rules import KEPT
from gateway.cell_map.store import Decided, MapStore
from gateway.cell_map.table import SUFFIX, BadTable, Table, read_table
from gateway.cells.rules import normalised
from gateway.cells.said import MODEL, MOST_CELLS, NewCell, NewCells
from gateway.files import GatewayFiles, archived_path, output_path

log = logging.getLogger(__name__)
PIPELINE = "cells"
PAGE = 200
"""Jobs that one look asks for."""
OVERLAP = 60 * 10**9
"""ns by which a look goes back: of jobs that changed at the same time some may have been seen later than others."""
Keep = Callable[[NewCells, Any], Awaitable[list[int]]]
"""Keeps cells and their vectors (n, dimension) in the index; their ids. Telling them again changes nothing."""


async def _nowhere(_cells: NewCells, _vectors: Any) -> list[int]:
    raise Unavailable("there is no index of cells yet")


def _nobody() -> None:
    """Nobody is told."""


class Ingest:
    """Each job's table is read once; a job that was run again has another one, which takes the place of the first.

    Announcements wake it; what they leave out is found by looking through the jobs that have changed since the last
    look, and at the start through all. A table that is damaged is noted with its reason, and no other waits for it.
    """

    def __init__(self, jobs: Jobs, files: GatewayFiles, store: MapStore, charts: Charts | None = None) -> None:
        """``charts``: maps that are newer than those by which tables tell places."""
        self._jobs, self._files, self._store = jobs, files, store
        self._charts = charts or NoCharts()
        self._keep: Keep = _nowhere
        self._added: Callable[[], None] = _nobody
        self._stale: Callable[[], None] = _nobody
        self.desk = Desk("cells", self._look, self._handle, lambda job: job.id, slots=2)
        self._done: dict[str, str] | None = None
        self._waiting: dict[str, Job] = {}
        self._since, self._newest = 0, 0
        self._after: int | None = None

    def into(self, keep: Keep, added: Callable[[], None], stale: Callable[[], None] = _nobody) -> None:
        """Where cells go; ``added`` is called when there is something new in the database, ``stale`` when it lies by an
        older map."""
        self._keep, self._added, self._stale = keep, added, stale

    def running(self) -> AbstractAsyncContextManager[None]:
        """Works while the context is open."""
        return self.desk.running()

    async def wake(self, _delivery: Delivery) -> None:
        """A job was announced."""
        self.desk.wake()

    async def _look(self, many: int) -> Sequence[Job]:
        if self._done is None:
            self._done = await self._store.digests()
        while len(self._waiting) < many and await self._page():
            pass
        return list(self._waiting.values())[:many]

    async def _page(self) -> bool:
        """One page further; whether there may be more. At the end the next look begins at what has changed since."""
        page = await self._jobs.find(
            JobQuery(
                states=(State.COMPLETE,),
                pipeline=PIPELINE,
                updated_since=self._since or None,
                newest_first=False,
                after=self._after,
                limit=PAGE,
            )
        )
        for job in page.jobs:
            self._newest = max(self._newest, job.last_updated)
            output = table_of(job)
            if output is not None and self._known().get(job.id) != _digest(output):
                self._waiting[job.id] = job
        self._after = page.next
        if page.next is None:
            self._since = max(self._since, self._newest - OVERLAP)
        return page.next is not None

    def _known(self) -> dict[str, str]:
        return self._done if self._done is not None else {}

    async def _handle(self, job: Job) -> None:
        output = table_of(job)
        if output is None:
            return
        try:
            await self._bring(job, output)
        except (BadTable, BadRequest, Gone) as error:  # it will not become better by itself
            await self._store.tell_trouble(job.id, _digest(output), str(error))
        self._known()[job.id] = _digest(output)
        self._waiting.pop(job.id, None)
        self._added()

    async def _bring(self, job: Job, output: OutputFile) -> None:
        if job.files is not Files.HERE:
            raise Gone(f"{output.name}: retention has removed it (gateway.retention): submit the image again")
        path = place_of(job, output, self._files)
        try:
            table = await asyncio.to_thread(read_table, path)
        except OSError as error:
            raise Unavailable(f"{path.name} cannot be read: {error.strerror or error}") from None
        if table is None:
            await self._store.tell_trouble(job.id, _digest(output), "")
            return
        try:
            ids = await self._ids(job, table)
        except BadRequest as error:
            raise BadTable(f"{path.name}: {error}") from None
        try:
            placed, version = await asyncio.to_thread(self._placed, table)
        except AppError as error:  # no cell waits for a map: it is moved there later
            log.warning("%s lies on the map as its table says: %s", path.name, error)
            placed, version = table, 0
        source = replace(_source(job, placed, ids), map=version)
        gates = await self._store.rules()
        decided = await asyncio.to_thread(decisions, gates, placed)
        await self._store.put(source, _digest(output), str(path.relative_to(self._files.root.resolve())), decided)
        if await asyncio.to_thread(self._charts.version, table.model) != version:  # there is a new one meanwhile
            self._stale()

    def _placed(self, table: Table) -> tuple[Table, int]:
        """Its cells as the newest map has them, and that map's version."""
        charted = self._charts.placed(table.model, normalised(table.vectors))
        if charted is None:
            return table, 0
        features = table.features.copy()
        if NOVELTY in table.names:
            features[table.names.index(NOVELTY)] = charted.novelty
        x, y = charted.places.T.astype(np.float32)
        return replace(table, x=x, y=y, features=features), charted.version

    async def _ids(self, job: Job, table: Table) -> list[int]:
        """Some thousand at a time."""
        found: list[int] = []
        for start in range(0, len(table.numbers), MOST_CELLS):
            here = slice(start, start + MOST_CELLS)
            found += await self._keep(new_cells(job, table, here), normalised(table.vectors[here]))
        return found


def table_of(job: Job) -> OutputFile | None:
    """The output in which a job's cells are, if there is one."""
    outputs = job.pipeline_details.output_files or ()
    return next((one for one in outputs if one.name.endswith(SUFFIX)), None)


def place_of(job: Job, output: OutputFile, files: GatewayFiles) -> Path:
    """Where it lies, below the gateway's files. Raises ``BadRequest`` for any other place."""
    return archived_path(output, files.archive) if output.archive_name else output_path(output, (files.root,))


def _digest(output: OutputFile) -> str:
    return output.sha256 or f"{output.archive_name} {output.size}"


def new_cells(job: Job, table: Table, here: slice) -> NewCells:
    """What the index is told of some cells."""
    if not _is_model(table.model):
        raise BadTable(
            f"the table of cells names the model {table.model[:100]!r}: give it a version of letters and digits"
        )
    y, x = (_feature(table, f"centroid_{axis}")[here] for axis in "yx")
    cells = [
        NewCell.model_construct(
            number=int(number), vector=[], class_=table.classes[code], x=float(one_x), y=float(one_y)
        )
        for number, code, one_x, one_y in zip(table.numbers[here], table.codes[here], x, y, strict=True)
    ]
    return NewCells.model_construct(
        model=table.model, job=job.id, instrument=job.origin_host, at=job.created, cells=cells, vectors=""
    )


def _is_model(name: str) -> bool:
    return re.fullmatch(MODEL.strip("^$"), name) is not None


def _feature(table: Table, name: str) -> Any:
    found = table.features[table.names.index(name)] if name in table.names else np.zeros(len(table.numbers), np.float32)
    return np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


def _source(job: Job, table: Table, ids: Sequence[int]) -> Source:
    cells = np.zeros(len(ids), KEPT)
    for name, column in (("id", ids), ("number", table.numbers), ("code", table.codes), ("x", table.x), ("y", table.y)):
        cells[name] = column
    return Source(
        0, job.id, table.model, job.origin_host, job.created, table.classes, table.names, cells, table.features
    )


def decisions(gates: Mapping[str, Rule], table: Table) -> list[Decided]:
    """What each gate says of the cells of a table, and how long that took."""
    rows: Mapping[str, Any] = dict(zip(table.names, table.features.tolist(), strict=True))
    found: list[Decided] = []
    for gate, rule in gates.items():
        asked = [one.feature for one in rule.bounds if one.feature in rows]
        start, rejected, accepted = time.perf_counter_ns(), [], 0
        for at, (number, code) in enumerate(zip(table.numbers.tolist(), table.codes.tolist(), strict=True)):
            features = {name: rows[name][at] for name in asked}
            place = float(table.x[at]), float(table.y[at])
            verdict = decide(rule, table.model, *place, table.classes[code], features)
            if verdict is None:
                break
            if verdict is Action.REJECT:
                rejected.append(number)
            else:
                accepted += 1
        else:
            took = time.perf_counter_ns() - start
            found.append(Decided(gate, accepted, np.array(rejected, np.int64), took))
    return found
