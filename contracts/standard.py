"""What every service answers beside its own routes."""

import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts import web
from contracts.correlation import correlation
from contracts.meters import BusFigures, Collector, DeskFigures, text_of
from contracts.openapi import Operations, document
from contracts.ports import Service
from contracts.standard_operations import standard_operations


class Correlated:
    """Requests that bear a correlation id are dealt with under it, and the answer bears it too.

    One whose address holds a NUL character, which no name and no database takes, is refused with 400.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "\0" in scope.get("path", "") or b"%00" in scope.get("query_string", b""):
            await web.error("the address holds a NUL character: leave it out", 400)(scope, receive, send)
            return
        word = next((value for name, value in scope.get("headers", ()) if name == b"x-correlation-id"), None)
        if word is None:
            await self._app(scope, receive, send)
            return

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-correlation-id", word)]
            await send(message)

        token = correlation.set(word.decode("latin-1")[:64])
        try:
            await self._app(scope, receive, stamped)
        finally:
            correlation.reset(token)


def standard_routes(service: Service, settings: Mapping[str, Any], extra: Sequence[Collector]) -> list[Route]:
    """What every EdgeX service answers (v2 and v3), health, readiness, figures, and the description of it all."""
    routes = [*_edgex_routes(service, settings), *_state_routes(service, extra), _metrics_route(service, extra)]
    return [*routes, _document_route(service, routes)]


@cache
def own_version() -> str:
    """Of what is installed; looked up once, each service tells it."""
    return version("cytobus")


def operations_of(service: Service) -> Operations:
    """What the service says of its routes, its own and the standard ones."""
    own = getattr(service, "operations", None)
    return {**standard_operations(), **(own() if own else {})}


def _edgex_routes(service: Service, settings: Mapping[str, Any]) -> list[Route]:
    key, own = f"app-{service.name}", own_version()

    async def ping(request: Request) -> Response:
        stamp = time.strftime("%a %b %e %H:%M:%S %Z %Y", time.gmtime()).replace("GMT", "UTC")
        return web.json({"apiVersion": _api(request), "timestamp": stamp, "serviceName": key})

    async def versions(request: Request) -> Response:
        return web.json({"apiVersion": _api(request), "version": own, "serviceName": key, "sdk_version": own})

    async def config(request: Request) -> Response:
        return web.json({"apiVersion": _api(request), "config": dict(settings), "serviceName": key})

    answers = {"ping": ping, "version": versions, "config": config}
    return [
        Route(f"/api/{api}/{word}", answer, methods=["GET"]) for api in ("v2", "v3") for word, answer in answers.items()
    ]


def _state_routes(service: Service, extra: Sequence[Collector]) -> list[Route]:
    """``health``: it lives, and what troubles it. ``ready``: it can do its work now; 503 while one of its desks cannot.
    A bus that is away makes work be found later, and nobody unready; so with the ``conditions`` of a service."""

    def troubles() -> dict[str, str]:
        return {desk.name: desk.trouble for desk in getattr(service, "desks", ()) if desk.trouble}

    async def health(request: Request) -> Response:
        beside = [*getattr(service, "conditions", ()), *(one for one in extra if isinstance(one, BusFigures))]
        found = troubles() | {one.name: one.trouble for one in beside if one.trouble}
        told = {} if _is_stranger(request) else found
        return web.json({"service": service.name, "state": "degraded" if found else "ok", "troubles": told})

    async def ready(request: Request) -> Response:
        found = troubles()
        told = {} if _is_stranger(request) else found
        return web.json({"service": service.name, "ready": not found, "troubles": told}, 503 if found else 200)

    return [Route("/api/v1/health", health, methods=["GET"]), Route("/api/v1/ready", ready, methods=["GET"])]


def _is_stranger(request: Request) -> bool:
    """Whether somebody asks who does not say who they are, where that has to be said."""
    return bool(request.scope.get("stranger"))


def _metrics_route(service: Service, extra: Sequence[Collector]) -> Route:
    async def metrics(_request: Request) -> Response:
        if refresh := getattr(service, "refresh", None):
            await refresh()
        figures = [DeskFigures(getattr(service, "desks", ())), *getattr(service, "meters", ()), *extra]
        return Response(text_of(figures), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Route("/metrics", metrics, methods=["GET"])


def _document_route(service: Service, standard: Sequence[Route]) -> Route:
    made: dict[str, Any] = {}

    async def openapi(_request: Request) -> Response:
        if not made:
            # Not before somebody asks: hardly anybody does, and it takes time and memory.
            routes = [*service.routes(), *standard, route]
            made.update(document(service.name, own_version(), routes, operations_of(service)))
        return web.json(made)

    route = Route("/api/v1/openapi.json", openapi, methods=["GET"])
    return route


def _api(request: Request) -> str:
    return request.url.path.split("/")[2]
