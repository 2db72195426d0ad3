"""The gateway's file sender: serves outputs, archives what is delivered, keeps what reviewers reject."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import meters, web
from contracts.desk import Desk, pause_after
from contracts.disk import is_file, no_room, sha256_of
from contracts.errors import AppError, BadRequest, Conflict, NotFound, Unavailable
from contracts.events import Fact, JobWaits, OutputDamaged, OutputsArchived, PreviewsMade, StepFailed, jobs_in
from contracts.gojson import BadBody, decode
from contracts.guard import confine
from contracts.models import Job, OutputFile, Owner, State, Trouble
from contracts.openapi import Operations
from contracts.ports import Bus, Clock, Delivery, JobQuery, Jobs
from gateway.file_sender.archive import Archived, archived, previews
from gateway.file_sender.bundles import Bundles
from gateway.file_sender.painter import Painter
from gateway.file_sender.pictures import Pictures
from gateway.file_sender.places import check_kept, place_of
from gateway.file_sender.rejects import Rejects
from gateway.file_sender.serving import file_response
from gateway.files import GatewayFiles
from gateway.retention.rules import Keep
from gateway.retention.sweep import Retention

log = logging.getLogger(__name__)
BATCH = 50
"""Jobs that are archived together, and so share their syncs to disk."""
FULL_PAUSE = 5 * 10**9
"""ns for which a job is left alone that the archive has no room for."""
PREVIEW_PATIENCE = 60 * 10**9
"""ns that a preview waits at most for the pipelines to be idle."""


class FileSender:
    """Works on delivered jobs, and answers those who fetch, reject or look at files."""

    name = "file-sender-gateway"

    def __init__(
        self,
        jobs: Jobs,
        files: GatewayFiles,
        bus: Bus,
        clock: Clock,
        *,
        keep: Keep = Keep(),  # noqa: B008 - frozen
    ) -> None:
        """``keep``: how long files of ended jobs stay here."""
        self.retention = Retention(jobs, files, keep, clock)
        self._jobs, self._files, self._bus, self._clock = jobs, files, bus, clock
        self._archive = Desk("archive", self._look_for_delivered, self.archive, lambda jobs: jobs[0].id, slots=1)
        self._preview = Desk("preview", self._look_for_unseen, self.preview, _name_of, slots=1, every=2.0)
        self._work = (self._archive, self._preview)
        self.desks = (*self._work, self.retention)
        self._painter, self._pictures = Painter(), Pictures(self._job, files)
        self._rejects = Rejects(self._job, jobs, files)
        self._served = meters.counter("cytobus_served_bytes", "Bytes of results that were asked for")
        self.meters = (self._served, *self.retention.meters)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Archives and makes previews while the context is open."""
        async with AsyncExitStack() as stack:
            stack.callback(self._painter.close)
            stack.callback(self._pictures.close)
            for desk in (*self._work, self.retention):
                await stack.enter_async_context(desk.running())
            wakes = {jobs_in(State.DELIVERED): self._wake}
            await stack.enter_async_context(self._bus.subscribe(self.name, wakes))
            yield

    async def _wake(self, _delivery: Delivery) -> None:
        self._archive.wake()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/dataToHandle", self.on_data_to_handle, methods=["POST"]),
            Route("/api/v1/transmitFile/{job_id}/{place}", self.on_transmit_file, methods=["GET"]),
            Route("/api/v1/archiveFile/{job_id}", self.on_archive, methods=["POST"]),
            *self._rejects.routes(),
            *self._pictures.routes(),
            *Bundles(self._jobs, self._files).routes(),
            Route("/api/v1/archive/sweep", self.on_sweep, methods=["POST"]),
            Route("/api/v1/retry", self.on_retry, methods=["POST"]),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.file_sender.openapi import operations

        return operations()

    # --- the work

    async def _look_for_delivered(self, _free: int) -> Sequence[tuple[Job, ...]]:
        query = JobQuery(states=(State.DELIVERED,), due_at=self._clock(), newest_first=False, limit=BATCH)
        page = await self._jobs.find(query)
        return [page.jobs] if page.jobs else []

    async def archive(self, jobs: tuple[Job, ...]) -> None:
        """Move jobs' files to the archive and say so; what fails is counted and tried again."""
        results = await asyncio.to_thread(archived, jobs, self._files)
        await self._jobs.report([self._told(job, result) for job, result in zip(jobs, results, strict=True)])

    def _told(self, job: Job, result: Archived | AppError | OSError) -> Fact:
        if isinstance(result, tuple):
            file, outputs = result
            return OutputsArchived(job_id=job.id, by=Owner.FILE_SENDER_GATEWAY, input_file=file, outputs=outputs)
        if no_room(result):
            return JobWaits(
                job_id=job.id,
                by=Owner.FILE_SENDER_GATEWAY,
                state=job.state,
                reason=f"waits for room on the disk of {self._files.archive}",
                until=self._clock() + FULL_PAUSE,
            )
        pause = pause_after(job.failures, first=1.0, chance=random.random())
        return StepFailed(
            job_id=job.id,
            by=Owner.FILE_SENDER_GATEWAY,
            state=job.state,
            trouble=Trouble.ARCHIVE,
            reason=f"cannot archive: {result}",
            retry_at=self._clock() + int(pause * 1e9),
        )

    async def _look_for_unseen(self, free: int) -> Sequence[Job]:
        """Finished jobs without previews, once the pipelines are idle or the oldest has waited long enough."""
        page = await self._jobs.find(JobQuery(wants_preview=True, newest_first=False, limit=free))
        if not page.jobs or page.jobs[0].last_updated < self._clock() - PREVIEW_PATIENCE:
            return page.jobs
        busy = await self._jobs.find(JobQuery(states=(State.RECEIVED, State.RUNNING), limit=1))
        return () if busy.jobs else page.jobs

    async def preview(self, job: Job) -> None:
        """Make what a browser can show of a finished job."""
        made = await asyncio.to_thread(previews, job, self._painter.paint)
        await self._jobs.report([PreviewsMade(job_id=job.id, by=Owner.FILE_SENDER_GATEWAY, viewables=made)])

    # --- the contract's calls

    async def on_transmit_file(self, request: Request) -> Response:
        job = await self._job(request)
        said = request.path_params["place"]
        try:
            place_ = int(said)
        except ValueError:
            raise BadRequest(f'strconv.Atoi: parsing "{said}": invalid syntax') from None
        if job.state is State.CANCELLED:
            raise Conflict(f"job {job.id} is cancelled: its results are not sent; release it first")
        outputs = job.pipeline_details.output_files or ()
        if not 0 <= place_ < len(outputs):
            raise NotFound(f"job {job.id} has {len(outputs)} output files; there is no number {place_}")
        output = outputs[place_]
        check_kept(job)
        path = place_of(job, output, self._files)
        if not is_file(path):
            raise NotFound(f"output {output.name!r} of job {job.id} is no longer in {path.parent}")
        if "want-repr-digest" in request.headers and job.state is State.DELIVERING:
            await self._check(job, output, path)
        self._served.inc(max(0, output.size or 0))
        return await file_response(request, path, output.sha256)

    async def _check(self, job: Job, output: OutputFile, path: Path) -> None:
        """Somebody has got something else than was announced. Raises ``Conflict`` when that is what lies here, and has
        it made again."""
        try:
            found = await asyncio.to_thread(sha256_of, path)
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror or error}") from error
        if output.sha256 in ("", found):
            return
        reason = f"the output {output.name} is no longer what its pipeline made; it is made again"
        log.warning("job %s: %s", job.id, reason)
        damage = OutputDamaged(job_id=job.id, by=Owner.FILE_SENDER_GATEWAY, reason=reason, attempt=job.attempts)
        await self._jobs.report([damage])
        raise Conflict(f"job {job.id}: {reason}")

    async def on_data_to_handle(self, request: Request) -> Response:
        """Old launchers hand jobs over here; ours waits for them in the repository, so this only looks."""
        try:
            job = decode(Job, await web.body_of(request))
        except BadBody as error:
            raise BadRequest(f"failed to unmarshal request ({request.url.path}): {error}") from None
        await self._jobs.get(job.id)
        self._archive.wake()
        return web.reply()

    async def on_archive(self, request: Request) -> Response:
        """An instrument's side that speaks the old contract has pulled the outputs and wants them archived."""
        job = await self._job(request)
        if job.state in (State.DELIVERING, State.DELIVERED):
            await self.archive((job,))
            job = await self._jobs.get(job.id)
        if job.state is not State.COMPLETE:
            raise AppError(f"job {job.id} is not archived: {job.reason or f'it is {job.state}'}")
        return web.reply()

    async def on_sweep(self, request: Request) -> Response:
        """Remove now what is no longer to be kept; with ``dry_run=true`` only say what that is."""
        swept = await self.retention.sweep(dry_run=request.query_params.get("dry_run") == "true")
        return web.json(swept.told())

    async def on_retry(self, _request: Request) -> Response:
        for desk in self._work:
            desk.wake()
        return web.reply()

    async def _job(self, request: Request) -> Job:
        job_id = request.path_params["job_id"]
        try:
            job = await self._jobs.get(job_id)
        except NotFound:
            raise NotFound(f"failed to validate job for JobId: {job_id}") from None
        confine(request, job.origin_host, f"job {job_id}")
        return job


def _name_of(job: Job) -> str:
    return job.id
