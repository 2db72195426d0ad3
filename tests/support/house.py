"""A gateway on real files and a real SQLite, with a clock that the test turns."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import httpx

from contracts.bus.local import LocalBus
from contracts.hosting import app_of
from contracts.models import Job
from contracts.ports import Delivery, JobQuery, Service
from gateway.database import migrate, open_engine
from gateway.file_sender.service import FileSender
from gateway.files import GatewayFiles
from gateway.job_repository.outbox import Outbox
from gateway.job_repository.service import JobRepository
from gateway.job_repository.store import JobStore
from gateway.reader import Reader
from gateway.task_launcher.rules import Addresses
from gateway.task_launcher.service import TaskLauncher
from gateway.task_launcher.store import TaskStore
from gateway.writer import Writer
from tests.support import postgres
from tests.support.stories import NOW

SECOND = 10**9


class Clock:
    """Stands still until it is turned."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@dataclass
class Database:
    """A migrated database with its writer."""

    url: str
    writer: Writer
    readers: Reader
    clock: Clock

    def rows(self, query: str, *values: object) -> list[tuple]:
        """What a second, independent connection sees."""
        engine = open_engine(self.url, writes=False)
        marks = query if engine.dialect.name == "sqlite" else query.replace("%", "%%").replace("?", "%s")
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.exec_driver_sql(marks, values).all()]
        finally:
            engine.dispose()


@lru_cache
def _template() -> Path:
    path = Path(mkdtemp(prefix="cytobus-test-")) / "empty.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


def _made(path: Path) -> str:
    if not path.exists():
        shutil.copyfile(_template(), path)
    return f"sqlite:///{path}"


@contextmanager
def _database(path: Path, dialect: str) -> Iterator[str]:
    """The URL of a migrated database of its own."""
    if dialect == "sqlite":
        yield _made(path)
        return
    url = postgres.shared().database(template=postgres.migrated())
    try:
        yield url
    finally:
        postgres.shared().drop(url)


@asynccontextmanager
async def opened(path: Path, clock: Clock | None = None, *, dialect: str = "sqlite") -> AsyncIterator[Database]:
    """A database of a test; on SQLite it is kept in the file."""
    with _database(path, dialect) as url:
        async with connected(url, clock) as database:
            yield database


@asynccontextmanager
async def connected(url: str, clock: Clock | None = None) -> AsyncIterator[Database]:
    """What one gateway has of a database; several may be connected at once."""
    engine, readers = open_engine(url), open_engine(url, writes=False)
    writer = Writer(engine)
    writer.start()
    try:
        yield Database(url, writer, Reader(readers), clock or Clock())
    finally:
        writer.stop()
        engine.dispose()
        readers.dispose()


@dataclass
class House:
    """The gateway's services, not yet running, and a client for each."""

    database: Database
    files: GatewayFiles
    bus: LocalBus
    store: JobStore
    outbox_store: Outbox
    jobs: JobRepository
    tasks: TaskStore
    launcher: TaskLauncher
    sender: FileSender

    @property
    def clock(self) -> Clock:
        return self.database.clock

    async def call(self, service: Service, method: str, path: str, **options: object) -> httpx.Response:
        """One request to a service, as the network would carry it."""
        transport = httpx.ASGITransport(app=app_of(service))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{service.name}") as client:
            return await client.request(method, path, **options)

    async def one(self) -> Job:
        """The only job there is."""
        (job,) = (await self.store.find(JobQuery())).jobs
        return job

    def outbox(self, topic: str = "%") -> list[str]:
        """Payloads that wait to be published, oldest first."""
        return [row[0] for row in self.database.rows("SELECT payload FROM outbox WHERE topic LIKE ?", topic)]


@asynccontextmanager
async def house_in(folder: Path, *, dialect: str = "sqlite") -> AsyncIterator[House]:
    files = GatewayFiles(folder / "files")
    files.make()
    async with opened(folder / "gateway.db", dialect=dialect) as database:
        clock, bus = database.clock, LocalBus(retry_seconds=0.001)
        store = JobStore(database.writer, database.readers, clock)
        outbox = Outbox(database.writer, database.readers)
        jobs, tasks = JobRepository(store, outbox, bus, clock), TaskStore(database.writer, database.readers, clock)
        to = Addresses("http://job-repository:59784", "http://task-launcher:59785")
        launcher = TaskLauncher(jobs, tasks, files, to, bus, clock, answer_seconds=900)
        yield House(database, files, bus, store, outbox, jobs, tasks, launcher, FileSender(jobs, files, bus, clock))


def noting(seen: list[Delivery]):
    async def note(delivery: Delivery) -> None:
        seen.append(delivery)

    return note
