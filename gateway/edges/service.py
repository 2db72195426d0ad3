"""The routes by which instruments say how they are, and people read it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.edge_status import EdgeStatus
from contracts.errors import BadRequest, NotFound
from contracts.guard import confine
from contracts.openapi import Operations
from gateway.asked import read
from gateway.beside import Still
from gateway.edges.store import StatusStore

MOST_BYTES = 2**18


class EdgeRoutes(Still):
    """Served beside the job repository. An instrument that is known tells of itself and of no other."""

    def __init__(self, store: StatusStore) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/edges/status", self.on_list, methods=["GET"]),
            Route("/api/v1/edges/{name}/status", self.on_tell, methods=["PUT"]),
            Route("/api/v1/edges/{name}/status", self.on_forget, methods=["DELETE"]),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.edges.openapi import operations

        return operations()

    async def on_tell(self, request: Request) -> Response:
        name = request.path_params["name"]
        confine(request, name, f"the status of {name}")
        if len(name) > 100 or not name.isprintable():
            raise BadRequest("the name of an instrument has 1 to 100 printable characters: shorten edge.hostname")
        await self._store.tell(name, read(EdgeStatus, await web.body_of(request, limit=MOST_BYTES), request))
        return web.reply()

    async def on_list(self, _request: Request) -> Response:
        """``Behind``: how far the instrument's clock is behind the gateway's (ns), with the time its report took."""
        reports = await self._store.reported()
        shown = [
            {"Name": one.name, "At": one.at, "Behind": one.at - one.status.at, "Status": one.status} for one in reports
        ]
        return web.json(shown, headers=web.NOT_CACHED)

    async def on_forget(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not await self._store.forget(name):
            raise NotFound(f"the instrument {name[:100]} has never said how it is")
        return web.reply()
