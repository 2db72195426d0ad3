"""Makes ASGI apps of services and serves them, each on its own port, in one event loop."""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from contracts import web
from contracts.errors import AppError
from contracts.guard import Guard, Watch
from contracts.limits import Limited, Limits
from contracts.meters import Collector, process_figures
from contracts.ports import Service
from contracts.standard import Correlated, standard_routes

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
    "cell-index": 59790,
    "pipeline-sim": 59789,
    "mqtt-export": 59703,
    "dashboard": 4200,
}
"""The contract's ports."""
ON_DEMAND: Mapping[str, int] = {"stream": 59788}
"""Those of services that run only where they are asked for."""


@dataclass(frozen=True)
class Door:
    """How a deployment is entered: who is let in, and the certificate and key (PEM files) of its TLS, if any."""

    watch: Watch | None = None
    certificate: Path | None = None
    key: Path | None = None
    proxied: bool = False
    """Something in front of us on this host says for whom it asks (``X-Forwarded-For``)."""


MOST_MESSAGE = 4 * 2**20
"""Bytes of one WebSocket message."""
KEPT = 75
"""Seconds that a connection is kept on which nothing is asked. Longer than any client of ours keeps one (httpx: 5; most
proxies: 60), so that it is never the server who ends it at the moment when the next request is under way."""
NEAR = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Pages that this computer serves itself."""
WITH_CORS = {"job-repository", "task-launcher", "file-sender-gateway", "pipeline-sim"}


def app_of(
    service: Service,
    settings: Mapping[str, Any] | None = None,
    extra: Sequence[Collector] = (),
    watch: Watch | None = None,
    limits: Limits | None = None,
) -> Starlette:
    """The service's own routes, the standard ones, and the contract's way to say no. ``extra`` figures are served
    with the service's own at ``/metrics``; ``limits`` are those of each client. Without a ``watch`` everybody may
    everything: for calls within a process."""
    middleware = [_cors(watch)] if service.name in WITH_CORS else []
    if watch is not None:
        middleware.append(Middleware(Guard, service=service.name, watch=watch))
    app = Starlette(
        routes=[*service.routes(), *standard_routes(service, settings or {}, extra)],
        middleware=[Middleware(Correlated), *middleware, *([Middleware(Limited, limits=limits)] if limits else ())],
        exception_handlers={AppError: web.on_app_error, HTTPException: web.on_http_error},
    )
    app.router.redirect_slashes = False
    return app


def _cors(watch: Watch | None) -> Middleware:
    """Which sites' pages may read answers: as the contract has it, all; behind a guard, those it knows."""
    verbs = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    if watch is None:
        sites: dict[str, Any] = {"allow_origins": ["*"]}
    elif watch.secret:
        sites = {"allow_origins": list(watch.origins), "allow_credentials": True}
    else:
        sites = {"allow_origins": list(watch.origins), "allow_origin_regex": NEAR}
    return Middleware(CORSMiddleware, **sites, allow_methods=verbs, allow_headers=["*"], max_age=3600)


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
    services: Sequence[Service],
    sockets: Mapping[str, socket.socket],
    settings: Mapping[str, Any] | None = None,
    extra: Sequence[Collector] = (),
    door: Door = Door(),
    limits: Limits | None = None,
) -> AsyncIterator[None]:
    """All services running, each listening on its socket.

    Background work starts before the ports open, in the order of the services, and stops after they close.
    Figures of the process as a whole, ``extra`` among them, are served by the first service.
    """
    whole = [*process_figures(), *extra]
    async with AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service.running())
        for place, service in enumerate(services):
            figures = whole if place == 0 else ()
            app = app_of(service, settings, figures, door.watch, limits)
            await stack.enter_async_context(_listening(service.name, app, sockets[service.name], door))
            if leave := getattr(service, "leave", None):
                stack.callback(leave)  # before its port closes: answers without an end are to end
        yield


@asynccontextmanager
async def _listening(name: str, app: Starlette, sock: socket.socket, door: Door) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
        server_header=False,
        timeout_keep_alive=KEPT,
        # Frames of pixels do not shrink, and a small message that unpacks to a large one is a weapon.
        ws_per_message_deflate=False,
        ws_max_size=MOST_MESSAGE,
        # A stream that waits for room reads nothing, no answer to a ping either.
        ws_ping_interval=None,
        proxy_headers=door.proxied,
        ssl_certfile=door.certificate,
        ssl_keyfile=door.key,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name=f"server {name}")
    started = asyncio.create_task(server.up.wait())
    try:
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield
    finally:
        started.cancel()
        server.stop()
        await task


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn calls it an error when a WebSocket is answered with a status and a reason instead."""
    return record.msg != "ASGI callable returned without completing handshake."


logging.getLogger("uvicorn.error").addFilter(_is_news)


class _Server(uvicorn.Server):
    """One of several servers in a process: it says when it is up, and leaves signals to the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let no more requests in, and end."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        # uvicorn looks ten times a second whether it shall stop, each server for itself: half of what an idle
        # edge costs. Here it is told; the tick that is left renews the date in the headers of answers.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stopping.wait()

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
