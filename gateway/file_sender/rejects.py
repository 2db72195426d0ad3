"""Keeps the images of which reviewers rejected the result, each in its pipeline's folder of rejects."""

import asyncio
import shutil
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.disk import bare_name, is_file, make_folder, place, room_at
from contracts.errors import AppError, Unavailable
from contracts.models import Job, Verification
from contracts.ports import Jobs
from gateway.asked import Body, read
from gateway.file_sender.places import check_kept, input_of
from gateway.file_sender.rules import reject_folder
from gateway.files import GatewayFiles

MOST = 1000
"""Jobs that one call deals with at most."""


class Judged(Body):
    """Body of ``POST /api/v1/rejects``."""

    ids: tuple[str, ...] = Field(max_length=MOST)


class Rejects:
    """The contract's two calls, which do as they are told, and ours, which do what reviewers have said: whoever of
    several spoke last, the folder agrees with it."""

    def __init__(self, job_of: Callable[[Request], Awaitable[Job]], jobs: Jobs, files: GatewayFiles) -> None:
        """``job_of``: the job a request names, if whoever asks may see it."""
        self._job_of, self._jobs, self._files = job_of, jobs, files

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/reject/{job_id}", self.on_reject, methods=["POST"]),
            Route("/api/v1/reject/{job_id}", self.on_unreject, methods=["DELETE"]),
            Route("/api/v1/rejects/{job_id}", self.on_judged, methods=["POST"]),
            Route("/api/v1/rejects", self.on_judged_many, methods=["POST"]),
        ]

    async def on_reject(self, request: Request) -> Response:
        await self._keep(await self._job_of(request))
        return web.reply()

    async def on_unreject(self, request: Request) -> Response:
        job = await self._job_of(request)
        _, target = self._places(job)
        if not target.exists():
            raise AppError(f"failed to delete reject file for JobId: {job.id}")
        await asyncio.to_thread(_remove, target)
        return web.reply()

    async def on_judged(self, request: Request) -> Response:
        """One job's image is, or is not, among the rejects, as its reviewers have it now."""
        await self._agree(await self._job_of(request))
        return web.reply()

    async def on_judged_many(self, request: Request) -> Response:
        """As ``on_judged``; one that cannot be done does not hinder the others."""
        said = read(Judged, await web.body_of(request), request)
        troubles = []
        for job_id in dict.fromkeys(said.ids):
            try:
                await self._agree(await self._jobs.get(job_id))
            except AppError as error:
                troubles.append({"Id": job_id, "Error": str(error)})
        return web.json({"Done": len(set(said.ids)) - len(troubles), "Troubles": troubles})

    async def _agree(self, job: Job) -> None:
        if job.verification != Verification.REJECTED:
            _, target = self._places(job)
            if target.exists():
                await asyncio.to_thread(_remove, target)
        elif not job.files:  # else retention has removed the image, and there is nothing to keep
            await self._keep(job)

    async def _keep(self, job: Job) -> None:
        source, target = self._places(job)
        if target.exists():
            return
        check_kept(job)
        if not is_file(source):
            raise AppError(f"the input of job {job.id} is not in the archive ({source}); nothing was copied")
        await asyncio.to_thread(_copy, source, target)

    def _places(self, job: Job) -> tuple[Path, Path]:
        """The input, and its place among the rejects."""
        folder = bare_name(reject_folder(job.pipeline_details.pipeline_id))
        return input_of(job, self._files), self._files.reject / folder / bare_name(job.input_file.name)


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        with room_at(path):
            yield
    except OSError as error:
        raise Unavailable(f"{path.parent} cannot be used: {error.strerror or error}") from error


def _copy(source: Path, target: Path) -> None:
    # The longest names leave no room for more signs.
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    with _usable(target):
        make_folder(target.parent)
        try:
            shutil.copyfile(source, temporary)
            place(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _remove(target: Path) -> None:
    with _usable(target):
        target.unlink(missing_ok=True)
        if not any(target.parent.iterdir()):
            target.parent.rmdir()
