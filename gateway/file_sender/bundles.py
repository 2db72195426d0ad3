"""The route by which results are downloaded as one zip."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from contracts.errors import BadRequest, Conflict, NotFound
from contracts.guard import confine
from contracts.models import Job
from contracts.ports import JobQuery, Jobs
from gateway.file_sender.bundle import Bundle, bundle_name
from gateway.files import GatewayFiles
from gateway.threads import finished

ZIP = "application/zip"
PAGE = 100
"""Jobs of a batch that are held at once."""


class Bundles:
    """Bounded memory, however much there is: a block of one file, a page of jobs, and a line for each."""

    def __init__(self, jobs: Jobs, files: GatewayFiles) -> None:
        self._jobs, self._files = jobs, files

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/bundle", self.on_bundle, methods=["GET"])]

    async def on_bundle(self, request: Request) -> Response:
        """Of one job or one batch."""
        asked = request.query_params
        job_id, batch = asked.get("job", ""), asked.get("batch", "")
        if bool(job_id) == bool(batch):
            raise BadRequest("say of what: job=ID or batch=ID")
        if asked.get("input", "false") not in ("true", "false"):
            raise BadRequest(f"input is {asked['input'][:40]!r}; it must be true or false")
        with_input = asked.get("input") == "true"
        if job_id:
            job = await self._jobs.get(job_id)
            confine(request, job.origin_host, f"job {job_id}")
            if not job.pipeline_details.output_files and not with_input:
                raise Conflict(f"job {job_id} is {job.state} and has no outputs")
            jobs, name = _only(job), job.input_file.name
        else:
            first = await self._jobs.find(JobQuery(batch=batch, limit=1))
            if not first.jobs:
                raise NotFound(f"there are no jobs in batch {batch[:80]!r}")
            confine(request, "", f"batch {batch}")
            jobs, name = self._of(batch), batch
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(bundle_name(name), safe='')}",
            "Cache-Control": "no-store",
        }
        if request.method == "HEAD":
            return Response(headers=headers, media_type=ZIP)
        body = _flowing(jobs, self._files, with_input, bool(batch))
        return StreamingResponse(body, headers=headers, media_type=ZIP)

    async def _of(self, batch: str) -> AsyncIterator[Job]:
        query: JobQuery | None = JobQuery(batch=batch, newest_first=False, limit=PAGE)
        while query is not None:
            page = await self._jobs.find(query)
            for job in page.jobs:
                yield job
            query = None if page.next is None else query.model_copy(update={"after": page.next})


async def _only(job: Job) -> AsyncIterator[Job]:
    yield job


async def _flowing(
    jobs: AsyncIterator[Job], files: GatewayFiles, with_input: bool, with_table: bool
) -> AsyncIterator[bytes]:
    bundle = Bundle()
    async for job in jobs:
        async for block in _blocks(bundle.add(job, files, with_input=with_input)):
            yield block
    async for block in _blocks(bundle.end(with_table=with_table)):
        yield block


async def _blocks(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each made in a thread; who listens no longer does not leave one at work with files open."""
    try:
        while block := await finished(asyncio.to_thread(next, blocks, b"")):
            yield block
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            await asyncio.to_thread(close)
