"""The task launcher's routes: tasks, matching, pipelines' second call."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import selectors, web
from contracts.errors import AppError, BadRequest, Forbidden, NotFound
from contracts.events import jobs_in
from contracts.gojson import BadBody, decode
from contracts.guard import pipeline_launch
from contracts.models import Job, Model, PipelineInfo, PipelineStatus, State, Task, Text
from contracts.openapi import Operations
from contracts.ports import Bus, Clock, Delivery, JobQuery, Jobs
from contracts.room import Room
from gateway.beside import Beside
from gateway.files import GatewayFiles
from gateway.task_launcher.applying import Applying
from gateway.task_launcher.arranging import Arranging
from gateway.task_launcher.launching import Launching
from gateway.task_launcher.messages import Wording
from gateway.task_launcher.rerunning import Rerunning
from gateway.task_launcher.rules import Addresses, merged, seconds_of
from gateway.task_launcher.store import TaskStore
from gateway.task_launcher.trying import Trying

JOBS = TypeAdapter(list[Job])
M = TypeVar("M", bound=Model)
ENDS = (PipelineStatus.COMPLETE, PipelineStatus.FAILED)


class Retry(Model):
    """Body of the contract's ``POST /api/v1/retry``."""

    timeout_duration: Text = ""


class ParameterWords(BaseModel):
    """What is said of a setting of a pipeline; whoever says less is taken to mean text."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: str = "str"
    default: bool | int | float | str = ""
    description: str = ""


class OwnModel(BaseModel):
    """The model that a pipeline comes with; ``about``: its card."""

    model_config = ConfigDict(frozen=True)

    version: str = ""
    sha256: str = ""
    about: dict[str, JsonValue] = {}


class About(BaseModel):
    """What a pipeline says of itself besides; ``package``: the version of its distribution."""

    model_config = ConfigDict(frozen=True)

    package: str = ""
    model: OwnModel | None = None


class PipelineWords(BaseModel):
    """What a worker says of one of its pipelines."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    topic: str
    name: str
    description: str = ""
    parameters: dict[str, ParameterWords] = {}
    about: About = About()


class Registration(BaseModel):
    """Body of ``POST /api/v1/pipelines``."""

    model_config = ConfigDict(frozen=True)

    worker: str
    pipelines: tuple[PipelineWords, ...]


