"""Processes one job again, by another task."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import BadRequest, Conflict, NotFound, error_of
from contracts.events import TaskApplied
from contracts.models import Task
from contracts.operations import APPLICABLE
from contracts.ports import Jobs
from gateway.asked import Asked, read
from gateway.task_launcher.store import TaskStore


class Rerun(Asked):
    """Body of ``POST /api/v1/job/{id}/rerun``. ``task``: whose pipeline and parameters; its rule is not asked."""

    task: str


class Rerunning:
    """The route by which people choose another task for a job that has ended. The job stays the same one: what had
    become of it before is kept in it (``Earlier``), its history tells of both, and so do its files in the archive."""

    def __init__(self, jobs: Jobs, tasks: TaskStore, check: Callable[[Task], None]) -> None:
        """``check``: raises ``BadRequest`` for a task that cannot be launched."""
        self._jobs, self._tasks, self._check = jobs, tasks, check

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/job/{job_id}/rerun", self.on_rerun, methods=["POST"])]

    async def on_rerun(self, request: Request) -> Response:
        said = read(Rerun, await web.body_of(request), request)
        task = await self._named(said.task)
        self._check(task)
        job_id = request.path_params["job_id"]
        fact = TaskApplied(
            job_id=job_id, by=web.actor(request), task_id=task.id, version=task.last_updated, reason=said.reason
        )
        (verdict,) = await self._jobs.report([fact])
        if verdict.error or verdict.job is None:
            raise error_of(verdict.status, verdict.error or f"there is no job {job_id}")
        if not verdict.changed and verdict.job.state not in APPLICABLE:
            raise Conflict(f"job {job_id} is on its way ({verdict.job.state}): wait for its end, or cancel it first")
        if not verdict.changed:
            raise Conflict(f"{task.description!r} has processed job {job_id} as it is now: change the task first")
        return web.json(verdict.job)

    async def _named(self, task_id: str) -> Task:
        try:
            task = await self._tasks.get(task_id)
        except NotFound:
            raise BadRequest(f"Task: there is no task {task_id[:80]!r}; give the Id of one") from None
        if task.disabled:
            raise Conflict(f"the task {task.description!r} is disabled: enable it first")
        return task
