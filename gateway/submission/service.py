"""The routes by which people submit files (tus 1.0.0, as instruments do), and the unpacking of their archives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import transfer, web
from contracts.batches import Batches, Entry, What
from contracts.desk import Desk
from contracts.errors import BadRequest
from contracts.openapi import Operations
from contracts.ports import Jobs
from gateway.file_receiver.admission import Admission
from gateway.file_receiver.body import received
from gateway.file_receiver.store import Part
from gateway.file_receiver.tus import answered, progress
from gateway.file_receiver.uploads import Uploads, let_go
from gateway.file_receiver.writing import Appending
from gateway.submission.rules import Limits, Refused, is_archive, placed
from gateway.submission.spool import Spool, Submitted
from gateway.submission.submitting import Submitting
from gateway.submission.unpacking import Unpacking
from gateway.threads import finished

FILES = "/api/v1/submissions"
FOLDER = "submitted"
"""Below the folder for received files."""
LONGEST = 4096
"""Characters of a file's name with its folders."""


class Submissions:
    """Each file is answered as finished only when the repository knows its job, or its archive waits to be unpacked
    here, whole and synced. All of it may be repeated at will: a file is one job of its batch."""

    def __init__(
        self,
        jobs: Jobs,
        batches: Batches,
        folder: Path,
        hostname: str,
        *,
        days: float = 7,
        patience: float = 30,
        admission: Admission | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        """``folder`` is that for received files. ``days`` and ``patience`` as the file receiver's."""
        self._admission = admission or Admission()
        self._batches, self._days, self._patience = batches, days, patience
        self._spool = Spool(folder / FOLDER)
        self._uploads = Uploads(self._spool)
        self._submitting = Submitting(jobs, batches, self._spool, hostname)
        self._unpacking = Unpacking(self._submitting, batches, self._spool, self._uploads, self._admission, limits)
        self.desks: tuple[Desk[str], ...] = (self._unpacking.desk,)

    def routes(self) -> list[BaseRoute]:
        """The upload resources."""
        one = {"HEAD": self._head, "PATCH": self._patch, "DELETE": self._delete}
        return [
            Route(FILES, partial(answered, act=self._post), methods=["POST"]),
            *(Route(FILES + "/{submission}", partial(answered, act=act), methods=[verb]) for verb, act in one.items()),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.submission.openapi import operations

        return operations()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Unpacks archives, those first that an earlier run left. Raises when the folder cannot be used."""
        await asyncio.to_thread(self._spool.prepare)
        async with self._uploads.expiring(self._days, "submissions"), self._unpacking.running():
            yield

    async def _post(self, request: Request) -> Response:
        creation = transfer.judge_creation(request.headers)
        upload = _upload(creation, web.actor(request))
        await self._batches.get(upload.job_id)
        location = {"Location": f"{FILES}/{upload.id}"}
        if await asyncio.to_thread(self._spool.done, upload.id) is not None:
            return Response(status_code=201, headers={**location, "Upload-Offset": str(upload.length)})
        async with self._uploads.held(upload.id, upload) as part:
            if part.offset == 0 and not part.full:
                promised = self._uploads.promised()
                await self._admission.begin(upload.length, promised, packed=is_archive(upload.name))
                part.admitted = True
                await asyncio.to_thread(self._spool.note, part)
                if creation.body != 0:
                    await self._append(request, part, creation.checksum)
            await self._deliver(part)
            return Response(status_code=201, headers=location | progress(part, self._days))

    async def _head(self, request: Request) -> Response:
        name = request.path_params["submission"]
        if (length := await asyncio.to_thread(self._spool.done, name)) is not None:
            return Response(headers={"Upload-Offset": str(length), "Upload-Length": str(length)})
        known = self._uploads.taken(name)
        if known is not None and not await let_go(known):
            return Response(headers=progress(known, self._days))
        async with self._uploads.held(name) as part:
            await self._deliver(part)
            return Response(headers=progress(part, self._days))

    async def _patch(self, request: Request) -> Response:
        async with self._uploads.held(request.path_params["submission"]) as part:
            patch = transfer.judge_patch(request.headers, part.offset, part.upload.length)
            if not part.full:
                await self._append(request, part, patch.checksum)
            await self._deliver(part)
            return Response(status_code=204, headers=progress(part, self._days))

    async def _delete(self, request: Request) -> Response:
        async with self._uploads.held(request.path_params["submission"]) as part:
            await self._uploads.forget(part)
            return Response(status_code=204)

    async def _append(self, request: Request, part: Part, checksum: transfer.Checksum | None) -> None:
        if not part.admitted or part.offset:
            part.admitted = True
            await self._admission.go_on(int(request.headers.get("content-length", "0")))
        await received(
            request, Appending(self._spool, part, checksum), part.upload.length - part.offset, self._patience
        )

    async def _deliver(self, part: Part) -> None:
        """What becomes of a file that is whole: a job, or an archive to be unpacked."""
        upload = part.upload
        if not part.full:
            return
        assert isinstance(upload, Submitted)
        if is_archive(upload.name):
            waiting = Entry(name=upload.path, what=What.UNPACKING)
            if self._unpacking.knows(upload.id):
                return
            await self._batches.tell(upload.job_id, [waiting])
            self._unpacking.add(upload.id)
            return
        digest = (await asyncio.to_thread(self._spool.hashed, part)).hexdigest()
        await self._submitting.submit(upload, upload.folder, upload.name, part.path, digest, upload.length)
        await finished(asyncio.to_thread(self._spool.mark, part))
        await self._uploads.forget(part)


def _upload(creation: transfer.Creation, actor: str) -> Submitted:
    """What is to arrive. Raises ``BadRequest`` saying what is wrong with it."""
    told = creation.metadata
    for name in ("batch", "filename"):
        if not told.get(name):
            raise BadRequest(f"Upload-Metadata must hold {name}")
    if len(told["filename"]) > LONGEST or len(told.get("modified", "")) > 100 or len(told["batch"]) > 100:
        raise BadRequest("Upload-Metadata: a value is too long")
    try:
        for value in told.values():
            value.encode()
    except UnicodeEncodeError:
        raise BadRequest("Upload-Metadata: a value is not UTF-8") from None
    folder, name = placed(told["filename"])
    if creation.length == 0:
        raise Refused(f"{name!r} is empty: there is nothing to process")
    return Submitted(
        job_id=told["batch"],
        name=name,
        folder=folder,
        sha256="",
        length=creation.length,
        host=actor,
        modified=told.get("modified", ""),
    )
