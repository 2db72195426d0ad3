"""In which order tasks are asked, which are not asked at all, and what hangs on one."""

from collections.abc import Sequence

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.models import FINAL, Job, State
from contracts.ports import JobQuery, Jobs
from gateway.asked import Body, read
from gateway.task_launcher.rules import choose
from gateway.task_launcher.store import TaskStore

MOST = 1000
"""Jobs that are counted at most; whoever deletes a task need not know more."""
COMING = (State.CREATED, State.SENDING, State.RECEIVED)
"""No task has got such a job yet; the first that wants it will."""
UNDER_WAY = tuple(state for state in State if state not in (*FINAL, *COMING))


class Placed(Body):
    """Body of ``PUT /api/v1/task/{id}/order``."""

    order: int = Field(ge=1, lt=2**31)


class Disabled(Body):
    """Body of ``PUT /api/v1/task/{id}/disabled``."""

    disabled: bool


class Arranging:
    """Calls beside the contract's, whose PUT of a whole task comes from clients that know nothing of these."""

    def __init__(self, jobs: Jobs, tasks: TaskStore) -> None:
        self._jobs, self._tasks = jobs, tasks

    def routes(self) -> list[BaseRoute]:
        path = "/api/v1/task/{task_id}"
        return [
            Route(f"{path}/order", self.on_order, methods=["PUT"]),
            Route(f"{path}/disabled", self.on_disabled, methods=["PUT"]),
            Route(f"{path}/waiting", self.on_waiting, methods=["GET"]),
        ]

    async def on_order(self, request: Request) -> Response:
        """The task stands at this place from now on, the others keep their order."""
        said = read(Placed, await web.body_of(request), request)
        await self._tasks.place(request.path_params["task_id"], said.order)
        return web.reply()

    async def on_disabled(self, request: Request) -> Response:
        """A disabled task wants no file; jobs that were launched for it go on."""
        said = read(Disabled, await web.body_of(request), request)
        await self._tasks.disable(request.path_params["task_id"], said.disabled)
        return web.reply()

    async def on_waiting(self, request: Request) -> Response:
        """How many jobs are under way that were launched for the task, and how many come that it would get."""
        task = await self._tasks.get(request.path_params["task_id"])
        launched = await self._jobs.find(JobQuery(states=UNDER_WAY, task=task.id, limit=MOST))
        coming = await self._jobs.find(JobQuery(states=COMING, limit=MOST, newest_first=False))
        told = {
            "Running": len(launched.jobs),
            "Waiting": await self._wanted(task.id, coming.jobs),
            "More": launched.next is not None or coming.next is not None,
        }
        return web.json(told, headers=web.NOT_CACHED)

    async def _wanted(self, task_id: str, jobs: Sequence[Job]) -> int:
        tasks = await self._tasks.tasks()
        count = 0
        for job in jobs:
            chosen = choose(tasks, job).task
            # What an operator has applied to a job goes before the order of tasks.
            mine = job.applied_task or (chosen.id if chosen else "")
            count += mine == task_id
        return count
