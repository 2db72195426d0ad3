"""The routes about batches, served beside the job repository's."""

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.batches import ENTRIES, NAME_LONGEST
from contracts.errors import BadRequest
from contracts.gojson import without_nul
from contracts.openapi import Operations
from gateway.asked import Body, read
from gateway.batches.store import BatchStore
from gateway.beside import Still

MOST = 100
"""Batches on a page."""
MOST_ENTRIES = 10_000
LONGEST = 2**63 - 1


class NewBatch(Body):
    """Body of ``POST /api/v1/batches``."""

    name: str = Field(default="", max_length=NAME_LONGEST)
    task: str = Field(default="", max_length=200)


class BatchRoutes(Still):
    """Who submits makes a batch, and follows it."""

    def __init__(self, store: BatchStore) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/batches", self.on_make, methods=["POST"]),
            Route("/api/v1/batches", self.on_list, methods=["GET"]),
            Route("/api/v1/batches/{batch}", self.on_get, methods=["GET"]),
            Route("/api/v1/batches/{batch}/entries", self.on_tell, methods=["PUT"]),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.batches.openapi import operations

        return operations()

    async def on_make(self, request: Request) -> Response:
        said = read(NewBatch, without_nul(await web.body_of(request)), request)
        batch = await self._store.make(said.name.strip(), said.task, web.actor(request))
        return web.json(batch, 201, web.NOT_CACHED)

    async def on_list(self, request: Request) -> Response:
        limit = max(1, min(_number(request, "limit", MOST) or 1, MOST))
        batches, following = await self._store.page(limit, _number(request, "after", None))
        headers = dict(web.NOT_CACHED)
        if following is not None:
            headers["Link"] = f'<{request.url.include_query_params(after=following)}>; rel="next"'
        return web.json(batches, headers=headers)

    async def on_get(self, request: Request) -> Response:
        return web.json(await self._store.get(request.path_params["batch"]), headers=web.NOT_CACHED)

    async def on_tell(self, request: Request) -> Response:
        """What the receiver of submissions has to say of things that became no jobs."""
        try:
            entries = ENTRIES.validate_json(without_nul(await web.body_of(request)))
        except ValidationError as error:
            raise BadRequest(f"these entries cannot be read: {error.errors(include_url=False)[0]['msg']}") from None
        if len(entries) > MOST_ENTRIES:
            raise BadRequest(f"{len(entries)} entries are too many at once: tell {MOST_ENTRIES} at most")
        await self._store.tell(request.path_params["batch"], entries)
        return web.reply()


def _number(request: Request, name: str, otherwise: int | None) -> int | None:
    said = request.query_params.get(name)
    if said is None:
        return otherwise
    if not (said.isascii() and said.isdigit()) or int(said[:20]) > LONGEST or len(said) > 20:
        raise BadRequest(f"query parameter {name}: it must be a whole number, not {said[:40]!r}")
    return int(said)
