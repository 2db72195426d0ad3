"""Wires the gateway's services: all in one process, or some of them with the others reached over the network."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from compose.access import Access
from compose.cell_index import Around, cell_index
from compose.logins import logins
from compose.settings import Settings, address
from contracts.batches import Batches, HttpBatches
from contracts.client import HttpJobs, HttpTasks
from contracts.disk import keep_folder
from contracts.edgex import Style
from contracts.ports import Bus, Clock, Jobs, Service
from contracts.room import MB, Room
from gateway.batches.service import BatchRoutes
from gateway.batches.store import BatchStore
from gateway.beside import Together
from gateway.database import doubts, migrate, open_engine
from gateway.edges.service import EdgeRoutes
from gateway.edges.store import StatusStore
from gateway.file_receiver.admission import Admission
from gateway.file_receiver.service import FileReceiver
from gateway.file_sender.service import FileSender
from gateway.files import GatewayFiles
from gateway.identity.keeping import AuditKeeping
from gateway.identity.passwords import PasswordLogins
from gateway.identity.service import IdentityRoutes
from gateway.identity.store import IdentityStore
from gateway.job_repository.outbox import Outbox
from gateway.job_repository.service import JobRepository
from gateway.job_repository.store import JobStore
from gateway.models.service import ModelRoutes
from gateway.models.store import ModelStore
from gateway.reader import Reader
from gateway.retention.rules import Keep
from gateway.submission.service import Submissions
from gateway.task_launcher.messages import Wording
from gateway.task_launcher.rules import Addresses
from gateway.task_launcher.service import TaskLauncher
from gateway.task_launcher.store import TaskStore
from gateway.writer import Writer

GATEWAY = ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway", "cell-index")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gateway:
    """The gateway's services that run here, by name, and its two repositories, here or elsewhere."""

    jobs: Jobs
    tasks: TaskLauncher | HttpTasks
    services: Mapping[str, Service]
    identities: IdentityStore | None = None
    """Where the job repository runs here."""
    task_launcher: httpx.AsyncClient | None = None
    """Where it runs elsewhere."""


@dataclass(frozen=True)
class Database:
    """The gateway's database at the newest schema."""

    writer: Writer
    reader: Reader


@asynccontextmanager
async def gateway(
    access: Access, bus: Bus, ports: Mapping[str, int], names: Collection[str] = GATEWAY
) -> AsyncIterator[Gateway]:
    """The named services of the gateway. ``ports`` are those on which pipelines call back."""
    settings = access.settings
    reach = access.over_network(settings.inside(settings.gateway.inside))
    clock, host = time.time_ns, settings.gateway.hostname
    files = GatewayFiles(settings.gateway_files())
    if set(names) - {"job-repository"}:
        files.make()
    services: dict[str, Service] = {}
    identities: IdentityStore | None = None
    async with AsyncExitStack() as stack:
        base = None
        if {"job-repository", "task-launcher", "cell-index"} & set(names):
            base = await stack.enter_async_context(database(settings))
        jobs: JobRepository | HttpJobs
        batches: Batches
        if base is not None and "job-repository" in names:
            raw = settings.gateway.edgex_raw_payload
            store = JobStore(base.writer, base.reader, clock, raw_payload=raw)
            identities = IdentityStore(base.writer, base.reader, clock)
            outbox = Outbox(base.writer, base.reader)
            edges = EdgeRoutes(StatusStore(base.writer, base.reader, clock))
            batches = BatchStore(base.writer, base.reader, clock)
            beside = Together(edges, BatchRoutes(batches), _doors(access, identities, clock, ports))
            jobs = services["job-repository"] = JobRepository(store, outbox, bus, clock, beside=beside)
        else:
            client = await stack.enter_async_context(reach("job-repository"))
            jobs, batches = HttpJobs(client), HttpBatches(client)
        tasks: TaskLauncher | HttpTasks
        afar: httpx.AsyncClient | None = None
        if base is not None and "task-launcher" in names:
            known = TaskStore(base.writer, base.reader, clock)
            models = ModelStore(base.writer, base.reader, clock, settings.gateway_files() / "models")
            tasks = services["task-launcher"] = _launcher(access, jobs, known, models, files, bus, ports)
        else:
            afar = await stack.enter_async_context(reach("task-launcher"))
            tasks = HttpTasks(afar)
        if "file-receiver-gateway" in names:
            admission = _admission(settings, jobs, base is not None)
            submissions = Submissions(jobs, batches, files.input, host, admission=admission)
            services["file-receiver-gateway"] = FileReceiver(
                jobs, files.input, host, admission=admission, beside=submissions
            )
        if "file-sender-gateway" in names:
            services["file-sender-gateway"] = FileSender(jobs, files, bus, clock, keep=_keep(settings))
        if base is not None and "cell-index" in names:
            around = Around(jobs, files, bus)
            services["cell-index"] = cell_index(access, base.writer, base.reader, clock, stack, around)
        yield Gateway(jobs, tasks, services, identities, afar)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The database, brought to the newest schema first; at the end what was asked of it is written."""
    await asyncio.to_thread(keep_folder, settings.data)
    engine = open_engine(settings.database_url())
    readers = open_engine(settings.database_url(), writes=False)
    await asyncio.to_thread(migrate, engine, patience=settings.gateway.database_seconds)
    for name, value, remedy in await asyncio.to_thread(doubts, engine):
        log.warning("the database's %s is %s: %s, or what was answered may be lost", name, value, remedy)
    writer = Writer(engine)
    writer.start()
    try:
        yield Database(writer, Reader(readers))
    finally:
        writer.stop()
        engine.dispose()
        readers.dispose()


def _doors(access: Access, identities: IdentityStore, clock: Clock, ports: Mapping[str, int]) -> IdentityRoutes:
    return IdentityRoutes(
        identities,
        PasswordLogins(identities),
        access.secret,
        authority=access.authority,
        secure=access.settings.secured(),
        keeping=AuditKeeping(identities, clock, access.settings.gateway.retention.audit_days),
        openid=logins(access, identities, clock, ports["job-repository"]),
    )


def _keep(settings: Settings) -> Keep:
    mine = settings.gateway.retention
    return Keep(mine.days, int(mine.max_gb * 1e9), mine.failed_days)


def _admission(settings: Settings, jobs: JobRepository | HttpJobs, keeps_database: bool) -> Admission:
    mine = settings.gateway
    return Admission(
        Room(settings.gateway_places("input", keeps_database=keeps_database), mine.min_free_mb),
        most_bytes=int(mine.max_file_mb * MB),
        most_waiting=mine.max_waiting,
        counts=jobs.counts,
    )


def _launcher(
    access: Access,
    jobs: Jobs,
    store: TaskStore,
    models: ModelStore,
    files: GatewayFiles,
    bus: Bus,
    ports: Mapping[str, int],
) -> TaskLauncher:
    settings, mine = access.settings, access.settings.gateway
    calls = [address(settings.callback(), name, ports[name]) for name in ("job-repository", "task-launcher")]
    style = Style(settings.launch_style())
    room = Room(settings.gateway_places("output"), mine.min_free_mb)

    async def topics() -> set[str]:
        return {one.topic for one in await store.registered()}

    return TaskLauncher(
        jobs,
        store,
        files,
        Addresses(calls[0], calls[1], access.secret),
        bus,
        time.time_ns,
        hostname=mine.hostname,
        answer_seconds=mine.answer_seconds,
        room=room,
        beside=ModelRoutes(models, topics, most_mb=mine.max_model_mb, room=room),
        wording=Wording(style, raw_payload=mine.edgex_raw_payload and style is Style.EDGEX),
    )
