"""Applies a task to jobs that have ended: page by page, each job once for each version of the task."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import rules, selectors, web
from contracts.errors import AppError, BadRequest, Conflict
from contracts.events import TaskApplied
from contracts.models import Job, PipelineDetails, State, Task
from contracts.operations import APPLICABLE
from contracts.operators import SelectorFailed
from contracts.ports import Clock, JobQuery, Jobs
from contracts.states import enter
from gateway.asked import Asked, read
from gateway.task_launcher.store import TaskStore

PAGE = 200
"""Jobs that one call looks at."""
MOST_TOLD = 20
"""Troubles that an answer tells at most; they are mostly all alike."""


class Wanted(Asked):
    """Body of ``POST /api/v1/task/{id}/apply``."""

    states: tuple[State, ...] = (State.UNMATCHED,)
    since: int | None = Field(default=None, ge=0, lt=2**63)
    """Only jobs that were registered since then (ns since the epoch)."""
    dry_run: bool = False
    after: int | None = Field(default=None, ge=0, lt=2**63)
    """The cursor of the last answer, to go on from there."""


class Applying:
    """The route by which an operator applies a new or changed task to past jobs."""

    def __init__(self, jobs: Jobs, tasks: TaskStore, clock: Clock) -> None:
        self._jobs, self._tasks, self._clock = jobs, tasks, clock

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/task/{task_id}/apply", self._on_apply, methods=["POST"])]

    async def _on_apply(self, request: Request) -> Response:
        wanted = read(Wanted, await web.body_of(request) or b"{}", request)
        if wrong := [state for state in wanted.states if state not in APPLICABLE]:
            usable = ", ".join(APPLICABLE)
            raise BadRequest(f"States: a task cannot be applied to jobs that are {wrong[0]}; choose from {usable}")
        task = await self._tasks.get(request.path_params["task_id"])
        if task.disabled:
            raise Conflict(f"the task {task.description!r} is disabled: enable it first")
        query = JobQuery(
            states=wanted.states or (State.UNMATCHED,),
            updated_since=wanted.since,
            newest_first=False,
            after=wanted.after,
            limit=PAGE,
        )
        page = await self._jobs.find(query)
        chosen, troubles = chosen_by(task, [job for job in page.jobs if job.created >= (wanted.since or 0)])
        fact = TaskApplied(
            job_id="", by=web.actor(request), task_id=task.id, version=task.last_updated, reason=wanted.reason
        )
        applied, refused = await self._apply(chosen, fact, wanted.dry_run)
        told = [{"Id": job_id, "Error": error} for job_id, error in [*troubles, *refused][:MOST_TOLD]]
        counts = {"Looked": len(page.jobs), "Wanted": len(chosen), "Applied": applied}
        return web.json(counts | {"Troubles": told, "After": page.next})

    async def _apply(self, jobs: Sequence[Job], fact: TaskApplied, dry_run: bool) -> tuple[int, list[tuple[str, str]]]:
        """How many jobs are on their way now (or would be), and why others are not."""
        facts = [fact.model_copy(update={"job_id": job.id}) for job in jobs]
        if dry_run:
            answers = [self._tried(job, one) for job, one in zip(jobs, facts, strict=True)]
        else:
            answers = [(verdict.changed, verdict.error) for verdict in await self._jobs.report(facts)]
        refused = [(job.id, error) for job, (_, error) in zip(jobs, answers, strict=True) if error]
        return sum(changed for changed, _ in answers), refused

    def _tried(self, job: Job, fact: TaskApplied) -> tuple[bool, str]:
        try:
            return rules.advance(job, fact, self._clock()) is not job, ""
        except AppError as error:
            return False, str(error)


def chosen_by(task: Task, jobs: Sequence[Job]) -> tuple[list[Job], list[tuple[str, str]]]:
    """The jobs that a task wants, asked of each as it was when it was registered; and on which the rule failed."""
    chosen, troubles = [], []
    for job in jobs:
        try:
            if selectors.matches(task.job_selector, as_registered(job).model_dump(mode="json", by_alias=True)):
                chosen.append(job)
        except (SelectorFailed, selectors.BadSelector) as error:
            troubles.append((job.id, str(error)))
    return chosen, troubles


def as_registered(job: Job) -> Job:
    """The job as its instrument registered it: what became of it later is not what tasks choose by."""
    place: dict[str, Any] = {"hostname": job.origin_host, "dir_name": job.origin_dir} if job.origin_host else {}
    file = job.input_file.evolve(archive_name="", viewable="", **place)
    return enter(job, State.CREATED, input_file=file, pipeline_details=PipelineDetails(), verification=0)
