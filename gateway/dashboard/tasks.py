"""The pages on which tasks are listed, made and changed."""

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard import words
from gateway.dashboard.asking import asked
from gateway.dashboard.rendering import Person, language_of, page
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import tasks as views


class TaskPages:
    """``/tasks``, ``/tasks/new`` and ``/tasks/{id}``."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/tasks", asked(self._upstream, self.show_all), methods=["GET"]),
            Route("/tasks/new", asked(self._upstream, self.show_new), methods=["GET"]),
            Route("/tasks/{task_id}", asked(self._upstream, self.show_one), methods=["GET"]),
        ]

    async def show_all(self, request: Request, person: Person) -> Response:
        tasks = await self._upstream.get(request, "task-launcher", "/api/v1/task") or []
        say = words.speaker(language_of(request))
        alive = {one["subscriptionTopic"] for one in await self._pipelines(request)}
        return page(request, "tasks.html", person, at="tasks", tasks=[views.line(one, alive, say) for one in tasks])

    async def show_new(self, request: Request, person: Person) -> Response:
        return await self._form(request, person, views.EMPTY)

    async def show_one(self, request: Request, person: Person) -> Response:
        path = f"/api/v1/task/{quote(request.path_params['task_id'], safe='')}"
        return await self._form(request, person, await self._upstream.get(request, "task-launcher", path))

    async def _form(self, request: Request, person: Person, task: dict[str, Any]) -> Response:
        pipelines = await self._pipelines(request)
        return page(
            request,
            "task.html",
            person,
            at="tasks",
            task=task,
            pipelines=[views.pipeline(one, task) for one in pipelines],
            builder_words=views.builder_words,
            attributes=views.ATTRIBUTES,
            known=any(one["subscriptionTopic"] == task["PipelineId"] for one in pipelines),
        )

    async def _pipelines(self, request: Request) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._upstream.get(request, "task-launcher", "/api/v1/pipelines")
        return found
