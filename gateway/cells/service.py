"""The cell index: keeps the vectors of cells with what is said of them, and finds those that are alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import BadRequest, Conflict, NotFound
from contracts.gojson import without_nul
from contracts.openapi import Operations
from contracts.room import Room
from gateway.asked import read
from gateway.beside import Beside, Together
from gateway.cells.asked import Question, question_of
from gateway.cells.filters import Filters
from gateway.cells.rules import Floats, from_text, normalised, shaped
from gateway.cells.said import Added, Deleted, Near, NewCells, Similar, Unwanted
from gateway.cells.shards import ShardRoutes
from gateway.cells.spaces import Spaces
from gateway.cells.store import CellStore, Wanted
from gateway.threads import finished
from gateway.vectors.port import NOBODY, Ids

LARGEST = 2**25
"""Bytes of a request that adds cells."""
PICTURE = 2**24


@dataclass(frozen=True)
class Embedded:
    """What an image was made into: a vector (dimension) of this version of a model."""

    model: str
    vector: Floats


Embed = Callable[[bytes, str], Awaitable[Embedded]]
"""Makes a vector of the image of one cell, by this version of a model, or if that is not there (or empty) by another.
Raises ``BadRequest`` for what is no image."""


@dataclass(frozen=True)
class Translated:
    """Vectors (n, dimension) as another model would have made them."""

    vectors: Floats
    through: str
    """What brought them there, in a few words."""
    recall: float
    """How often that finds the very cell that is looked for among the first ten; of cells it was not learnt from."""


Mapped = Callable[[Floats, str, str], Translated | None]
"""Vectors (n, dimension) of one version of a model as another would have made them; None: that is not known. Blocks.
Raises ``Conflict`` where it can say what to do about it."""


async def _no_encoder(_content: bytes, _model: str) -> Embedded:
    raise Conflict("no encoder is installed that makes a vector of an image: search by a cell or a vector")


def _no_mapping(_vectors: Floats, _source: str, _target: str) -> Translated | None:
    return None


class CellIndex:
    """A cell is kept when it was answered: first what is said of it is in the database, then its vector in the log of
    the index. In between it is not found, and telling it again changes nothing else."""

    name = "cell-index"

    def __init__(
        self,
        store: CellStore,
        spaces: Spaces,
        kept: Spaces,
        *,
        embed: Embed = _no_encoder,
        mapped: Mapped = _no_mapping,
        room: Room | None = None,
        beside: Beside | None = None,
    ) -> None:
        """``spaces``: where vectors are; ``kept``: those that lie here for others, or for ourselves."""
        self._beside = beside or Together()
        self._store, self._spaces, self._kept = store, spaces, kept
        self._filters = Filters(store)
        self._embed, self._mapped, self._room = embed, mapped, room
        self._shards = ShardRoutes(kept)
        self.desks = (spaces, kept, *getattr(self._beside, "desks", ()))
        self.conditions = getattr(self._beside, "conditions", ())
        self.meters = tuple(getattr(self._beside, "meters", ()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Indexes are opened beside, and closed at the end."""
        warming = asyncio.create_task(asyncio.to_thread(self._spaces.warm))
        try:
            async with self._beside.running():
                yield
        finally:
            await warming
            await asyncio.to_thread(self._spaces.close)
            await asyncio.to_thread(self._kept.close)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/cells", self.on_add, methods=["POST"]),
            Route("/api/v1/cells", self.on_about, methods=["GET"]),
            Route("/api/v1/cells/delete", self.on_delete, methods=["POST"]),
            Route("/api/v1/cells/similar", self.on_similar, methods=["GET"]),
            Route("/api/v1/cells/similar", self.on_similar_image, methods=["POST"]),
            Route("/api/v1/cells/{cell:int}", self.on_cell, methods=["GET"]),
            *self._shards.routes(),
            *self._beside.routes(),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.cells.openapi import operations

        return {**operations(), **self._beside.operations()}

    def leave(self) -> None:
        """Who waits for cells is answered."""
        if leave := getattr(self._beside, "leave", None):
            leave()

    async def on_add(self, request: Request) -> Response:
        body = without_nul(await web.body_of(request, limit=LARGEST))
        said, vectors = await asyncio.to_thread(_read, body, request)
        return web.json(Added(Ids=await self.keep(said, vectors)), 201)

    async def keep(self, said: NewCells, vectors: Floats) -> list[int]:
        """The ids of cells with these vectors (cells, dimension), normalised; they are kept when it returns."""
        if self._room is not None:
            await asyncio.to_thread(self._room.check, vectors.nbytes)
        index = await asyncio.to_thread(self._spaces.make, said.model, vectors.shape[1])
        ids, changed = await self._store.register(said)
        try:
            await finished(asyncio.to_thread(index.add, np.array(ids, np.int64), vectors))
        finally:
            if changed:
                self._filters.changed()
        return ids

    async def on_about(self, _request: Request) -> Response:
        about = await asyncio.to_thread(self._spaces.about)
        shown = [
            {"Model": model, **{_title(name): value for name, value in told.items()}} for model, told in about.items()
        ]
        return web.json({"Models": shown}, headers=web.NOT_CACHED)

    async def on_cell(self, request: Request) -> Response:
        one = int(request.path_params["cell"])
        (found,) = await self._store.described([one]) if one < 2**63 else [None]
        if found is None:
            raise NotFound(f"there is no cell {str(one)[:20]}")
        return web.json(found, headers=web.NOT_CACHED)

    async def on_delete(self, request: Request) -> Response:
        """Vectors first: who finds a cell can be told of it."""
        unwanted = read(Unwanted, without_nul(await web.body_of(request)), request)
        ids = unwanted.ids or await self._store.of_job(unwanted.job, unwanted.model)
        by_model: dict[str, list[int]] = {}
        by_job: dict[str, list[int]] = {}
        for found in await self._store.described(ids):
            if found is not None:
                by_model.setdefault(found.model, []).append(found.id)
                by_job.setdefault(found.job, []).append(found.id)
        if forget := getattr(self._beside, "forget", None):
            await forget(by_job)
        for model, mine in by_model.items():
            index = await asyncio.to_thread(self._spaces.get, model)
            await finished(asyncio.to_thread(index.delete, np.array(mine, np.int64)))
            await self._store.forget(mine)
        return web.json(Deleted(Deleted=sum(map(len, by_model.values()))))

    async def on_similar(self, request: Request) -> Response:
        """By a cell, or by a vector."""
        asked = question_of(request.query_params)
        if asked.cell is None:
            vector = normalised(shaped(from_text(asked.vector, "vector"), 1, "vector"))
            return await self._near(asked, vector[0], asked.model)
        (cell,) = await self._store.described([asked.cell])
        if cell is None:
            raise NotFound(f"there is no cell {asked.cell}")
        index = await asyncio.to_thread(self._spaces.get, cell.model)
        vectors, known = await asyncio.to_thread(index.get, np.array([cell.id], np.int64))
        if not known[0]:
            raise NotFound(f"the vector of the cell {cell.id} was never kept, or is damaged: embed it again")
        return await self._near(asked, normalised(vectors)[0], cell.model)

    async def on_similar_image(self, request: Request) -> Response:
        """By the image of one cell."""
        asked = question_of(request.query_params, of_image=True)
        made = await self._embed(await web.body_of(request, limit=PICTURE), asked.among)
        return await self._near(asked, normalised(made.vector[None])[0], made.model)

    async def _near(self, asked: Question, vector: Floats, model: str) -> Response:
        """Among the vectors of one model: those of the query's own, or of another that it can be mapped to."""
        target = asked.among or model
        index = await asyncio.to_thread(self._spaces.get, target)
        told = Similar(Model=target, Cells=[])
        if target != model:
            there = await asyncio.to_thread(self._mapped, vector[None], model, target)
            if there is None:
                raise Conflict(f"no mapping from {model} to {target} is known: learn one, or embed the cells again")
            vector, told = (
                normalised(there.vectors)[0],
                told.model_copy(update={"through": there.through, "recall": there.recall}),
            )
        if len(vector) != index.dimension:
            raise BadRequest(f"vectors of {target} have {index.dimension} numbers, not {len(vector)}")
        wanted = Wanted(target, asked.instruments, asked.jobs, asked.classes, asked.since, asked.until)
        only = await self._filters.among(wanted)
        more = asked.k + (asked.cell is not None)
        found = await asyncio.to_thread(index.search, vector[None], more, only)
        cells = await self._told(found.ids[0], found.scores[0], without=asked.cell)
        return web.json(told.model_copy(update={"cells": cells[: asked.k]}), headers=web.NOT_CACHED)

    async def _told(self, ids: Ids, scores: Floats, without: int | None) -> list[Near]:
        """What is said of what was found; the cell itself is not like itself."""
        there = [
            (int(one), float(score)) for one, score in zip(ids, scores, strict=True) if one not in (NOBODY, without)
        ]
        known = await self._store.described([one for one, _ in there])
        return [
            Near.model_construct(**dict(cell), score=round(score, 5))
            for cell, (_, score) in zip(known, there, strict=True)
            if cell is not None
        ]


def _read(body: bytes, request: Request) -> tuple[NewCells, Floats]:
    """What is said, and the vectors (cells, dimension), normalised."""
    said = read(NewCells, body, request)
    if said.vectors:
        if any(cell.vector for cell in said.cells):
            raise BadRequest("Vectors and a cell's own Vector are told: leave one of them out")
        return said, normalised(shaped(from_text(said.vectors, "Vectors"), len(said.cells), "Vectors"))
    lengths = {len(cell.vector) for cell in said.cells}
    if len(lengths) != 1 or 0 in lengths:
        raise BadRequest("each cell needs a Vector, all of one length; or Vectors tells those of all")
    with np.errstate(over="ignore"):
        numbers = np.array([cell.vector for cell in said.cells], np.float64).astype(np.float32)
    return said, normalised(numbers)


def _title(name: str) -> str:
    return name.title().replace("_", "")
