"""The routes of models: upload, trial, choice."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.disk import room_at
from contracts.errors import BadRequest, NotFound, Unavailable
from contracts.models_of_pipelines import Metadata, ModelInfo, ModelVerdict, Package, opened
from contracts.openapi import Operations
from contracts.room import MB, Room
from gateway.asked import Body, read
from gateway.beside import Still
from gateway.models.store import ModelStore

CHUNK = 2**20


class Chosen(Body):
    """Body of ``PUT /api/v1/pipelines/{topic}/model``; '' chooses the pipeline's own."""

    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class Paused(Body):
    """Body of ``PUT /api/v1/pipelines/{topic}/paused``."""

    paused: bool


class ModelRoutes(Still):
    """Served beside the task launcher. An uploaded model is data: it is looked at here, tried in a worker process of a
    runner, and nothing of it is ever run as a program."""

    def __init__(
        self,
        store: ModelStore,
        pipelines: Callable[[], Awaitable[Collection[str]]],
        *,
        most_mb: float = 512.0,
        room: Room | None = None,
    ) -> None:
        """``pipelines``: the topics that are registered; ``most_mb`` (10**6 bytes) of a package."""
        self._store, self._pipelines, self._room = store, pipelines, room
        self._most = int(most_mb * MB)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/models", self.on_list, methods=["GET"]),
            Route("/api/v1/models", self.on_upload, methods=["POST"]),
            Route("/api/v1/models/{sha256}/content", self.on_content, methods=["GET"]),
            Route("/api/v1/models/{sha256}/verdict", self.on_verdict, methods=["POST"]),
            Route("/api/v1/models/{sha256}", self.on_remove, methods=["DELETE"]),
            Route("/api/v1/pipelines/{topic}/model", self.on_choose, methods=["PUT"]),
            Route("/api/v1/pipelines/{topic}/rollback", self.on_roll_back, methods=["POST"]),
            Route("/api/v1/pipelines/{topic}/paused", self.on_pause, methods=["PUT"]),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.models.openapi import operations

        return operations()

    async def on_list(self, _request: Request) -> Response:
        return web.json(await self._store.all(), headers=web.NOT_CACHED)

    async def on_upload(self, request: Request) -> Response:
        """A package is kept whole or not at all."""
        if self._room is not None:
            await asyncio.to_thread(self._room.check, self._expected(request))
        path = await asyncio.to_thread(self._store.incoming)
        try:
            size = await self._received(request, path)
            info = await asyncio.to_thread(self._looked_at, path, size, web.actor(request))
            kept = await self._store.add(info, path)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return web.json(kept, 201)

    def _expected(self, request: Request) -> int:
        said = request.headers.get("content-length", "0")
        return min(int(said), self._most) if said.isascii() and said.isdigit() else 0

    async def _received(self, request: Request, path: Path) -> int:
        size = 0
        with room_at(path), path.open("xb") as file:
            try:
                async for piece in request.stream():
                    size += len(piece)
                    if size > self._most:
                        raise BadRequest(f"the package has more than {self._most} bytes: see gateway.max_model_mb")
                    await asyncio.to_thread(file.write, piece)
            except ClientDisconnect:
                raise BadRequest(f"the package broke off after {size} bytes: send it again") from None
        return size

    def _looked_at(self, path: Path, size: int, by: str) -> ModelInfo:
        with opened(path) as archive:
            package = Package(archive, 4 * self._most)
            package.check()
            said = package.metadata
            about = _card(said)
        return ModelInfo(
            pipeline=said.pipeline,
            version=said.version,
            sha256=package.sha256,
            state="new",
            size=size,
            by=by,
            about=about,
        )

    async def on_content(self, request: Request) -> Response:
        info = await self._store.get(request.path_params["sha256"])
        try:
            file = await asyncio.to_thread(self._store.package(info).open, "rb")
        except OSError as error:
            raise Unavailable(f"the package of {info.pipeline} {info.version} cannot be read ({error})") from None
        return _streamed(file)

    async def on_verdict(self, request: Request) -> Response:
        verdict = read(ModelVerdict, await web.body_of(request, limit=2**16), request)
        return web.json(await self._store.judge(request.path_params["sha256"], verdict))

    async def on_remove(self, request: Request) -> Response:
        await self._store.remove(request.path_params["sha256"])
        return web.reply()

    async def on_choose(self, request: Request) -> Response:
        chosen = read(Chosen, await web.body_of(request, limit=2**16), request)
        return web.json(await self._store.choose(await self._topic(request), chosen.sha256))

    async def on_roll_back(self, request: Request) -> Response:
        return web.json(await self._store.roll_back(await self._topic(request)))

    async def on_pause(self, request: Request) -> Response:
        asked = read(Paused, await web.body_of(request, limit=2**16), request)
        return web.json(await self._store.pause(await self._topic(request), paused=asked.paused))

    async def _topic(self, request: Request) -> str:
        topic = str(request.path_params["topic"])
        if topic not in await self._pipelines():
            raise NotFound(f"no runner has registered a pipeline {topic[:100]}: start it, or correct the name")
        return topic


def _card(said: Metadata) -> dict[str, Any]:
    about = said.model_dump(exclude={"files", "pipeline", "version"})
    try:
        json.dumps(about, allow_nan=False).encode()
    except ValueError as error:
        raise BadRequest(f"metadata.json holds what is no JSON ({error}): write numbers that are finite") from None
    return about


def _streamed(file: BinaryIO) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        with file:
            while piece := await asyncio.to_thread(file.read, CHUNK):
                yield piece

    return StreamingResponse(pieces(), media_type="application/zip")
