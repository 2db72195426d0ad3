"""The job repository's routes: the contract's job calls, and facts and claims for our own services."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import AppError, BadRequest, Forbidden, NotFound, TooEarly
from contracts.events import FACTS, VERDICTS, Fact, PipelineReported, Verdict
from contracts.gojson import BadBody, decode, without_nul
from contracts.guard import confine, edge_of, identity_of, pipeline_launch
from contracts.identity import Role
from contracts.listing import MOST, query_of
from contracts.models import FINAL, ErrorDetails, Job, OutputFile, Owner, State, Text
from contracts.models import Model as WireModel
from contracts.openapi import Operations
from contracts.ports import Bus, Clock, JobQuery, Page
from contracts.rules import NEEDS, is_open, read_back
from gateway.beside import Beside
from gateway.files import check_said
from gateway.job_repository.by_pipeline import PipelineCounts
from gateway.job_repository.changes import Changes
from gateway.job_repository.confinement import check_edge
from gateway.job_repository.figures import Figures
from gateway.job_repository.operations import OperatorRoutes
from gateway.job_repository.outbox import Outbox
from gateway.job_repository.patch import object_in, patched
from gateway.job_repository.relay import Relay
from gateway.job_repository.review import ReviewRoutes
from gateway.job_repository.store import JobStore, Told, held_by
from gateway.job_repository.translation import language_of, translated

log = logging.getLogger(__name__)
CONFIRM_GRACE = 30.0
"""Seconds after which a pipeline's report counts as final although its second call never came."""
REVIEWED = {"Verification"}
"""What operators change in jobs by the contract's PUT."""
REPORTED = NEEDS[PipelineReported]
OWNERS = frozenset(str(owner) for owner in Owner)


class PipelineResult(WireModel):
    """Body of the contract's ``PUT /api/v1/job/pipeline/{job}/{task}``."""

    status: Text = ""
    qc_flags: Text = ""
    output_files: tuple[OutputFile, ...] | None = None
    results: Text = ""


class Claim(BaseModel):
    """Body of ``POST /api/v1/claims``."""

    model_config = ConfigDict(frozen=True)

    worker: str
    pipelines: tuple[str, ...] = Field(max_length=MOST)
    limit: int = Field(default=1, ge=1, le=MOST)
    seconds: float = Field(default=60.0, gt=0, le=86_400.0)
    retries: int | None = Field(default=None, ge=0, le=MOST)


