"""The routes of the map, served beside the cell index, and what runs behind them."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import AppError, BadRequest
from contracts.events import jobs_in
from contracts.gates import CHANGED
from contracts.gojson import without_nul
from contracts.models import State
from contracts.openapi import Operations
from contracts.ports import Bus
from gateway.asked import read
from gateway.cell_map.asked import chunk_of, ids_in, whole
from gateway.cell_map.crops import Sheets
from gateway.cell_map.export import as_csv, as_parquet
from gateway.cell_map.ingest import Ingest
from gateway.cell_map.monitor import Monitor
from gateway.cell_map.places import Move, joined
from gateway.cell_map.points import Points, Wanted
from gateway.cell_map.rules import histogram, packed, spread
from gateway.cell_map.said import INT64, About, AskedSelection, Bars, Export, Gate, Group, NewGate, NewGroup, Selected
from gateway.cell_map.store import MapStore
from gateway.files import GatewayFiles

log = logging.getLogger(__name__)
LOOK = 0.2
"""Seconds between two looks while somebody waits: another process may have put cells on the map."""
EVERY = 2.0
"""Seconds between two looks while nobody does."""
ANNOUNCED = 2.0
"""Seconds that an announcement may take while who made a gate waits."""
LARGEST = 2**22
"""Bytes of a selection."""
MOST_EXPORTED = 1_000_000
BINARY = "application/octet-stream"


class MapRoutes:
    """Shows what the database holds; ``points`` are the newest of it, in memory."""

    def __init__(
        self,
        store: MapStore,
        points: Points,
        files: GatewayFiles,
        ingest: Ingest,
        bus: Bus,
        monitor: Monitor | None = None,
    ) -> None:
        self._store, self._points, self._files, self._ingest, self._bus = store, points, files, ingest, bus
        self._sheets, self._turn = Sheets(), asyncio.Lock()
        self._news, self._stopping, self._loading = asyncio.Event(), False, True
        self._seen = 0
        self._monitor = monitor
        self.desks, self.conditions = (ingest.desk,), (monitor,) if monitor else ()
        self.meters = (monitor,) if monitor else ()

    def added(self) -> None:
        """There is something new in the database."""
        self._news.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reads what there is, and follows what comes."""
        following = asyncio.create_task(self._follow())
        try:
            wakes = {jobs_in(State.COMPLETE): self._ingest.wake}
            async with AsyncExitStack() as stack:
                if self._monitor is not None:
                    await stack.enter_async_context(self._monitor.running())
                await stack.enter_async_context(self._ingest.running())
                await stack.enter_async_context(self._bus.subscribe("cell-map", wakes))
                yield
        finally:
            self.leave()
            await following

    def leave(self) -> None:
        """Who waits is answered."""
        self._stopping = True
        self._news.set()

    async def forget(self, by_job: Mapping[str, Sequence[int]]) -> None:
        """These cells are on the map no more."""
        for job, ids in by_job.items():
            await self._store.forget(job, ids)
            await asyncio.to_thread(self._points.remove_cells, np.array(ids, np.float64))

    async def moved(self, moves: Sequence[Move]) -> None:
        """Cells lie elsewhere now. Not while rows are read that may say otherwise."""
        async with self._turn:
            if moves:
                await asyncio.to_thread(self._points.move, *joined(moves))

    async def _follow(self) -> None:
        while not self._stopping:
            try:
                await self._refresh()
                self._loading = False
            except AppError as error:
                log.warning("the map cannot be read: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._news.wait()
            if not self._stopping:
                self._news.clear()

    async def _refresh(self) -> None:
        """Brings the points up to the database."""
        async with self._turn:
            last = await self._store.last()
            while last > self._seen and not self._stopping:
                sources, until = await self._store.since(self._seen)
                for source in sources:
                    await asyncio.to_thread(self._points.add, source)
                if until == self._seen:
                    break
                self._seen = until

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/map", self.on_about, methods=["GET"]),
            Route("/api/v1/map/points", self.on_points, methods=["GET"]),
            Route("/api/v1/map/crops", self.on_crops, methods=["GET"]),
            Route("/api/v1/map/selection", self.on_selection, methods=["POST"]),
            Route("/api/v1/map/export", self.on_export, methods=["POST"]),
            Route("/api/v1/map/groups", self.on_groups, methods=["GET"]),
            Route("/api/v1/map/groups", self.on_make_group, methods=["POST"]),
            Route("/api/v1/map/groups/labels", self.on_labels, methods=["GET"]),
            Route("/api/v1/map/groups/{group}", self.on_group, methods=["GET"]),
            Route("/api/v1/map/groups/{group}", self.on_drop_group, methods=["DELETE"]),
            Route("/api/v1/map/gates", self.on_gates, methods=["GET"]),
            Route("/api/v1/map/gates", self.on_make_gate, methods=["POST"]),
            Route("/api/v1/map/gates/{gate}", self.on_drop_gate, methods=["DELETE"]),
            Route("/api/v1/map/gates/{gate}/decisions", self.on_decisions, methods=["GET"]),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.cell_map.openapi import operations

        return operations()

    # --- what is shown

    async def on_about(self, _request: Request) -> Response:
        points = self._points
        names = {name.title() + ("es" if name == "class" else "s"): list(one.all) for name, one in points.names.items()}
        told = {"Count": len(points), "Last": self._seen, "Features": points.features(), "Loading": self._loading}
        troubles = await self._store.troubles()
        watched = (self._monitor.told(), self._monitor.maps) if self._monitor else ([], {})
        told |= {"Troubles": troubles, "Drift": watched[0], "Maps": watched[1]}
        return web.json(About.model_validate({**names, **told}), headers=web.NOT_CACHED)

    async def on_points(self, request: Request) -> Response:
        """At once if there are any, else as soon as some come, within the time that is waited for."""
        asked = chunk_of(request.query_params)
        now = asyncio.get_running_loop().time
        deadline = now() + asked.wait
        while self._seen <= asked.after and now() < deadline and not self._stopping:
            await asyncio.sleep(min(LOOK, max(0.0, deadline - now())))
            await self._refresh()
        return await asyncio.to_thread(self._chunk, asked)

    def _chunk(self, asked: Any) -> Response:
        columns, last, more = self._points.chunk(asked.fields, asked.wanted(), asked.after, asked.limit)
        lists = {f"{name.title()}Names": list(self._points.names[name].all) for name in self._points.names}
        about = {"Last": last if more else self._seen, "More": more, "Loading": self._loading, **lists}
        return Response(packed(about, columns), media_type=BINARY, headers=web.NOT_CACHED)

    async def on_crops(self, request: Request) -> Response:
        """One sheet for all."""
        ids = ids_in(request.query_params)
        rows = await asyncio.to_thread(self._points.rows, Wanted(ids=tuple(ids)), ("id", "job", "number"))
        of = {int(one): (str(job), int(number)) for one, job, number in zip(*rows.values(), strict=True)}
        files = await self._store.files(sorted({job for job, _ in of.values()}))
        root = self._files.root.resolve()
        places = [
            (root / files[of[one][0]], of[one][1]) if one in of and of[one][0] in files else (None, 0) for one in ids
        ]
        sheet, missing = await asyncio.to_thread(self._sheets.sheet, places)
        return Response(sheet, media_type="image/png", headers={**web.NOT_CACHED, "X-Missing": str(missing)})

    async def on_selection(self, request: Request) -> Response:
        asked = read(AskedSelection, without_nul(await web.body_of(request, LARGEST)), request)
        return web.json(await asyncio.to_thread(self._selected, asked), headers=web.NOT_CACHED)

    def _selected(self, asked: AskedSelection) -> Selected:
        fields = ["id", "class", "instrument", "model", "sequence", *([asked.feature] if asked.feature else [])]
        rows = self._points.rows(asked.selection.wanted(), fields)
        some = spread(rows["sequence"], asked.sample)
        counts = {
            f"{name.title()}{'es' if name == 'class' else 's'}": self._counted(name, rows[name])
            for name in self._points.names
        }
        bars = None
        if asked.feature:
            bars = Bars.model_validate({"Feature": asked.feature, **histogram(rows[asked.feature].astype(np.float32))})
        ids = rows["id"][some].astype(np.int64).tolist()
        return Selected.model_validate({"Count": len(rows["id"]), "Histogram": bars, **counts, "Ids": ids})

    def _counted(self, name: str, codes: Any) -> dict[str, int]:
        values, counts = np.unique(codes, return_counts=True)
        told: Counter[str] = Counter(dict(zip(self._points.named(name, values), counts.tolist(), strict=True)))
        return dict(told.most_common(50))

    async def on_export(self, request: Request) -> Response:
        asked = read(Export, without_nul(await web.body_of(request, LARGEST)), request)
        content = await asyncio.to_thread(self._exported, asked.selection.wanted(), asked.format, None)
        return _download(content, f"cells.{asked.format}")

    def _exported(self, wanted: Wanted, form: str, label: str | None) -> bytes:
        """All that is known of cells, but for their vectors."""
        rows = self._points.rows(
            wanted, [*("id", "job", "number", "instrument", "model", "class", "at", "x", "y"), *self._points.features()]
        )
        if len(rows["id"]) > MOST_EXPORTED:
            raise BadRequest(f"{len(rows['id'])} cells are too many for one table: select {MOST_EXPORTED} at most")
        columns: dict[str, Any] = {} if label is None else {"label": np.full(len(rows["id"]), label, object)}
        for name, column in rows.items():
            named = name in self._points.names
            columns[{"number": "cell", "x": "map_x", "y": "map_y"}.get(name, name)] = (
                np.array(self._points.named(name, column), object)
                if named
                else column.astype(np.int64)
                if name == "id"
                else column
            )
        return as_parquet(columns) if form == "parquet" else as_csv(columns)

    # --- groups and gates

    async def on_groups(self, _request: Request) -> Response:
        return web.json(await self._store.groups(), headers=web.NOT_CACHED)

    async def on_make_group(self, request: Request) -> Response:
        said = read(NewGroup, without_nul(await web.body_of(request, LARGEST)), request)
        rows = await asyncio.to_thread(self._points.rows, said.selection.wanted(), ("id",))
        if not len(rows["id"]):
            raise BadRequest("no cell is selected: nothing was named")
        made = await self._store.make_group(said.name.strip(), rows["id"].astype(np.int64), web.actor(request))
        return web.json(made, 201, web.NOT_CACHED)

    async def on_group(self, request: Request) -> Response:
        """Its cells, as a table with the name as their label."""
        group, ids = await self._store.group(request.path_params["group"])
        content = await asyncio.to_thread(self._exported, Wanted(ids=ids), "csv", group.name)
        return _download(content, "cells.csv")

    async def on_labels(self, _request: Request) -> Response:
        """A training set: a line for each cell of each group."""
        groups = [await self._store.group(group.id) for group in await self._store.groups()]
        return _download(await asyncio.to_thread(self._labels, groups), "labels.csv")

    def _labels(self, groups: list[tuple[Group, tuple[int, ...]]]) -> bytes:
        columns: dict[str, list[Any]] = {"label": [], "id": [], "job": [], "cell": []}
        for group, ids in groups:
            rows = self._points.rows(Wanted(ids=ids), ("id", "job", "number"))
            of = {int(one): (str(job), int(number)) for one, job, number in zip(*rows.values(), strict=True)}
            for one in ids:
                job, number = of.get(one, ("", ""))  # older than all that is in memory: its id still names it
                for name, value in zip(columns, (group.name, one, job, number), strict=True):
                    columns[name].append(value)
        return as_csv({name: np.array(column, object) for name, column in columns.items()})

    async def on_drop_group(self, request: Request) -> Response:
        await self._store.drop_group(request.path_params["group"])
        return web.reply()

    async def on_gates(self, _request: Request) -> Response:
        return web.json([await self._mapped(one) for one in await self._store.gates()], headers=web.NOT_CACHED)

    async def _mapped(self, gate: Gate) -> Gate:
        return gate.model_copy(update={"map": await self._monitor.map_of(gate.rule)}) if self._monitor else gate

    async def on_make_gate(self, request: Request) -> Response:
        said = read(NewGate, without_nul(await web.body_of(request, LARGEST)), request)
        made = await self._store.make_gate(said.name.strip(), said.rule, web.actor(request))
        await self._announce_gates()
        return web.json(await self._mapped(made), 201, web.NOT_CACHED)

    async def on_drop_gate(self, request: Request) -> Response:
        await self._store.drop_gate(request.path_params["gate"])
        await self._announce_gates()
        return web.reply()

    async def _announce_gates(self) -> None:
        """Streams look at once; those that do not hear of it look every few seconds."""
        try:
            async with asyncio.timeout(ANNOUNCED):
                await self._bus.publish(CHANGED, b"{}", key="gates")
        except (AppError, TimeoutError) as error:
            log.warning("that gates have changed is not announced: %s", error or "the bus does not answer")

    async def on_decisions(self, request: Request) -> Response:
        asked = request.query_params
        after, limit = whole(asked, "after", 0, INT64), whole(asked, "limit", 100, 1000)
        found = await self._store.decisions(request.path_params["gate"], after, limit)
        return web.json(found, headers=web.NOT_CACHED)


def _download(content: bytes, name: str) -> Response:
    kind = "text/csv; charset=utf-8" if name.endswith(".csv") else "application/vnd.apache.parquet"
    headers = {**web.NOT_CACHED, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=headers)
