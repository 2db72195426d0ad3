"""The page on which results are accepted and rejected, one after the other or many at once."""

from collections.abc import Sequence, Set
from typing import Any
from urllib.parse import urlencode

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts.errors import NotFound
from contracts.models import Job
from gateway.dashboard.asking import asked, person_of
from gateway.dashboard.following import Following
from gateway.dashboard.job import JobPages
from gateway.dashboard.rendering import Person, page
from gateway.dashboard.streaming import streamed
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import review as views
from gateway.dashboard.views.paging import following

JOBS = TypeAdapter(list[Job])


class ReviewPages:
    """``/review``."""

    def __init__(self, upstream: Upstream, jobs: JobPages, following: Following) -> None:
        self._upstream, self._jobs, self._following = upstream, jobs, following

    def routes(self) -> list[BaseRoute]:
        return [Route("/review", asked(self._upstream, self.show), methods=["GET"])]

    def streams(self) -> list[BaseRoute]:
        """Below ``/live``."""
        return [Route("/review", self.on_live, methods=["GET"])]

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
                current = await self._jobs.shown(request, place.job_id, tasks)
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
            more=views.more(following(response.links), params),
            current=current,
            said=views.last_word(current["history"]) if current else None,
            bulk=views.bulk(params),
            here=views.here(params, place.job_id),
            live=urlencode(params | {"job": place.job_id}),
            any_complete=bool(counts.get("complete")),
        )

    async def on_live(self, request: Request) -> Response:
        """What others decide is seen at once."""
        await person_of(self._upstream, request)
        params = dict(request.query_params)

        def concerns(jobs: Sequence[Job], _gone: Set[str]) -> bool:
            return views.concerns(params, jobs, params.get("job", ""))

        return streamed(self._following, concerns)
