"""Makes ASGI apps of services and serves them, each on its own port, in one event loop."""

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts import web
from contracts.errors import AppError
from contracts.ports import Service

log = logging.getLogger(__name__)

PORTS: Mapping[str, int] = {
    "file-watcher": 59780,
    "data-organizer": 59781,
    "file-sender-oem": 59782,
    "file-receiver-gateway": 59783,
    "job-repository": 59784,
    "task-launcher": 59785,
    "file-sender-gateway": 59786,
    "file-receiver-oem": 59787,
    "pipeline-sim": 59789,
    "mqtt-export": 59703,
}
"""The contract's ports."""

WITH_CORS = {"job-repository", "task-launcher", "file-sender-gateway", "pipeline-sim"}


def app_of(service: Service, settings: Mapping[str, Any] | None = None) -> Starlette:
    """The service's own routes, the standard ones, and the contract's way to say no."""
    middleware = []
    if service.name in WITH_CORS:
        verbs = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        middleware.append(
            Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=verbs, allow_headers=["*"], max_age=3600)
        )
    app = Starlette(
        routes=[*service.routes(), *_standard_routes(service, settings or {})],
        middleware=middleware,
        exception_handlers={AppError: web.on_app_error, HTTPException: web.on_http_error},
    )
    app.router.redirect_slashes = False
    return app


def _standard_routes(service: Service, settings: Mapping[str, Any]) -> list[Route]:
    """What every EdgeX service answers (v2 and v3), and one plain health route."""
    key = f"app-{service.name}"

    async def ping(request: Request) -> Response:
        stamp = time.strftime("%a %b %e %H:%M:%S %Z %Y", time.gmtime()).replace("GMT", "UTC")
        return web.json({"apiVersion": _api(request), "timestamp": stamp, "serviceName": key})

    async def versions(request: Request) -> Response:
        own = version("cytobus")
        return web.json({"apiVersion": _api(request), "version": own, "serviceName": key, "sdk_version": own})

    async def config(request: Request) -> Response:
        return web.json({"apiVersion": _api(request), "config": dict(settings), "serviceName": key})

    async def health(_request: Request) -> Response:
        troubles = {desk.name: desk.trouble for desk in getattr(service, "desks", ()) if desk.trouble}
        state = "degraded" if troubles else "ok"
        return web.json({"service": service.name, "state": state, "troubles": troubles})

    routes = [Route("/api/v1/health", health, methods=["GET"])]
    for api in ("v2", "v3"):
        routes += [
            Route(f"/api/{api}/ping", ping, methods=["GET"]),
            Route(f"/api/{api}/version", versions, methods=["GET"]),
            Route(f"/api/{api}/config", config, methods=["GET"]),
        ]
    return routes


def _api(request: Request) -> str:
    return request.url.path.split("/")[2]


@contextlib.contextmanager
def bound(host: str, ports: Mapping[str, int]) -> Iterator[dict[str, socket.socket]]:
    """A socket for each service, bound before anything else happens: a taken port is known at once.

    Port 0 asks the system for a free one. Raises ``OSError`` naming the service and the remedy.
    """
    sockets: dict[str, socket.socket] = {}
    try:
        for name, port in ports.items():
            sockets[name] = _bind(name, host, port)
        yield sockets
    finally:
        for sock in sockets.values():
            sock.close()


def port_of(sock: socket.socket) -> int:
    """The port a socket is bound to."""
    return int(sock.getsockname()[1])


@asynccontextmanager
async def served(
    services: Sequence[Service], sockets: Mapping[str, socket.socket], settings: Mapping[str, Any] | None = None
) -> AsyncIterator[None]:
    """All services running, each listening on its socket.

    Background work starts before the ports open, in the order of the services, and stops after they close.
    """
    async with AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service.running())
        for service in services:
            await stack.enter_async_context(_listening(service, sockets[service.name], settings))
        yield


@asynccontextmanager
async def _listening(service: Service, sock: socket.socket, settings: Mapping[str, Any] | None) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app_of(service, settings),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name=f"server {service.name}")
    started = asyncio.create_task(server.up.wait())
    try:
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield
    finally:
        started.cancel()
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """One of several servers in a process: it says when it is up, and leaves signals to the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(name: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":
        # On Windows this option would let two programs share the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno,
            f"{name} cannot listen on {host}:{port}: {error.strerror}; stop the other program or set another port",
        ) from None
    return sock
