"""The pages on which files are submitted and batches followed."""

from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts.batches import Batch
from contracts.models import Job
from gateway.dashboard.asking import asked
from gateway.dashboard.rendering import Person, page
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import submit as views
from gateway.dashboard.views.paging import following

BATCHES, JOBS = TypeAdapter(list[Batch]), TypeAdapter(list[Job])
SHOWN = 20
"""Batches on a page."""


class SubmitPages:
    """``/submit`` and ``/batches/{id}``."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/submit", asked(self._upstream, self.show), methods=["GET"]),
            Route("/batches/{batch}", asked(self._upstream, self.show_batch), methods=["GET"]),
        ]

    async def show(self, request: Request, person: Person) -> Response:
        after = request.query_params.get("after", "")
        wanted = {"limit": str(SHOWN), **({"after": after} if after else {})}
        response = await self._upstream.response(request, "job-repository", "/api/v1/batches", **wanted)
        tasks = await self._upstream.tasks(request)
        names = {task.id: task.description for task in tasks}
        lines = [views.line(batch, names) for batch in BATCHES.validate_json(response.content)]
        more = following(response.links)
        return page(
            request, "submit.html", person, at="submit", lines=lines, tasks=tasks, more=more, first=not after, batch=""
        )

    async def show_batch(self, request: Request, person: Person) -> Response:
        batch_id, params = request.path_params["batch"], dict(request.query_params)
        path = f"/api/v1/batches/{quote(batch_id, safe='')}"
        batch = Batch.model_validate(await self._upstream.get(request, "job-repository", path))
        wanted = views.wanted(batch_id, params)
        response = await self._upstream.response(request, "job-repository", "/api/v1/job", **wanted)
        names = {task.id: task.description for task in await self._upstream.tasks(request)}
        onward, state = following(response.links), params.get("state", "")
        shown: dict[str, Any] = {
            "line": views.line(batch, names),
            "entries": [(entry, views.tone(entry)) for entry in batch.entries[: views.ENTRIES]],
            "unpacking": views.under_way(batch.entries),
            "rows": [views.row(job) for job in JOBS.validate_json(response.content)],
            "state": state,
            "onward": views.address(batch_id, state=state, after=onward) if onward else "",
            "back": views.address(batch_id, state=state) if params.get("after") else "",
        }
        return page(request, "batch.html", person, at="submit", batch=batch_id, **shown)
