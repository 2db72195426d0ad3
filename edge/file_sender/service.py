"""The file sender: brings registered files to the gateway, and says so when that can never be."""

import asyncio
import hashlib
import logging
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import gojson, meters, steps, web
from contracts.desk import Desk, pause_after
from contracts.disk import open_plain
from contracts.errors import AppError, Away, BadRequest, Conflict, NotFound, Unavailable, error_of
from contracts.events import StepFailed, TransferStarted
from contracts.models import Job, State, Trouble
from contracts.openapi import Operations
from contracts.ports import Clock, JobQuery, Jobs
from edge.data_organizer.service import watched_place
from edge.file_sender.upload import SourceChanged, SourceGone, upload
from edge.file_watcher.looking import signature_of
from edge.journal import Journal
from edge.rows import SECOND, FileState, Row, Sighting, Step

log = logging.getLogger(__name__)
RECALLED, RECALL_PAGES = 200, 10
"""Jobs on a page, and pages that one look for jobs to be sent again goes through at most."""
LONGEST = 5.0
"""Seconds for which a file is left alone at most that the gateway did not take."""


class FileSender:
    """Every registered file reaches the gateway whole, or its job says why it cannot.

    ``client`` has the gateway's file receiver as its ``base_url``.
    """

    name = "file-sender-oem"

    def __init__(
        self,
        journal: Journal,
        jobs: Jobs,
        client: httpx.AsyncClient,
        clock: Clock,
        *,
        host: str = "oem",
        roots: Sequence[str] = (),
        slots: int = 4,
        every: float = 5.0,
        recall_seconds: float = 10.0,
    ) -> None:
        self._journal, self._jobs, self._client, self._clock = journal, jobs, client, clock
        self._host, self._roots = host, tuple(roots)
        self._failures, self._away_until, self._away = 0, 0.0, ""
        self._recalled: int | None = None
        self._sending = Desk(
            "sending",
            self._registered,
            self._send,
            lambda row: str(row.id),
            slots=slots,
            every=every,
            longest=LONGEST,
        )
        self._recalling = Desk(
            "recalling", self._wanted_again, self._send_again, lambda job: job.id, slots=1, every=recall_seconds
        )
        self.desks = (self._sending, self._recalling)
        self._bytes = meters.counter("cytobus_sent_bytes", "Bytes of images that the gateway has taken")
        self._files = meters.counter("cytobus_sent_files", "Images that the gateway has taken")
        self.meters = (self._bytes, self._files)
        journal.listen(FileState.REGISTERED, self._sending.wake)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/dataToHandle", self._data_to_handle, methods=["POST"]),
            Route("/api/v1/retry", self._retry, methods=["POST"]),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from edge.file_sender.openapi import operations

        return operations()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the context is open."""
        async with AsyncExitStack() as stack:
            for desk in self.desks:
                await stack.enter_async_context(desk.running())
            yield

    # -- sending

    async def _registered(self, limit: int) -> list[Row]:
        if asyncio.get_running_loop().time() < self._away_until:
            # One file has found the gateway away; the others need not all find out for themselves.
            raise Away(self._away)
        return await self._journal.waiting(FileState.REGISTERED, limit)

    async def _send(self, row: Row) -> None:
        try:
            await upload(
                self._client,
                row.path,
                job_id=row.job_id,
                name=row.name,
                folder=row.folder,
                sha256=row.sha256,
                size=row.size,
            )
        except (SourceGone, SourceChanged) as error:
            await self._give_up(row, "gone" if isinstance(error, SourceGone) else "changed", str(error))
        except (NotFound, Conflict) as error:
            await self._register_again(row, error)
        except Unavailable as error:
            self._note_away(error)
            raise
        except AppError as error:
            if error.retry:
                raise
            if not row.tries:  # a bad line may have damaged what was asked: a refusal is believed the second time
                await self._register_again(row, error)
                return
            await self._give_up(row, "refused", str(error))
        else:
            self._failures = 0
            await self._journal.step([Step(row.id, FileState.REGISTERED, FileState.SENT)])
            self._bytes.inc(row.size)
            self._files.inc()
            steps.note("sent to the gateway", row.job_id, row.path.as_posix())

    def _note_away(self, error: Unavailable) -> None:
        if error.after is None and not isinstance(error, Away):
            # It is about this file alone; the others are not to wait.
            return
        self._failures += 1
        pause = max(pause_after(self._failures, longest=2.0, chance=random.random()), error.after or 0.0)
        self._away, self._away_until = str(error), asyncio.get_running_loop().time() + pause

    async def _give_up(self, row: Row, outcome: str, reason: str) -> None:
        """Report that this content cannot be sent any more; the row is closed once the gateway has taken note."""
        fact = StepFailed(
            job_id=row.job_id, by=self.name, state=State.SENDING, trouble=Trouble.TRANSMIT_FILE, reason=reason
        )
        (verdict,) = await self._jobs.report([fact])
        if verdict.status >= 500 or verdict.status == 425:
            raise error_of(verdict.status, verdict.error)
        await self._journal.step([Step(row.id, FileState.REGISTERED, FileState.DONE, outcome, reason)])

    async def _register_again(self, row: Row, error: AppError) -> None:
        """The gateway does not know the job (as it is): the organizer tells it anew, and learns how far it is."""
        tries = row.tries + 1
        pause = pause_after(tries, first=0.5, longest=300, chance=random.random()) if tries > 1 else 0.0
        log.warning("%s: %s: %s; it is registered again", self.name, row.path, error)
        not_before = self._clock() + int(pause * SECOND)
        step = Step(row.id, FileState.REGISTERED, FileState.HASHED, not_before=not_before, tries=tries)
        await self._journal.step([step])

    # -- recalling: jobs that an operator has released, or that a restored gateway has forgotten to have

    async def _wanted_again(self, _limit: int) -> list[Job]:
        """Jobs to be sent whose files were sent, or closed, before. However many wait to be sent for the first time, a
        look costs no more than a few pages; the next one goes on behind them."""
        for _ in range(RECALL_PAGES):
            page = await self._jobs.find(
                JobQuery(
                    states=(State.CREATED, State.SENDING),
                    origin_host=self._host,
                    newest_first=False,
                    after=self._recalled,
                    limit=RECALLED,
                )
            )
            rows = await self._journal.of_jobs([job.id for job in page.jobs])
            sent = {name for name, row in rows.items() if row.state in (FileState.SENT, FileState.DONE)}
            found = [job for job in page.jobs if job.id in sent]
            self._recalled = page.next
            if found or page.next is None:
                return found
        return []

    async def _send_again(self, job: Job) -> None:
        row = await self._journal.of_job(job.id)
        if row is not None and row.state in (FileState.SENT, FileState.DONE):
            state = FileState.HASHED if job.state is State.CREATED else FileState.REGISTERED
            await self._journal.step([Step(row.id, FileState(row.state), state)])

    # -- routes

    async def _retry(self, _request: Request) -> Response:
        self._away_until = 0.0
        for desk in self.desks:
            desk.wake()
        return web.reply()

    async def _data_to_handle(self, request: Request) -> Response:
        """A job that another program has made and wants sent: taken over into the journal, then answered."""
        body = await web.body_of(request)
        try:
            job = gojson.decode(Job, body)
        except gojson.BadBody as error:
            return web.error(f"failed to unmarshal request ({request.url.path}): {error}", 400)
        file = job.input_file
        where = f"{file.hostname}:{file.dir_name.rstrip('/')}/{file.name}"
        try:
            sighting = await asyncio.to_thread(self._validated, job)
        except BadRequest as error:
            return web.error(f"failed to validate NotifyNewFile request for file {where}: {error}", 400)
        await self._take_over(job, sighting)
        return web.reply()

    def _validated(self, job: Job) -> Sighting:
        """The file that a job names. Raises ``BadRequest`` where it may not or cannot be sent."""
        file = job.input_file
        if ".." in file.name or file.name.startswith("/") or not file.name:
            raise BadRequest(f"the file name {file.name!r} is not allowed")
        if ".." in file.dir_name or "./" in file.dir_name:
            raise BadRequest(f"the folder {file.dir_name!r} is not allowed")
        if file.hostname != self._host:
            raise BadRequest(f"the file lies on host {file.hostname!r}, this is {self._host!r}")
        place = watched_place(Path(file.dir_name, file.name), self._roots)
        try:
            return Sighting(*place, signature_of(Path(*place).stat()))
        except OSError as error:
            raise BadRequest(f"the file cannot be read: {error.strerror or error}") from None

    async def _take_over(self, job: Job, sighting: Sighting) -> None:
        """Write the job down and say that its transfer begins. Raises ``Unavailable`` without the gateway."""
        row = await self._journal.of_job(job.id)
        if row is not None:
            await self._register_known(row)
            return
        (verdict,) = await self._jobs.report([TransferStarted(job_id=job.id, by=self.name)])
        if verdict.status >= 400:
            raise error_of(verdict.status, verdict.error)
        sha256 = await asyncio.to_thread(_sha256, Path(sighting.root, sighting.folder, sighting.name))
        await self._journal.adopt(sighting, job.id, sha256)

    async def _register_known(self, row: Row) -> None:
        if row.state in (FileState.SENT, FileState.DONE) and row.outcome != "duplicate":
            again = Step(row.id, FileState(row.state), FileState.HASHED)
            await self._journal.step([again])
        self._sending.wake()


def _sha256(path: Path) -> str:
    try:
        with open_plain(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadRequest(f"{os.fspath(path)} cannot be read: {error.strerror or error}") from None
