"""The data organizer: reads each new file's digest, registers its job and asks whether a task wants it."""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import gojson, steps, web
from contracts.desk import Desk
from contracts.disk import BLOCK, open_plain
from contracts.errors import AppError, BadRequest, NotFound, Rejected, Unavailable
from contracts.events import Fact, JobCreated, JobUnmatched, TransferStarted, Verdict
from contracts.models import Job, State
from contracts.names import Rule, attributes_of
from contracts.openapi import Operations
from contracts.ports import Jobs, Tasks
from edge.data_organizer.rules import Laboratory, folder_of, input_file, job_id_of, step_after
from edge.file_watcher.looking import Place, place_of, signature_of
from edge.journal import EPOCH, Journal
from edge.rows import FileState, Row, Sighting, Step

log = logging.getLogger(__name__)

BATCH = 100
"""So many files are registered with one request."""


class DataOrganizer:
    """Each found file gets its job at the gateway, or a reason why not. Reading goes on while the gateway is away."""

    name = "data-organizer"

    def __init__(
        self,
        journal: Journal,
        jobs: Jobs,
        tasks: Tasks,
        *,
        host: str = "oem",
        roots: Sequence[str] = (),
        rules: Sequence[Rule] = (),
        laboratory: Laboratory | None = None,
        readers: int = 4,
        every: float = 5.0,
    ) -> None:
        self._journal, self._jobs, self._tasks = journal, jobs, tasks
        self._host, self._roots, self._rules = host, tuple(roots), tuple(rules)
        self._laboratory = laboratory or Laboratory()
        self._reading = Desk("reading", self._found, self._read, lambda row: str(row.id), slots=readers, every=every)
        self._registering = Desk(
            "registering", self._hashed, self._register_all, lambda _rows: "batch", slots=1, every=every
        )
        self._retelling = Desk("retelling", self._restored, self._retell, str, slots=1, every=2 * every)
        self.desks = (self._reading, self._registering, self._retelling)
        journal.listen(FileState.FOUND, self._reading.wake)
        journal.listen(FileState.HASHED, self._registering.wake)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/notifyNewFile", self._notify_new_file, methods=["POST"]),
            Route("/api/v1/retry", self._retry, methods=["POST"]),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from edge.data_organizer.openapi import operations

        return operations()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the context is open."""
        async with AsyncExitStack() as stack:
            for desk in self.desks:
                await stack.enter_async_context(desk.running())
            yield

    # -- reading

    async def _found(self, limit: int) -> list[Row]:
        return await self._journal.waiting(FileState.FOUND, limit)

    async def _read(self, row: Row) -> None:
        """Take a file's digest. A file that changes meanwhile goes back to the watcher."""
        try:
            sha256 = await asyncio.to_thread(_digest, row)
        except FileNotFoundError:
            reason = "it was deleted or renamed before it could be read"
            await self._journal.step([Step(row.id, FileState.FOUND, FileState.DONE, "gone", reason)])
        except OSError as error:
            await self._journal.put_back(row, f"unreadable: {error.strerror or error}", retry=True)
        except Rejected as error:
            await self._journal.put_back(row, str(error), retry=False)
        else:
            job_id = self._job_id(row, sha256)
            await self._journal.hashed(row, sha256, job_id)
            steps.note("found and read", job_id, row.path.as_posix())

    def _job_id(self, row: Row, sha256: str) -> str:
        return job_id_of(self._host, folder_of(row), row.name, sha256)

    # -- registering

    async def _hashed(self, _limit: int) -> list[list[Row]]:
        rows = await self._journal.waiting(FileState.HASHED, BATCH)
        return [rows] if rows else []

    async def _register_all(self, rows: list[Row]) -> None:
        """Register a batch; if the gateway refuses it as a whole, one by one, so that one cannot stop the others."""
        try:
            await self._register(rows)
        except AppError as error:
            if error.retry:
                raise
            log.warning("%s: %s; %d files are registered one by one", self.name, error, len(rows))
            for row in rows:
                await self._register_alone(row)

    async def _register_alone(self, row: Row) -> None:
        try:
            await self._register([row])
        except AppError as error:
            if error.retry:
                raise
            await self._journal.step([_refused(row, str(error))])

    async def _register(self, rows: Sequence[Row]) -> list[Step]:
        """Tell the gateway of files, and of what a task wants of them; the steps that were taken."""
        created = await self._jobs.report([self._created(row) for row in rows])
        known, steps = _sorted(rows, created)
        fresh = [(row, job) for row, job in known if job.state is State.CREATED]
        steps += [step_after(row, job) for row, job in known if job.state is not State.CREATED]
        if fresh:
            wanted = await self._tasks.match([job for _, job in fresh])
            facts = [self._decided(job, is_wanted) for (_, job), is_wanted in zip(fresh, wanted, strict=True)]
            decided, refused = _sorted([row for row, _ in fresh], await self._jobs.report(facts))
            steps += refused + [step_after(row, job) for row, job in decided]
        await self._journal.step(steps)
        if len(steps) < len(rows):
            raise Unavailable(f"{len(rows) - len(steps)} of {len(rows)} files could not be registered yet")
        return steps

    def _created(self, row: Row) -> JobCreated:
        path = f"{row.folder}/{row.name}" if row.folder else row.name
        attributes = self._laboratory.attributes() | attributes_of(path, self._rules)
        return JobCreated(job_id=row.job_id, by=self.name, input_file=input_file(row, self._host, attributes))

    def _decided(self, job: Job, is_wanted: bool) -> Fact:
        kind = TransferStarted if is_wanted else JobUnmatched
        return kind(job_id=job.id, by=self.name)

    # -- retelling: a gateway that was restored from a backup has forgotten what came after it

    async def _restored(self, _limit: int) -> list[str]:
        """The gateway's epoch, if it is not the one that we know."""
        try:
            epoch = await self._jobs.epoch()
        except NotFound:
            return []  # an older gateway
        return [epoch] if epoch != await self._journal.noted(EPOCH) else []

    async def _retell(self, epoch: str) -> None:
        count = await self._journal.retell(epoch)
        if count:
            log.warning("%s: the gateway was restored from a backup; %d files are told again", self.name, count)

    # -- routes

    async def _retry(self, _request: Request) -> Response:
        for desk in self.desks:
            desk.wake()
        return web.reply()

    async def _notify_new_file(self, request: Request) -> Response:
        """A new file, told by another program: written down, read and registered before it is answered."""
        body = await web.body_of(request)
        try:
            job = gojson.decode(Job, body)
        except gojson.BadBody as error:
            return web.error(f"failed to unmarshal NotifyNewFile request ({request.url.path}): {error}", 500)
        name = job.input_file.name
        try:
            return web.reply(await self._take(await asyncio.to_thread(self._notified, job)))
        except AppError as error:
            return web.error(f"failed to create job for file ({name}): {error}", 400)

    def _notified(self, job: Job) -> Sighting:
        """The file that a job names. Raises ``BadRequest`` unless it lies in a watched folder."""
        file = job.input_file
        if file.hostname and file.hostname != self._host:
            raise BadRequest(f"it lies on host {file.hostname}, this is {self._host}")
        place = watched_place(Path(file.dir_name, file.name), self._roots)
        try:
            return Sighting(*place, signature_of(Path(*place).stat()))
        except OSError as error:
            raise BadRequest(f"{Path(*place)} cannot be read: {error.strerror or error}") from None

    async def _take(self, sighting: Sighting) -> int:
        """The contract's status for a file that was told of: 200 wanted, 204 not wanted, 208 had before."""
        (row,) = await self._journal.sight([sighting])
        if row.state == FileState.FOUND:
            await self._read(row)
            row = await self._now(row)
        if row.state == FileState.HASHED:
            await self._register([row])
            row = await self._now(row)
            return 204 if row.outcome == State.UNMATCHED else 200
        if row.state in (FileState.HELD, FileState.FOUND) or row.outcome == "gone":
            raise BadRequest(row.reason or "it cannot be read now")
        return 208 if row.state == FileState.DONE else 200

    async def _now(self, row: Row) -> Row:
        return await self._journal.row(row.id) or row