class TaskLauncher:
    """Tasks and the launching of jobs. Implements ``contracts.ports.Tasks``."""

    name = "task-launcher"

    def __init__(
        self,
        jobs: Jobs,
        store: TaskStore,
        files: GatewayFiles,
        addresses: Addresses,
        bus: Bus,
        clock: Clock,
        *,
        hostname: str = "gateway",
        answer_seconds: float = 900.0,
        wording: Wording = Wording(),  # noqa: B008 - a frozen value
        room: Room | None = None,
        beside: Beside | None = None,
    ) -> None:
        """``beside``: routes of others that are served here too."""
        self._beside = beside
        self._jobs, self._store, self._bus, self._clock = jobs, store, bus, clock
        self._work = Launching(jobs, store, files, addresses, hostname, clock, answer_seconds, wording, room)
        self.desks = (*self._work.desks, *([room] if room else ()))
        self.meters = (room,) if room else ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Launches, confirms and reminds while the context is open."""
        work = self._work
        wakes = {jobs_in(State.RECEIVED): self._wake_launch, jobs_in(State.PROCESSED): self._wake_confirm}
        async with AsyncExitStack() as stack:
            for desk in work.desks:
                await stack.enter_async_context(desk.running())
            await stack.enter_async_context(self._bus.subscribe(self.name, wakes))
            yield

    async def _wake_launch(self, _delivery: Delivery) -> None:
        self._work.launch.wake()

    async def _wake_confirm(self, _delivery: Delivery) -> None:
        self._work.confirm.wake()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/task", self.on_create, methods=["POST"]),
            Route("/api/v1/task", self.on_list, methods=["GET"]),
            Route("/api/v1/task", self.on_update, methods=["PUT"]),
            *Applying(self._jobs, self._store, self._clock).routes(),
            *Trying(self._jobs).routes(),
            *Arranging(self._jobs, self._store).routes(),
            *Rerunning(self._jobs, self._store, self._work.check_folder).routes(),
            Route("/api/v1/task/{task_id}", self.on_get, methods=["GET"]),
            Route("/api/v1/task/{task_id}", self.on_delete, methods=["DELETE"]),
            Route("/api/v1/matchTask", self.on_match, methods=["POST"]),
            Route("/api/v1/matchTasks", self.on_match_many, methods=["POST"]),
            Route("/api/v1/dataToHandle", self.on_data_to_handle, methods=["POST"]),
            Route("/api/v1/pipelineStatus/{job_id}/{task_id}", self.on_pipeline_status, methods=["POST"]),
            Route("/api/v1/retry", self.on_retry, methods=["POST"]),
            Route("/api/v1/pipelines", self.on_pipelines, methods=["GET"]),
            Route("/api/v1/pipelines", self.on_register, methods=["POST"]),
            *(self._beside.routes() if self._beside else ()),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.task_launcher.openapi import operations

        return {**operations(), **(self._beside.operations() if self._beside else {})}

    # --- for services: contracts.ports.Tasks

    async def match(self, jobs: Sequence[Job]) -> list[bool]:
        """Whether any task wants each job."""
        return [(await self._work.choice_for(job)).task is not None for job in jobs]

    async def create(self, task: Task) -> str:
        """Keep a new task; its id. Raises ``AppError`` or ``BadRequest`` saying which field is wrong."""
        for field, words in (
            ("job_selector", "job selector"),
            ("pipeline_id", "pipeline id"),
            ("description", "description"),
        ):
            if not getattr(task, field):
                raise AppError(f"failed to create task: {words} field is empty")
        _check(task)
        self._work.check_folder(task)
        made = task.evolve(id=str(uuid.uuid4()), last_updated=self._clock())
        await self._store.add(made)
        return made.id

    async def tasks(self) -> tuple[Task, ...]:
        """All tasks in their order."""
        return await self._store.tasks()

    async def register(self, worker: str, pipelines: Sequence[Mapping[str, Any]]) -> None:
        """Note that a worker is alive and runs these pipelines."""
        await self._store.register(worker, pipelines)

    # --- the contract's calls

    async def on_create(self, request: Request) -> Response:
        task = await _decoded(request, Task, " to task: ")
        if task.id:
            raise BadRequest("failed to create task: id already specified")
        return web.text(await self.create(task), 201)

    async def on_list(self, _request: Request) -> Response:
        tasks = await self._store.tasks()
        if not tasks:
            return Response(status_code=204, headers={"Content-Type": "application/json"})
        return web.json(list(tasks), headers=web.NOT_CACHED)

    async def on_get(self, request: Request) -> Response:
        return web.json(await self._store.get(request.path_params["task_id"]))

    async def on_update(self, request: Request) -> Response:
        task = await _decoded(request, Task, " to task: ")
        if not task.id:
            raise NotFound("failed to update task: no task id is specified")
        if task.job_selector:
            _check(task)
        self._work.check_folder(task)
        try:
            await self._store.replace(task.id, lambda old: merged(old, task))
        except NotFound as error:
            raise NotFound(f"failed to update task for Id ({task.id}): {error}") from None
        self._work.troubles.pop(task.id, None)
        return web.reply()

    async def on_delete(self, request: Request) -> Response:
        task_id = request.path_params["task_id"]
        if not await self._store.remove(task_id):
            raise BadRequest(f"failed to delete task for Id ({task_id}): no task was deleted")
        return web.reply()

    async def on_match(self, request: Request) -> Response:
        (matched,) = await self.match([await _decoded(request, Job)])
        return web.text("true" if matched else "false")

    async def on_match_many(self, request: Request) -> Response:
        try:
            jobs = JOBS.validate_json(await web.body_of(request, limit=64 * 2**20))
        except ValidationError as error:
            raise BadRequest(f"these jobs cannot be read: {error}") from None
        return web.json(await self.match(jobs))

    async def on_data_to_handle(self, request: Request) -> Response:
        job = await self._jobs.get((await _decoded(request, Job)).id)
        if job.state is State.RECEIVED:
            await self._work.launch_all((job,))
        return web.reply()

    async def on_pipeline_status(self, request: Request) -> Response:
        """The second of a pipeline's two calls. It may be repeated, and come late; nothing is done twice."""
        job_id, task_id = request.path_params["job_id"], request.path_params["task_id"]
        said = (await web.body_of(request)).decode("utf-8", "replace").strip().lower()
        known = {str(status).lower(): status for status in PipelineStatus if status}
        if said not in known:
            raise BadRequest("request body does not match expected task status")
        if known[said] not in ENDS:
            raise BadRequest(f"task status not set to failed or complete for job id {job_id}, taskid {task_id}")
        try:
            job = await self._jobs.get(job_id)
        except NotFound as error:
            raise BadRequest(str(error)) from None
        details = job.pipeline_details
        if pipeline_launch(request) not in (None, details.launch):
            raise Forbidden(f"this word is of an earlier launch of job {job_id}")
        if details.task_id != task_id:
            raise BadRequest(f"task id mismatch: got {task_id}, expected {details.task_id}")
        if details.status != known[said] and job.state in (State.RUNNING, State.PROCESSED):
            raise BadRequest(f"task status mismatch for job id {job_id}, got {known[said]}, expected {details.status}")
        if job.state is State.PROCESSED:
            await self._work.confirm_told(job)
        return web.reply()

    async def on_retry(self, request: Request) -> Response:
        """Tell foreign pipelines again whose jobs have not moved for so long; look at all others now."""
        body = await _decoded(request, Retry)
        try:
            seconds = seconds_of(body.timeout_duration)
        except ValueError as error:
            raise AppError(f"failed to process request: {request.url.path}: {error}") from None
        before = self._clock() - int(seconds * 1e9)
        query = JobQuery(states=(State.RUNNING,), newest_first=False)
        while True:
            page = await self._jobs.find(query)
            stale = [
                job for job in page.jobs if job.lease_until and not job.lease_holder and job.last_updated <= before
            ]
            if stale:
                await self._work.tell_again(stale)
            if page.next is None:
                break
            query = query.model_copy(update={"after": page.next})
        for desk in self._work.desks:
            desk.wake()
        return web.reply()

    # --- our own calls

    async def on_pipelines(self, _request: Request) -> Response:
        listed = [
            PipelineInfo(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, pipeline.topic)),
                name=pipeline.name,
                description=pipeline.description,
                subscriptionTopic=pipeline.topic,
            ).model_dump()
            | {
                "parameters": dict(pipeline.parameters),
                "worker": pipeline.worker,
                "lastSeen": str(pipeline.last_seen),
                "about": dict(pipeline.about),
            }
            for pipeline in await self._store.registered()
        ]
        return web.json(listed, headers=web.NOT_CACHED)

    async def on_register(self, request: Request) -> Response:
        try:
            said = Registration.model_validate_json(await web.body_of(request))
        except ValidationError as error:
            raise BadRequest(f"this registration cannot be read: {error}") from None
        await self._store.register(said.worker, [pipeline.model_dump() for pipeline in said.pipelines])
        return web.reply()


async def _decoded(request: Request, model: type[M], to: str = ": ") -> M:
    try:
        return decode(model, await web.body_of(request))
    except BadBody as error:
        raise BadRequest(f"failed to unmarshal request ({request.url.path}){to}{error}") from None


def _check(task: Task) -> None:
    try:
        selectors.check(task.job_selector)
    except selectors.BadSelector as error:
        raise BadRequest(f"the task's JobSelector is refused: {error}") from None
