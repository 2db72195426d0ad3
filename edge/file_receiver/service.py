"""The file receiver: fetches results from the gateway and puts them where the laboratory looks for them."""

import asyncio
import contextlib
import errno
import logging
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import meters, steps, web
from contracts.condition import Condition
from contracts.desk import Desk, pause_after
from contracts.disk import bare_name, inside, make_folder, place, place_new, sha256_of, sync_folder
from contracts.errors import AppError, BadRequest, Rejected, Unavailable, error_of
from contracts.events import OutputsDelivered, StepFailed, jobs_in
from contracts.models import Job, OutputFile, State, Trouble
from contracts.openapi import Operations
from contracts.ports import Bus, Clock, Delivery, JobQuery, Jobs
from contracts.room import Room
from contracts.waiting import check_room
from edge.file_receiver.closing import Closing
from edge.file_receiver.download import Damaged, fetch
from edge.file_receiver.rules import PARTS, names_for, safe_folder, sub_folder_of
from edge.journal import Journal
from edge.rows import SECOND, FileState, Step

T = TypeVar("T")
log = logging.getLogger(__name__)

KEPT = 7 * 24 * 3600 * SECOND
"""So long an unfinished part is kept, for its job to go on with it."""


@dataclass(frozen=True)
class ReceiveSettings:
    """``output`` is where results go. Durations in seconds."""

    output: Path
    poll_seconds: float = 2.0
    closing_seconds: float = 10.0
    """how often it is asked which jobs have ended"""
    slots: int = 4
    retry_seconds: float = 1.0
    """the first pause after an output could not be fetched; it doubles with each failure"""


