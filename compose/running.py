"""The deployments: everything in one process, or one side of it; each until it is told to stop."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from compose.settings import Settings
from contracts.bus.local import LocalBus
from contracts.client import TIMEOUT, HttpJobs, HttpTasks
from contracts.hosting import PORTS, app_of, bound, port_of, served
from contracts.ports import Bus, Service

log = logging.getLogger(__name__)

EDGE = ("file-watcher", "data-organizer", "file-sender-oem", "file-receiver-oem")
GATEWAY = ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway")
PIPELINES = ("pipeline-sim",)
THREADS = 24
"""For blocking work on files and databases."""


@dataclass(frozen=True)
class Deployment:
    """What is up: service -> port."""

    ports: Mapping[str, int]

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"


def open_bus(url: str) -> Bus:
    """The bus of a URL. Raises ``ValueError`` for one we cannot speak."""
    if url == "local://":
        return LocalBus()
    raise ValueError(f"bus_url is {url!r}; this version speaks local:// only")


def in_process(service: Service) -> httpx.AsyncClient:
    """A client that calls a service of this process directly, with the very requests the network would carry."""
    transport = httpx.ASGITransport(app_of(service), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{service.name}", timeout=TIMEOUT)


def over_network(base: str, service: str, offset: int) -> httpx.AsyncClient:
    """A client for a service of another host."""
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=8)
    return httpx.AsyncClient(base_url=f"{base}:{PORTS[service] + max(offset, 0)}", timeout=TIMEOUT, limits=limits)


@asynccontextmanager
async def everything(settings: Settings) -> AsyncIterator[Deployment]:
    """Edge, gateway and pipelines in one process: SQLite, the in-process bus, worker processes for pipelines."""
    from compose.edge import Peers, edge
    from compose.gateway import gateway
    from compose.pipelines import runner

    bus = open_bus(settings.bus_url)
    async with _bound(settings, [*GATEWAY, *PIPELINES, *EDGE]) as (sockets, deployment), AsyncExitStack() as stack:
        centre = await stack.enter_async_context(gateway(settings, bus, deployment.ports))
        jobs, tasks = centre.job_repository, centre.task_launcher
        receiver = await stack.enter_async_context(in_process(centre.file_receiver))
        sender = await stack.enter_async_context(in_process(centre.file_sender))
        instrument = await stack.enter_async_context(edge(settings, Peers(jobs, tasks, receiver, sender), bus))
        services = [*centre.services(), runner(settings, jobs, tasks, bus), *instrument.services()]
        await stack.enter_async_context(served(services, sockets, settings.shown()))
        yield deployment


@asynccontextmanager
async def gateway_side(settings: Settings, *, with_pipelines: bool = True) -> AsyncIterator[Deployment]:
    """The gateway and, unless told otherwise, its pipelines in one process."""
    from compose.gateway import gateway

    names = [*GATEWAY, *(PIPELINES if with_pipelines else ())]
    bus = open_bus(settings.bus_url)
    async with _bound(settings, names) as (sockets, deployment), gateway(settings, bus, deployment.ports) as centre:
        services = centre.services()
        if with_pipelines:
            from compose.pipelines import runner

            services.append(runner(settings, centre.job_repository, centre.task_launcher, bus))
        async with served(services, sockets, settings.shown()):
            yield deployment


@asynccontextmanager
async def edge_side(settings: Settings) -> AsyncIterator[Deployment]:
    """The edge alone; it opens every connection itself, so the instrument PC needs no open port."""
    from compose.edge import Peers, edge

    base, offset = settings.edge.gateway, settings.port_offset
    async with _bound(settings, EDGE) as (sockets, deployment), AsyncExitStack() as stack:
        jobs, tasks, receiver, sender = [
            await stack.enter_async_context(over_network(base, name, offset))
            for name in ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway")
        ]
        peers = Peers(HttpJobs(jobs), HttpTasks(tasks), receiver, sender)
        instrument = await stack.enter_async_context(edge(settings, peers, None))
        await stack.enter_async_context(served(instrument.services(), sockets, settings.shown()))
        yield deployment


@asynccontextmanager
async def pipelines_side(settings: Settings) -> AsyncIterator[Deployment]:
    """Only pipelines, on a host of their own that sees the gateway's files under the same paths."""
    from compose.pipelines import runner

    base, offset = settings.pipelines.gateway, settings.port_offset
    async with _bound(settings, PIPELINES) as (sockets, deployment), AsyncExitStack() as stack:
        jobs = await stack.enter_async_context(over_network(base, "job-repository", offset))
        tasks = await stack.enter_async_context(over_network(base, "task-launcher", offset))
        service = runner(settings, HttpJobs(jobs), HttpTasks(tasks), open_bus(settings.bus_url))
        await stack.enter_async_context(served([service], sockets, settings.shown()))
        yield deployment


@asynccontextmanager
async def _bound(
    settings: Settings, names: Iterable[str]
) -> AsyncIterator[tuple[dict[str, socket.socket], Deployment]]:
    wanted = settings.ports()
    with bound(settings.host, {name: wanted[name] for name in names}) as sockets:
        yield sockets, Deployment({name: port_of(sock) for name, sock in sockets.items()})


def until_stopped(main: Coroutine[None, None, None]) -> None:
    """Run to the end, or until Ctrl-C or SIGTERM, which cancel and so stop cleanly; a second one is heard too."""
    if sys.platform == "win32":
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(main)
        return
    import uvloop

    async def watched() -> None:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        # Most of these threads wait for a disk; the default of cores + 4 would make reads queue behind syncs.
        loop.set_default_executor(ThreadPoolExecutor(THREADS, "io"))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    uvloop.run(watched())
