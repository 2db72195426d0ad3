"""The deployments: everything in one process, or one side of it; each until it is told to stop."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from compose.access import STAMPED, Access, access
from compose.membership import membership, of_edge
from compose.operate import EDGE
from compose.settings import Settings
from contracts.bus.opening import open_bus
from contracts.client import TIMEOUT, HttpJobs, HttpModels, HttpStatuses, HttpTasks
from contracts.guard import Auditor
from contracts.hosting import Door, app_of, bound, port_of, served
from contracts.identity import Authenticator
from contracts.introspection import AskedAuditor, AskedAuthenticator
from contracts.limits import Limits
from contracts.meters import BusFigures
from contracts.ports import Bus, Service
from contracts.room import MB

if TYPE_CHECKING:
    from compose.gateway import Gateway

GATEWAY = ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway")
PIPELINES, EXPORT, DASHBOARD, STREAM = "pipeline-sim", "mqtt-export", "dashboard", "stream"
CELLS = "cell-index"
SERVED = {name: name for name in (*GATEWAY, CELLS, EXPORT, DASHBOARD, STREAM)} | {"pipelines": PIPELINES}
"""What can be served in a process of its own, by the name on the command line."""
THREADS = 24
"""For blocking work on files and databases."""


@dataclass(frozen=True)
class Afar:
    """A gateway of which nothing runs here."""

    jobs: HttpJobs
    tasks: HttpTasks
    task_launcher: httpx.AsyncClient
    services: Mapping[str, Service] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """What is up: service -> port."""

    ports: Mapping[str, int]

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"


def in_process(service: Service) -> httpx.AsyncClient:
    """A client that calls a service of this process directly, with the very requests the network would carry."""
    transport = httpx.ASGITransport(app_of(service), raise_app_exceptions=False)
    base = f"http://{service.name}"
    return httpx.AsyncClient(transport=transport, base_url=base, timeout=TIMEOUT, event_hooks=STAMPED)


@asynccontextmanager
async def everything(settings: Settings) -> AsyncIterator[Deployment]:
    """Edge, gateway and pipelines in one process: SQLite, the in-process bus, worker processes for pipelines."""
    from compose.edge import Peers, edge

    names = [*GATEWAY, CELLS, PIPELINES, DASHBOARD, *on_demand(settings)]
    async with _bound(settings, [*names, *EDGE]) as (sockets, deployment), AsyncExitStack() as stack:
        bus = await stack.enter_async_context(open_bus(settings.bus_url, instance=settings.on_bus("up")))
        mine = access(settings, "up")
        centre, services, door = await _central(stack, mine, bus, names, deployment.ports)
        receiver = await stack.enter_async_context(in_process(centre.services["file-receiver-gateway"]))
        sender = await stack.enter_async_context(in_process(centre.services["file-sender-gateway"]))
        repository = await stack.enter_async_context(in_process(centre.services["job-repository"]))
        peers = Peers(centre.jobs, centre.tasks, receiver, sender, HttpStatuses(repository))
        instrument = await stack.enter_async_context(edge(settings, peers, bus))
        await stack.enter_async_context(
            served(
                [*services, *instrument.services()],
                sockets,
                settings.shown(),
                [BusFigures(bus)],
                door,
                limits(settings),
            )
        )
        yield deployment


@asynccontextmanager
async def gateway_side(settings: Settings, names: Sequence[str] = GATEWAY) -> AsyncIterator[Deployment]:
    """Services of the gateway, of its pipelines and its exporter, in one process; those not named run elsewhere."""
    async with _bound(settings, names) as (sockets, deployment), AsyncExitStack() as stack:
        role = "gateway" if set(GATEWAY) <= set(names) else "+".join(names)
        bus = await stack.enter_async_context(open_bus(settings.bus_url, instance=settings.on_bus(role)))
        _, services, door = await _central(stack, access(settings, role), bus, names, deployment.ports)
        await stack.enter_async_context(
            served(services, sockets, settings.shown(), [BusFigures(bus)], door, limits(settings))
        )
        yield deployment


def limits(settings: Settings) -> Limits | None:
    """What each client of the gateway may ask for over the network; None: as much as it likes."""
    mine = settings.gateway
    if not mine.requests_per_second and not mine.upload_mb_per_second:
        return None
    return Limits(mine.requests_per_second, mine.upload_mb_per_second * MB)


@asynccontextmanager
async def edge_side(settings: Settings) -> AsyncIterator[Deployment]:
    """The edge alone; it opens every connection itself, so the instrument PC needs no open port.

    Where it is told of the gateway's bus, results are fetched as soon as they are announced there.
    """
    from compose.edge import Peers, edge

    member, settings = membership(settings)
    mine = access(settings, "edge")
    reach = of_edge(mine, member).over_network(settings.edge.gateway)
    async with _bound(settings, EDGE) as (sockets, deployment), AsyncExitStack() as stack:
        jobs, tasks, receiver, sender = [
            await stack.enter_async_context(reach(name))
            for name in ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway")
        ]
        if member is not None:
            await stack.enter_async_context(member.running(jobs))
        peers = Peers(HttpJobs(jobs), HttpTasks(tasks), receiver, sender, HttpStatuses(jobs))
        bus: Bus | None = None
        if not settings.bus_url.startswith("local"):
            bus = await stack.enter_async_context(open_bus(settings.bus_url, instance=settings.on_bus("edge")))
        instrument = await stack.enter_async_context(edge(settings, peers, bus))
        figures = [BusFigures(bus)] if bus is not None else []
        await stack.enter_async_context(served(instrument.services(), sockets, settings.shown(), figures, mine.door()))
        yield deployment


def on_demand(settings: Settings) -> list[str]:
    """Services that run only where the settings ask for them."""
    return [*([EXPORT] if settings.export_to() else ()), *([STREAM] if settings.stream.on else ())]


async def _central(
    stack: AsyncExitStack, mine: Access, bus: Bus, names: Sequence[str], ports: Mapping[str, int]
) -> tuple["Gateway | Afar", list[Service], Door]:
    """The named services of the gateway's side, in the order in which they start, and who may come in."""
    settings = mine.settings
    centre: Gateway | Afar
    authenticator: Authenticator
    auditor: Auditor
    if {*GATEWAY, CELLS} & set(names):
        from compose.gateway import gateway

        centre = await stack.enter_async_context(gateway(mine, bus, settings.ports() | dict(ports), names))
    else:
        reach = mine.over_network(settings.inside(settings.pipelines.gateway))
        jobs, tasks = [await stack.enter_async_context(reach(name)) for name in ("job-repository", "task-launcher")]
        centre = Afar(HttpJobs(jobs), HttpTasks(tasks), tasks)
    if isinstance(centre, Afar) or centre.identities is None:
        inside = settings.gateway.inside if {*GATEWAY, CELLS, DASHBOARD} & set(names) else settings.pipelines.gateway
        asked = await stack.enter_async_context(mine.over_network(settings.inside(inside))("job-repository"))
        authenticator, auditor = AskedAuthenticator(asked), AskedAuditor(asked)
    else:
        authenticator = auditor = centre.identities
    services = list(centre.services.values())
    if PIPELINES in names:
        from compose.pipelines import runner

        launcher = centre.task_launcher
        if launcher is None:
            launcher = await stack.enter_async_context(in_process(centre.services["task-launcher"]))
        services.append(runner(settings, centre.jobs, centre.tasks, bus, HttpModels(launcher)))
    if EXPORT in names:
        from compose.export import exporter

        services.append(await stack.enter_async_context(exporter(settings, bus)))
    if STREAM in names:
        from compose.stream import stream

        cells = centre.services.get(CELLS)
        reach = mine.over_network(settings.inside(settings.pipelines.gateway))
        asking = in_process(cells) if cells is not None else reach(CELLS)
        services.append(stream(settings, bus, await stack.enter_async_context(asking)))
    if DASHBOARD in names:
        from compose.dashboard import dashboard

        services.append(await stack.enter_async_context(dashboard(mine, settings.ports() | dict(ports))))
    return centre, services, mine.door(authenticator, auditor)


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
