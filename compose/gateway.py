"""Wires the gateway: job repository, task launcher, file receiver, file sender."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from compose.settings import Settings
from contracts.ports import Bus, Service
from gateway.database import migrate, open_engine
from gateway.file_receiver.service import FileReceiver
from gateway.file_sender.service import FileSender
from gateway.files import GatewayFiles
from gateway.job_repository.service import JobRepository
from gateway.job_repository.store import JobStore
from gateway.task_launcher.rules import Addresses
from gateway.task_launcher.service import TaskLauncher
from gateway.task_launcher.store import TaskStore
from gateway.writer import Writer


@dataclass(frozen=True)
class Gateway:
    """The gateway's services, ready to be served."""

    job_repository: JobRepository
    task_launcher: TaskLauncher
    file_receiver: FileReceiver
    file_sender: FileSender

    def services(self) -> list[Service]:
        return [self.job_repository, self.task_launcher, self.file_receiver, self.file_sender]


@asynccontextmanager
async def gateway(settings: Settings, bus: Bus, ports: Mapping[str, int]) -> AsyncIterator[Gateway]:
    """The gateway on its database, which is brought to the newest schema first."""
    files = GatewayFiles(settings.gateway_files())
    files.make()
    settings.data.mkdir(parents=True, exist_ok=True)
    engine = open_engine(settings.database_url())
    readers = open_engine(settings.database_url(), writes=False)
    migrate(engine)
    writer = Writer(engine)
    writer.start()
    clock, host = time.time_ns, settings.gateway.hostname
    callback = settings.gateway.callback
    addresses = Addresses(f"{callback}:{ports['job-repository']}", f"{callback}:{ports['task-launcher']}")
    try:
        jobs = JobRepository(JobStore(writer, readers, clock), bus, clock)
        tasks = TaskStore(writer, readers, clock)
        yield Gateway(
            jobs,
            TaskLauncher(
                jobs, tasks, files, addresses, bus, clock, hostname=host, answer_seconds=settings.gateway.answer_seconds
            ),
            FileReceiver(jobs, files.input, host),
            FileSender(jobs, files, bus, clock),
        )
    finally:
        writer.stop()
        engine.dispose()
        readers.dispose()
