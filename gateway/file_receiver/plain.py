"""The contract's own calls (section 2.5): a job, then its file in one request; and the check of what lies here."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import gojson, web
from contracts.disk import is_file
from contracts.errors import AppError, BadRequest, Conflict, Full, NotFound, TooEarly, Unavailable
from contracts.models import Job, State
from contracts.ports import JobQuery, Jobs

Take = Callable[[Job, Request], Awaitable[None]]
"""Receives a job's file from a request, up to the reported fact."""


class Failed(AppError):
    """What the contract answers with 500."""


class PlainCalls:
    """Nothing of a job is kept between its two calls: the repository knows it."""

    def __init__(self, jobs: Jobs, hostname: str, take: Take) -> None:
        self._jobs, self._hostname, self._take = jobs, hostname, take

    def routes(self) -> list[BaseRoute]:
        """The three calls."""
        return [
            Route("/api/v1/transmitJob", self.transmit_job, methods=["POST"]),
            Route("/api/v1/transmitFile", self.transmit_file, methods=["POST"]),
            Route("/api/v1/retry", self.retry, methods=["POST"]),
        ]

    async def transmit_job(self, request: Request) -> Response:
        """A job's file will follow."""
        try:
            job = gojson.decode(Job, await web.body_of(request))
        except gojson.BadBody as error:
            raise BadRequest(f"failed to process TransmitJob request: {error}") from None
        if not job.id:
            raise BadRequest("failed to process TransmitJob request: Id is empty")
        return web.reply()

    async def transmit_file(self, request: Request) -> Response:
        """A job's whole file as the body; ``filename`` and ``jobid`` are headers."""
        name, job_id = _header(request, "filename"), _header(request, "jobid")
        if not name or "/" in name or "\\" in name or ".." in name:
            raise BadRequest(f"invalid filename: {name}")
        try:
            job = await self._jobs.get(job_id) if job_id else None
        except NotFound:
            job = None
        if job is None:
            raise Failed(f"did not receive job mapping to id ({job_id}):")
        if job.input_file.name != name:
            raise Failed(f"received job input file does not match requested filename ({name}):")
        try:
            await self._take(job, request)
        except (Conflict, NotFound, TooEarly, Unavailable) as error:
            if isinstance(error, Full) or (isinstance(error, Unavailable) and error.waits):
                raise
            raise Failed(f"job repo update failed: {error}") from error
        return web.reply()

    async def retry(self, _request: Request) -> Response:
        """Whether the files of all jobs that wait here are here; the launcher hears of those jobs anyway."""
        missing: list[str] = []
        cursor: int | None = None
        while True:
            page = await self._jobs.find(JobQuery(states=(State.RECEIVED,), newest_first=False, after=cursor))
            missing += await asyncio.to_thread(self._missing, page.jobs)
            cursor = page.next
            if cursor is None:
                break
        if missing:
            raise Failed(f"failed to validate files of {len(missing)} jobs: {'; '.join(missing[:10])}")
        return web.reply()

    def _missing(self, jobs: tuple[Job, ...]) -> list[str]:
        def lies_here(job: Job) -> bool:
            file = job.input_file
            return file.hostname == self._hostname and is_file(Path(file.dir_name) / file.name)

        return [f"{job.input_file.dir_name}/{job.input_file.name}" for job in jobs if not lies_here(job)]


def _header(request: Request, name: str) -> str:
    # Senders write UTF-8; the framework reads header bytes as Latin-1.
    return request.headers.get(name, "").encode("latin-1").decode("utf-8", "replace")
