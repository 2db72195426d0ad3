"""The page of pipelines and their models."""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.asking import asked
from gateway.dashboard.rendering import Person, page
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import pipelines as views


class PipelinePages:
    """``/pipelines``."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[BaseRoute]:
        return [Route("/pipelines", asked(self._upstream, self.show), methods=["GET"])]

    async def show(self, request: Request, person: Person) -> Response:
        ask = self._upstream.get
        listed = await ask(request, "task-launcher", "/api/v1/pipelines")
        models = await ask(request, "task-launcher", "/api/v1/models")
        counts = await ask(request, "job-repository", "/api/v1/counts/pipelines")
        found = views.pipelines(listed, models, counts, time.time_ns())
        return page(request, "pipelines.html", person, at="pipelines", pipelines=found)
