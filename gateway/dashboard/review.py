"""The page on which results are accepted and rejected, one after the other or many at once."""

from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts.errors import NotFound
from contracts.models import Job
from gateway.dashboard.asking import asked
from gateway.dashboard.job import JobPages
from gateway.dashboard.rendering import Person, page
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import review as views

JOBS = TypeAdapter(list[Job])


class ReviewPages:
    """``/review``."""

    def __init__(self, upstream: Upstream, jobs: JobPages) -> None:
        self._upstream, self._jobs = upstream, jobs

    def routes(self) -> list[BaseRoute]:
        return [Route("/review", asked(self._upstream, self.show), methods=["GET"])]

    async def show(self, request: Request, person: Person) -> Response:
        params = dict(request.query_params)
        response = await self._upstream.response(request, "job-repository", "/api/v1/job", **views.wanted(params))
        jobs = JOBS.validate_json(response.content)
        tasks = await self._upstream.get(request, "task-launcher", "/api/v1/task") or []
        counts = await self._upstream.get(request, "job-repository", "/api/v1/counts")
        place = views.placed(jobs, params)
        current: dict[str, Any] = {}
        if place.job_id:
            try:
                current = await self._jobs.shown(request, place.job_id)
            except NotFound:
                current = {}
        return page(
            request,
            "review.html",
            person,
            at="review",
            params={name: params.get(name, "") for name in views.FILTERS},
            words=views.WORDS,
            items=views.items(jobs, params, place.job_id),
            place=place,
            tasks=tasks,
            more=views.more(response.links.get("next", {}).get("url", ""), params),
            current=current,
            any_complete=bool(counts.get("complete")),
        )