class JobRepository:
    """The only writer of jobs. Implements ``contracts.ports.Jobs`` for services in the same process."""

    name = "job-repository"

    def __init__(
        self, store: JobStore, outbox: Outbox, bus: Bus, clock: Clock, *, beside: Beside | None = None
    ) -> None:
        """``beside``: routes of others that are served here too."""
        self._beside = beside
        self._store, self._clock = store, clock
        self._relay = Relay(bus, outbox)
        self._changes = Changes(store.reader)
        self._by_pipeline = PipelineCounts(store.reader, clock)
        self._figures = Figures(store, outbox, self._relay, clock)
        self.meters, self.refresh = self._figures.meters, self._figures.refresh
        self.desks = (self._relay,)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Announcements leave while the context is open."""
        async with self._relay.running(), self._beside.running() if self._beside else nullcontext():
            yield

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/job", self.on_create, methods=["POST"]),
            Route("/api/v1/job", self.on_list, methods=["GET"]),
            Route("/api/v1/job/owner/{owner}", self.on_list_of_owner, methods=["GET"]),
            Route("/api/v1/job/pipeline/{job_id}/{task_id}", self.on_pipeline_result, methods=["PUT"]),
            Route("/api/v1/job/{job_id}/history", self.on_history, methods=["GET"]),
            *OperatorRoutes(self.report, self.find).routes(),
            *ReviewRoutes(self._reviewed, self._store).routes(),
            Route("/api/v1/job/{job_id}", self.on_get, methods=["GET"]),
            Route("/api/v1/job/{job_id}", self.on_put, methods=["PUT"]),
            Route("/api/v1/job/{job_id}", self.on_delete, methods=["DELETE"]),
            Route("/api/v1/epoch", self.on_epoch, methods=["GET"]),
            Route("/api/v1/counts", self.on_counts, methods=["GET"]),
            *self._by_pipeline.routes(),
            *self._changes.routes(),
            Route("/api/v1/facts", self.on_facts, methods=["POST"]),
            Route("/api/v1/claims", self.on_claim, methods=["POST"]),
            Route("/api/v1/claims/{worker:path}", self.on_release, methods=["DELETE"]),
            *(self._beside.routes() if self._beside else ()),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.job_repository.openapi import operations

        return {**operations(), **(self._beside.operations() if self._beside else {})}

    # --- for services: contracts.ports.Jobs

    async def report(self, facts: Sequence[Fact]) -> list[Verdict]:
        """Apply facts; answered when they are committed."""
        verdicts = await self._store.apply(facts)
        self._relay.wake()
        self._count(zip(facts, verdicts, strict=True))
        return verdicts

    def _count(self, told: Iterable[Told]) -> None:
        for fact, verdict in told:
            if verdict.changed and verdict.job is not None:
                self._figures.count(fact, verdict.job)

    async def find(self, query: JobQuery) -> Page:
        """A page of jobs."""
        return await self._store.find(query)

    async def get(self, job_id: str) -> Job:
        """One job. Raises ``NotFound``."""
        return await self._store.get(job_id)

    async def claim(
        self, worker: str, pipelines: Sequence[str], limit: int, seconds: float, retries: int | None = None
    ) -> list[Job]:
        """Lease launched jobs to a worker."""
        told = await self._store.claimed(worker, pipelines, limit, seconds, retries)
        self._count(told)
        if any(verdict.job is not None and verdict.job.state in FINAL for _, verdict in told):
            self._relay.wake()  # others have nothing to hear of a claim, but that a job was given up
        return held_by(worker, told)

    async def release(self, worker: str) -> int:
        """Give back what a worker held."""
        told = await self._store.given_back(worker)
        self._count(told)
        self._relay.wake()
        return sum(verdict.changed for _, verdict in told)

    async def epoch(self) -> str:
        """Which restore of a backup this is; empty where there was none."""
        return await self._store.epoch()

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return await self._store.counts()

    # --- the contract's calls

    async def on_create(self, request: Request) -> Response:
        try:
            job = decode(Job, await web.body_of(request))
        except BadBody as error:
            raise BadRequest(f"failed to unmarshal request ({request.url.path}): {error}") from None
        if job.id:
            raise BadRequest("failed to create job: id already specified")
        file = job.input_file
        if not (file.hostname and file.dir_name and file.name and file.extension):
            raise BadRequest(
                "failed to create job: failed to validate job: InputFile needs Hostname, DirName, Name and Extension"
            )
        job_id, made = await self._store.create(_client_job(job))
        self._relay.wake()
        return web.text(job_id, 201 if made else 409)

    async def on_list(self, request: Request) -> Response:
        query = query_of(request.query_params)
        if (edge := edge_of(request)) is not None:
            query = query.model_copy(update={"origin_host": edge})
        page = await self._store.find(query)
        language = language_of(request.headers.get("accept-language", ""))
        return web.json([translated(job, language) for job in page.jobs], headers=_paging(request, page))

    async def on_list_of_owner(self, request: Request) -> Response:
        owner = request.path_params["owner"]
        if owner not in OWNERS:
            raise AppError(
                f"failed to retrieve job(s) from job repo: invalid input got {owner}, expected proper owner name"
            )
        query = query_of(request.query_params).model_copy(update={"owner": owner})
        page = await self._store.find(query)
        return web.json(list(page.jobs), headers=_paging(request, page))

    async def on_get(self, request: Request) -> Response:
        job = await self._store.get(request.path_params["job_id"])
        confine(request, job.origin_host, f"job {job.id}")
        return web.json(job, headers=web.NOT_CACHED)

    async def on_put(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        try:
            fields = object_in(await web.body_of(request))
        except BadBody as error:
            raise BadRequest(f"failed to unmarshal job: {error}") from None
        identity = identity_of(request)
        if identity is not None and identity.role is Role.OPERATOR and not fields.keys() <= REVIEWED:
            raise Forbidden(f"an operator may change {', '.join(REVIEWED)} of a job, and nothing else of it")
        what = "put " + ",".join(sorted(fields))[:200]
        actor = web.actor(request, "client")
        try:
            job = await self._store.change(job_id, lambda old: patched(old, fields), actor, what)
        except NotFound as error:
            raise NotFound(f"failed to update job for id ({job_id}): {error}") from None
        self._relay.wake()
        return web.json(job)

    async def _reviewed(self, job_id: str, edit: Callable[[Job], Job], by: str, what: str, why: str) -> Job:
        job = await self._store.change(job_id, edit, by, what, why)
        self._relay.wake()
        return job

    async def on_delete(self, request: Request) -> Response:
        await self._store.delete(request.path_params["job_id"], web.actor(request, "client"))
        return web.reply()

    async def on_pipeline_result(self, request: Request) -> Response:
        """The first of a pipeline's two calls. Repeating it, or coming after the end, changes nothing."""
        job_id, task_id = request.path_params["job_id"], request.path_params["task_id"]
        try:
            result = decode(PipelineResult, await web.body_of(request))
        except BadBody as error:
            raise AppError(f"failed to unmarshal request ({request.url.path}): {error}") from None
        if result.status not in ("PipelineComplete", "PipelineFailed"):
            raise BadRequest(f"invalid Status value '{result.status}'")
        try:
            job = await self._store.get(job_id)
        except NotFound:
            raise BadRequest("url jobid parameter does not match a job") from None
        if task_id != job.pipeline_details.task_id:
            raise BadRequest("url taskid parameter does not match taskid for specified job")
        launch = pipeline_launch(request)
        if launch is not None and not is_open(job, launch):
            raise Forbidden(f"this word was for a launch of job {job_id} that is over")
        if result.output_files and job.state in REPORTED:
            await asyncio.to_thread(_check_places, result.output_files, job.pipeline_details.output_folder)
        fact = PipelineReported(
            job_id=job_id,
            by="pipeline",
            task_id=task_id,
            status=result.status,
            qc_flags=result.qc_flags,
            results=result.results,
            outputs=result.output_files,
            confirm_from=self._clock() + int(CONFIRM_GRACE * 1e9),
        )
        (verdict,) = await self.report([fact])
        if verdict.error:
            kind = TooEarly if verdict.status == TooEarly.status else BadRequest
            raise kind(verdict.error)
        return web.reply()

    # --- our own calls

    async def on_facts(self, request: Request) -> Response:
        try:
            facts = FACTS.validate_json(without_nul(await web.body_of(request)))
        except ValidationError as error:
            raise BadRequest(f"these facts cannot be read: {error}") from None
        if (edge := edge_of(request)) is not None:
            check_edge(edge, facts, await self._store.hosts({fact.job_id for fact in facts}))
        return web.written(VERDICTS.dump_json(await self.report(facts), by_alias=True))

    async def on_claim(self, request: Request) -> Response:
        try:
            claim = Claim.model_validate_json(await web.body_of(request))
        except ValidationError as error:
            raise BadRequest(f"this claim cannot be read: {error}") from None
        found = await self.claim(claim.worker, claim.pipelines, claim.limit, claim.seconds, claim.retries)
        return web.json(found)

    async def on_release(self, request: Request) -> Response:
        return web.json({"Released": await self.release(request.path_params["worker"])})

    async def on_history(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        if edge_of(request) is not None:
            confine(request, (await self._store.get(job_id)).origin_host, f"job {job_id}")
        return web.json(await self._store.history(job_id))

    async def on_epoch(self, _request: Request) -> Response:
        return web.text(await self.epoch())

    async def on_counts(self, _request: Request) -> Response:
        return web.json(await self._store.counts(), headers=web.NOT_CACHED)


def _check_places(outputs: Iterable[OutputFile], folder: str) -> None:
    for file in outputs:
        check_said(file, folder)


def _paging(request: Request, page: Page) -> dict[str, str]:
    """Headers of a listing: where its next page is (RFC 8288), if there is one."""
    if page.next is None:
        return dict(web.NOT_CACHED)
    mark = {"mark": page.mark} if page.mark else {}
    following = request.url.include_query_params(after=page.next, **mark)
    return web.NOT_CACHED | {"Link": f'<{following}>; rel="next"'}


def _client_job(job: Job) -> Job:
    """A job as a client of the contract made it: its words kept, its state read from them."""
    file = job.input_file
    state = read_back(job.owner, job.status, job.pipeline_details.status) or State.CREATED
    return Job(
        id=str(uuid.uuid4()),
        owner=job.owner,
        input_file=file,
        pipeline_details=job.pipeline_details,
        status=job.status,
        error_details=ErrorDetails(),
        verification=job.verification,
        state=state,
        origin_host=file.hostname,
        origin_dir=file.dir_name,
    )
