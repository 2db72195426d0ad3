"""The file receiver: resumable uploads (tus 1.0.0) and the contract's plain ones, each ending in a reported fact."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import meters, transfer
from contracts.condition import Condition
from contracts.desk import Desk
from contracts.disk import bare_name
from contracts.errors import AppError, BadRequest, Conflict, NotFound, Unavailable, error_of
from contracts.events import InputDelivered
from contracts.guard import confine
from contracts.models import SHA256, Job, Owner, State
from contracts.openapi import Operations
from contracts.ports import Jobs
from contracts.room import Room
from contracts.waiting import say_waiting
from gateway.file_receiver import rules
from gateway.file_receiver.admission import Admission
from gateway.file_receiver.body import received
from gateway.file_receiver.plain import PlainCalls
from gateway.file_receiver.store import Part, Store, Upload
from gateway.file_receiver.tus import answered, progress
from gateway.file_receiver.uploads import Uploads, let_go
from gateway.file_receiver.writing import Appending, Arriving
from gateway.submission.service import Submissions
from gateway.threads import finished

FILES = "/api/v1/files"


class FileReceiver:
    """Files arrive below ``folder``; ``hostname`` is the name under which jobs then say they lie here.

    An upload is answered as finished only after its content was verified against its SHA-256, synced to the
    disk under its final name, and the job repository has committed the fact. All of it may be repeated at will.
    """

    name = str(Owner.FILE_RECEIVER_GATEWAY)

    def __init__(
        self,
        jobs: Jobs,
        folder: Path,
        hostname: str,
        *,
        days: float = 7,
        patience: float = 30,
        admission: Admission | None = None,
        beside: Submissions | None = None,
    ) -> None:
        """``days`` after its last byte an unfinished upload is removed; ``patience`` is for a silent sender (s).
        ``beside``: people's files are received here too."""
        self._beside = beside
        self._admission = admission or Admission()
        self._jobs, self._store, self._hostname = jobs, Store(folder), hostname
        self._days, self._patience = days, patience
        self._uploads = Uploads(self._store)
        self._one_at_a_time = asyncio.Lock()
        self._bytes = meters.counter("cytobus_received_bytes", "Bytes of images received whole")
        self._files = meters.counter("cytobus_received_files", "Images received whole")
        self._reporting = Condition("reports to the job repository")
        room = self._admission.room
        self.meters: tuple[meters.Collector, ...] = (self._bytes, self._files, *([room] if room else ()))
        self.desks: tuple[Condition | Room | Desk[str], ...] = (
            *(self._reporting, *([room] if room else ())),
            *(beside.desks if beside else ()),
        )

    def routes(self) -> list[BaseRoute]:
        """The upload resources, and the contract's three calls."""
        plain = PlainCalls(self._jobs, self._hostname, self.take)
        return [
            Route(FILES, self._answer, methods=["OPTIONS", "POST"]),
            Route(FILES + "/{upload}", self._answer, methods=["OPTIONS", "HEAD", "PATCH", "DELETE", "POST"]),
            *plain.routes(),
            *(self._beside.routes() if self._beside else ()),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.file_receiver.openapi import operations

        return {**operations(), **(self._beside.operations() if self._beside else {})}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Removes expired uploads, at once and then hourly. Raises when the folder cannot be used."""
        await asyncio.to_thread(self._store.prepare)
        async with (
            self._uploads.expiring(self._days, self.name),
            self._beside.running() if self._beside else contextlib.nullcontext(),
        ):
            yield

    async def _answer(self, request: Request) -> Response:
        """One tus request: its answer and its errors all bear the protocol's headers."""
        verb = request.method
        if verb == "POST":
            # No other: who stands before the service has judged by the method that was really used.
            verb = request.headers.get("x-http-method-override", verb).upper()
        one = "upload" in request.path_params
        verbs: dict[str, Callable[[Request], Awaitable[Response]]] = {"OPTIONS": self._options}
        verbs |= {"HEAD": self._head, "PATCH": self._patch, "DELETE": self._delete} if one else {"POST": self._post}
        if verb not in verbs:
            raise HTTPException(405)
        return await answered(request, verbs[verb], versioned=verb != "OPTIONS")

    async def _options(self, _request: Request) -> Response:
        headers = {
            "Tus-Version": transfer.VERSION,
            "Tus-Extension": transfer.EXTENSIONS,
            "Tus-Checksum-Algorithm": ",".join(transfer.ALGORITHMS),
        }
        return Response(status_code=204, headers=headers)

    async def _post(self, request: Request) -> Response:
        creation = transfer.judge_creation(request.headers)
        job = await self._job(creation.metadata)
        confine(request, job.origin_host, f"job {job.id}")
        upload = _upload(creation, job)
        location = {"Location": f"{FILES}/{upload.id}"}
        if not rules.awaited(job):
            await self._uploads.clear(upload)
            return Response(status_code=201, headers={**location, "Upload-Offset": str(upload.length)})
        async with self._uploads.held(upload.id, upload) as part:
            if part.offset == 0 and not part.full:
                await self._admit(job, upload.length, part)
                if creation.body != upload.length or upload.length > transfer.CHUNK:
                    await asyncio.to_thread(self._store.note, part)
                if creation.body != 0:
                    await self._append(request, part, creation.checksum)
            await self._deliver(part)
            return Response(status_code=201, headers=location | progress(part, self._days))

    async def _head(self, request: Request) -> Response:
        name = request.path_params["upload"]
        known = self._uploads.taken(name)
        if known is not None and not await let_go(known):
            confine(request, known.upload.host, f"upload {name}")
            return Response(headers=progress(known, self._days))
        async with self._uploads.held(name) as part:
            confine(request, part.upload.host, f"upload {name}")
            # A sender takes a full offset for "delivered", so it must be.
            await self._deliver(part)
            return Response(headers=progress(part, self._days))

    async def _patch(self, request: Request) -> Response:
        async with self._uploads.held(request.path_params["upload"]) as part:
            confine(request, part.upload.host, "this upload")
            patch = transfer.judge_patch(request.headers, part.offset, part.upload.length)
            if not part.full:
                await self._check_wanted(part)
                await self._append(request, part, patch.checksum)
            await self._deliver(part)
            return Response(status_code=204, headers=progress(part, self._days))

    async def _check_wanted(self, part: Part) -> None:
        """Raises ``NotFound`` where the job was deleted or cancelled meanwhile; who then begins anew, hears why."""
        try:
            job = await self._jobs.get(part.upload.job_id)
        except Unavailable:
            return  # the bytes can come while the repository is away
        except NotFound:
            await self._uploads.forget(part)
            raise
        if job.state is State.CANCELLED:
            await self._uploads.forget(part)
            raise NotFound(f"upload {part.upload.id} is gone: {job.reason}")

    async def _delete(self, request: Request) -> Response:
        async with self._uploads.held(request.path_params["upload"]) as part:
            confine(request, part.upload.host, "this upload")
            await self._uploads.forget(part)
            return Response(status_code=204)

    async def _job(self, metadata: Mapping[str, str]) -> Job:
        job_id = metadata.get("jobid", "")
        if not job_id:
            raise BadRequest("Upload-Metadata must name the job: jobid")
        return await self._jobs.get(rules.unicode_name(job_id))

    async def _admit(self, job: Job, length: int, part: Part | None = None) -> None:
        """Refuse what there is no room for now, and say in the job what it waits for."""
        try:
            async with self._one_at_a_time:
                await self._admission.begin(length, self._uploads.promised())
                if part is not None:
                    part.admitted = True
        except Unavailable as error:
            if error.waits:
                await say_waiting(self._jobs, (job,), self.name, error.waits)
            raise

    async def _append(self, request: Request, part: Part, checksum: transfer.Checksum | None) -> None:
        room = part.upload.length - part.offset
        if not part.admitted or part.offset:
            part.admitted = True
            await self._admission.go_on(int(request.headers.get("content-length", "0")))
        await received(request, Appending(self._store, part, checksum), room, self._patience)

    async def take(self, job: Job, request: Request) -> None:
        """A whole file whose digest nobody told; up to the reported fact."""
        confine(request, job.origin_host, f"job {job.id}")
        if not rules.awaited(job):
            return
        bare_name(job.id)
        folder = rules.folder_of(job.input_file.dir_name)
        await self._admit(job, int(request.headers.get("content-length", "0")))
        arriving = Arriving(self._store)
        try:
            await received(request, arriving, self._admission.most_bytes or None, self._patience)
            upload = Upload(
                job.id, bare_name(job.input_file.name), folder, arriving.sha256, arriving.size, job.origin_host
            )
            async with self._uploads.held(upload.id, upload) as part:
                if not part.full or upload.length == 0:
                    await finished(asyncio.to_thread(arriving.become, part))
                await self._deliver(part)
        finally:
            await asyncio.to_thread(arriving.discard)

    async def _deliver(self, part: Part) -> None:
        """Place a full file and tell the repository; what it refuses for good is removed again."""
        if not part.full:
            return
        target = part.placed
        if target is None:
            target = await finished(asyncio.to_thread(self._store.place, part))
        upload = part.upload
        self._bytes.inc(upload.length)
        self._files.inc()
        fact = InputDelivered(
            job_id=upload.job_id,
            by=self.name,
            hostname=self._hostname,
            dir_name=str(target.parent),
            sha256=upload.sha256,
            size=upload.length,
        )
        try:
            [verdict] = await self._jobs.report([fact])
        except AppError as error:
            self._reporting.trouble = str(error)
            raise
        self._reporting.trouble = ""
        if verdict.status < 400:
            if verdict.job is not None and rules.came_in_vain(verdict.job):
                await asyncio.to_thread(target.unlink, missing_ok=True)
            await self._uploads.forget(part)
            return
        refusal = error_of(verdict.status, verdict.error)
        if not refusal.retry:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            await self._uploads.forget(part)
        raise refusal


def _upload(creation: transfer.Creation, job: Job) -> Upload:
    """What is to arrive for the job. Raises what is wrong with it."""
    told, file = creation.metadata, job.input_file
    name = rules.unicode_name(told.get("filename") or file.name)
    if file.name and name != file.name:
        raise BadRequest(f"job {job.id} is for the file {file.name!r}, not {name!r}")
    sha256 = told.get("sha256") or file.sha256
    if not re.fullmatch(SHA256, sha256):
        raise BadRequest("Upload-Metadata must hold the file's SHA-256 in lower-case hexadecimal: sha256")
    if file.sha256 and file.sha256 != sha256:
        raise Conflict(f"job {job.id} is for content {file.sha256[:12]}…, not {sha256[:12]}…")
    folder = rules.folder_in(told["folder"]) if "folder" in told else rules.folder_of(file.dir_name)
    return Upload(job.id, name, folder, sha256, creation.length, job.origin_host)