def watched_place(path: Path, roots: Sequence[str]) -> Place:
    """Where a path lies in the watched folders, its links resolved. Raises ``BadRequest`` where it lies outside."""
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError) as error:  # a NUL in it
        raise BadRequest(f"{str(path)[:200]!r} is not a path: {error}") from None
    for root in roots:
        found = place_of(real, (os.path.realpath(root),))
        if found:
            return root, found[1], found[2]
    raise BadRequest(f"{path} lies in no watched folder")


def _digest(row: Row) -> str:
    """The file's SHA-256. Raises ``Rejected`` if it is not, or does not stay, the version that was found."""
    digest = hashlib.sha256()
    with open_plain(row.path) as file:
        _check_same(row, os.fstat(file.fileno()))
        while block := file.read(BLOCK):
            digest.update(block)
        _check_same(row, os.fstat(file.fileno()))
    _check_same(row, row.path.lstat())
    return digest.hexdigest()


def _check_same(row: Row, found: os.stat_result) -> None:
    if signature_of(found) != row.signature:
        raise Rejected("it changed while it was read")


def _sorted(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> tuple[list[tuple[Row, Job]], list[Step]]:
    """The rows with their jobs, and the steps of those that the gateway refused for good."""
    known, refused = [], []
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.job is not None and verdict.status < 400:
            known.append((row, verdict.job))
        elif 400 <= verdict.status < 500 and verdict.status not in (404, 408, 425, 429):
            refused.append(_refused(row, verdict.error))
    return known, refused


def _refused(row: Row, reason: str) -> Step:
    return Step(row.id, FileState.HASHED, FileState.DONE, outcome="refused", reason=reason)