class FileReceiver:
    """Every output of every job of this instrument is put down whole, under a name of its own, synced, then told.

    ``client`` has the gateway's file sender as its ``base_url``.
    """

    name = "file-receiver-oem"

    def __init__(
        self,
        settings: ReceiveSettings,
        journal: Journal,
        jobs: Jobs,
        client: httpx.AsyncClient,
        clock: Clock,
        *,
        host: str = "oem",
        bus: Bus | None = None,
        room: Room | None = None,
    ) -> None:
        """``room`` for results: without it none is fetched."""
        self._room = room
        self._settings, self._journal, self._jobs = settings, journal, jobs
        self._client, self._clock, self._host, self._bus = client, clock, host, bus
        self._receiving = Desk(
            "receiving",
            self._delivering,
            self._receive,
            lambda job: job.id,
            slots=settings.slots,
            every=settings.poll_seconds,
            longest=5.0,
        )
        self._bringing = Condition("bringing outputs")
        self._closing = Closing(journal, jobs, host, settings.closing_seconds)
        self.desks = (self._receiving, self._closing.desk, self._bringing, *([room] if room else ()))
        self._bytes = meters.counter("cytobus_returned_bytes", "Bytes of results that came back")
        self._files = meters.counter("cytobus_returned_files", "Results that came back")
        self._taken = meters.histogram("cytobus_return_seconds", "From a job's registration to its results here (s)")
        self.meters = (self._bytes, self._files, self._taken, *([room] if room else ()))

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/retry", self._retry, methods=["POST"])]

    def operations(self) -> Operations:
        """The routes, described."""
        from edge.file_receiver.openapi import operations

        return operations()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the context is open."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._receiving.running())
            await stack.enter_async_context(self._closing.desk.running())
            await asyncio.to_thread(_sweep, self._settings.output / PARTS, self._clock() - KEPT)
            if self._bus is not None:
                handlers = {jobs_in(State.DELIVERING, self._host): self._on_delivering}
                await stack.enter_async_context(self._bus.subscribe(f"{self.name}-{self._host}", handlers))
            yield

    async def _on_delivering(self, _delivery: Delivery) -> None:
        self._receiving.wake()

    async def _delivering(self, limit: int) -> list[Job]:
        query = JobQuery(
            states=(State.DELIVERING,),
            origin_host=self._host,
            due_at=self._clock(),
            newest_first=False,
            limit=limit,
        )
        await check_room(self._room, self._jobs, query, self.name)
        page = await self._jobs.find(query)
        return [job for job in page.jobs if job.origin_host == self._host and job.state is State.DELIVERING]

    async def _receive(self, job: Job) -> None:
        try:
            await self._bring_all(job)
        except AppError as error:
            if error.retry and not isinstance(error, Damaged):
                # The gateway is away or the disk is full: nothing is wrong with the job.
                self._bringing.trouble = str(error)
                raise
            await self._failed(job, error)
        else:
            self._bringing.trouble = ""
            await self._delivered(job)

    async def _bring_all(self, job: Job) -> None:
        """All outputs of a job lie in their places, synced."""
        folder = await self._folder_of(job)
        for index, output in enumerate(job.pipeline_details.output_files or ()):
            await self._bring(job, index, output, folder)

    async def _folder_of(self, job: Job) -> Path:
        row = await self._journal.of_job(job.id)
        folder_there = row.folder if row is not None else sub_folder_of(job.origin_dir)
        sub = safe_folder(folder_there, windows=sys.platform == "win32")

        def made() -> Path:
            make_folder(self._settings.output / PARTS)
            folder = inside(self._settings.output, sub)
            try:
                make_folder(folder)
            except (FileExistsError, NotADirectoryError):
                raise Rejected(
                    f"a file lies where the results' folder {str(folder)!r} should be: move it away"
                ) from None
            return folder

        return await _on_disk(made)

    async def _bring(self, job: Job, index: int, output: OutputFile, folder: Path) -> None:
        name = bare_name(output.name)
        part = self._settings.output / PARTS / f"{bare_name(job.id)}-{index}"
        if output.sha256 and await self._is_there(job, index, name, output.sha256, folder):
            await _on_disk(lambda: _finish(part, folder))
            return
        if self._room is not None:
            await asyncio.to_thread(self._room.check, output.size or 0)
        url = f"/api/v1/transmitFile/{job.id}/{index}"
        sha256 = await self._fetch(url, part, output)
        for candidate in names_for(name, job.id, index):
            target = folder / candidate
            if not await self._journal.reserve_output(str(target), job.id, sha256):
                continue
            if await _on_disk(lambda target=target: _put(part, target, sha256)):  # type: ignore[misc]
                return
        raise Rejected(f"no name is free for {name} in {folder}")

    async def _fetch(self, url: str, part: Path, output: OutputFile) -> str:
        try:
            return await fetch(self._client, url, part, sha256=output.sha256, size=output.size)
        except AppError as error:
            if not error.retry:
                await asyncio.to_thread(part.unlink, missing_ok=True)
            raise

    async def _is_there(self, job: Job, index: int, name: str, sha256: str, folder: Path) -> bool:
        """Whether this output was put down before (a crash came before it could be told)."""
        candidates = [folder / one for _, one in zip(range(3), names_for(name, job.id, index), strict=False)]
        owners = await self._journal.outputs_of([str(path) for path in candidates])
        own = [path for path in candidates if owners.get(str(path)) == job.id]
        return await _on_disk(lambda: any(_holds(path, sha256) for path in own))

    async def _delivered(self, job: Job) -> None:
        (verdict,) = await self._jobs.report([OutputsDelivered(job_id=job.id, by=self.name, hostname=self._host)])
        if verdict.status >= 400:
            raise error_of(verdict.status, verdict.error)
        if verdict.job is not None and verdict.job.state is State.CANCELLED:
            await self._close(job, str(State.CANCELLED))
            return
        await self._close(job, "delivered")
        outputs = job.pipeline_details.output_files or ()
        self._files.inc(len(outputs))
        self._bytes.inc(sum(output.size or 0 for output in outputs))
        self._taken.observe(max(0.0, (self._clock() - job.created) / SECOND))
        steps.note("results are back", job.id, job.input_file.name)

    async def _close(self, job: Job, outcome: str) -> None:
        row = await self._journal.of_job(job.id)
        if row is not None and row.state != FileState.DONE:
            await self._journal.step([Step(row.id, FileState(row.state), FileState.DONE, outcome)])

    async def _failed(self, job: Job, error: AppError) -> None:
        """Tell that an output cannot be had; the repository counts, and gives up in the end."""
        pause = pause_after(job.failures + 1, first=self._settings.retry_seconds, chance=random.random())
        fact = StepFailed(
            job_id=job.id,
            by=self.name,
            state=State.DELIVERING,
            trouble=Trouble.WRITE if isinstance(error, BadRequest) else Trouble.TRANSMIT_FILE,
            reason=str(error),
            retry_at=self._clock() + int(pause * SECOND),
        )
        (verdict,) = await self._jobs.report([fact])
        if verdict.status >= 400:
            raise error_of(verdict.status, verdict.error)

    async def _retry(self, _request: Request) -> Response:
        self._receiving.wake()
        self._closing.desk.wake()
        return web.reply()


def _sweep(folder: Path, before: int) -> None:
    """Remove parts that were last written before a time (ns)."""
    with contextlib.suppress(OSError):
        for part in folder.iterdir():
            with contextlib.suppress(OSError):
                if part.stat().st_mtime_ns < before:
                    part.unlink()


def _put(part: Path, target: Path, sha256: str) -> bool:
    """Whether the part is in its place now; False where something else is."""
    if place_new(part, target):
        return True
    if _is_empty(target):
        # The name is this job's in the journal. An earlier try held it with an empty file, where there are no hard
        # links, and could not take that away again.
        place(part, target)
        return True
    if not _holds(target, sha256):
        return False
    part.unlink(missing_ok=True)
    sync_folder(target.parent)
    return True


def _finish(part: Path, folder: Path) -> None:
    """What may be left to do where a crash came after an output had got its name."""
    part.unlink(missing_ok=True)
    sync_folder(folder)


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == 0


def _holds(path: Path, sha256: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256_of(path) == sha256


async def _on_disk(work: Callable[[], T]) -> T:
    """Do blocking work in a thread. A disk that cannot be written is ``Unavailable``: time or people may help. What
    only this job's names are to blame for is ``Rejected``: others are not to wait for it."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            reason = (
                f"{str(error.filename)[-200:]!r}: {error.strerror}: give the image and its folder shorter, plain names"
            )
            raise Rejected(reason) from error
        raise Unavailable(f"the output folder cannot be used: {error}") from error
