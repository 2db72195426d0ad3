"""The list of jobs, and its stream of changes."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from contracts.errors import AppError, Unauthorized
from contracts.listing import params_of
from contracts.models import Job, State, Task
from contracts.ports import JobQuery
from gateway.dashboard.asking import asked, person_of
from gateway.dashboard.following import Following, Listener
from gateway.dashboard.rendering import Person, language_of, page, part
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import jobs as views
from gateway.dashboard.views.paging import following, heads, paging
from gateway.dashboard.window import Window

JOBS = TypeAdapter(list[Job])
TICK = 0.25
"""Seconds between two pieces of news to one page: what changes more often is told together."""
REREAD = 10.0
"""Seconds after which a page's rows are read anew, whatever the feed has said."""
ADMIT = 5.0
"""Seconds after which it is asked again whether whoever looks still may."""
STALE = 1.0
"""Seconds between two readings of rows whose order only the repository knows."""
DRAWN = 2000
"""Rows that are kept drawn: pages that are open together show mostly the same."""


class JobsPages:
    """``/`` and ``/live/jobs``."""

    def __init__(self, upstream: Upstream, following: Following) -> None:
        self._upstream, self._following = upstream, following
        self._drawn: OrderedDict[tuple[str, int, str], str] = OrderedDict()
        self._names: Mapping[str, str] = {}

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", asked(self._upstream, self.show), methods=["GET"]),
        ]

    def streams(self) -> list[BaseRoute]:
        """Below ``/live``."""
        return [Route("/jobs", self.on_live, methods=["GET"])]

    async def show(self, request: Request, person: Person) -> Response:
        params, language = dict(request.query_params), language_of(request)
        query = views.asked(params, time.time_ns())
        jobs, onward = await self._page(request, query)
        filters = {name: params[name] for name in views.FILTERS if params.get(name)}
        tasks = await self._tasks(request)
        counts = await self._upstream.get(request, "job-repository", "/api/v1/counts")
        return page(
            request,
            "jobs.html",
            person,
            at="jobs",
            rows=self._rows(jobs, language),
            paging=paging(filters, params, onward),
            heads=heads(filters, *views.order(params)),
            sizes=sorted(views.ROWS),
            size=views.rows(params),
            params={name: params.get(name, "") for name in views.FILTERS},
            states=[str(state) for state in State],
            times=list(views.SINCE),
            tones={str(state): tone for state, tone in views.TONES.items()},
            tasks=tasks,
            counts=counts,
            live=str(request.url.query),
            empty=not sum(counts.values()),
        )

    async def _page(self, request: Request, query: JobQuery) -> tuple[list[Job], str]:
        """Jobs, and where the next page begins; empty on the last."""
        response = await self._upstream.response(request, "job-repository", "/api/v1/job", **params_of(query))
        return JOBS.validate_json(response.content), following(response.links)

    async def _tasks(self, request: Request) -> list[Task]:
        tasks = await self._upstream.tasks(request)
        names = {task.id: task.description for task in tasks}
        if names != self._names:
            self._names = names
            self._drawn.clear()
        return tasks

    def _rows(self, jobs: list[Job], language: str) -> list[tuple[str, str]]:
        return [(job.id, self._row(job, language)) for job in jobs]

    def _row(self, job: Job, language: str) -> str:
        key = (job.id, job.last_updated, language)
        found = self._drawn.get(key)
        if found is None:
            found = self._drawn[key] = part("row.html", language, row=views.row(job, self._names))
            while len(self._drawn) > DRAWN:
                self._drawn.popitem(last=False)
        return found

    # --- live

    async def on_live(self, request: Request) -> Response:
        await person_of(self._upstream, request)
        query = views.asked(dict(request.query_params), time.time_ns())
        return StreamingResponse(
            self._news(request, query),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _news(self, request: Request, query: JobQuery) -> AsyncIterator[str]:
        window, language, said = Window(query), language_of(request), ""
        with self._following.listening() as listener:
            reread_at = admit_at = 0.0
            yield "retry: 1000\n\n"
            while not self._following.closed:
                now = time.monotonic()
                try:
                    if now >= admit_at:
                        await person_of(self._upstream, request)
                        admit_at = now + ADMIT
                    told = await self._told(request, window, listener, language, anew=now >= reread_at)
                except Unauthorized:
                    return
                except AppError as error:
                    told, reread_at = {"away": str(error)}, 0.0
                else:
                    reread_at = now + REREAD if now >= reread_at else reread_at
                    if window.stale:
                        reread_at, window.stale = min(reread_at, now + STALE), False
                text = json.dumps(told, ensure_ascii=False)
                if text != said:
                    said = text
                    yield f"data: {text}\n\n"
                await asyncio.sleep(TICK)
                await listener.wait(1.0 - TICK)  # counts change, too

    async def _told(
        self, request: Request, window: Window, listener: Listener, language: str, *, anew: bool
    ) -> dict[str, Any]:
        """What a page must know: rows to draw, their order where it is another one, how many jobs are in each state."""
        jobs, gone, reread = listener.take()
        if self._following.away:
            return {"away": self._following.away}
        told: dict[str, Any] = {"counts": self._following.counts}
        if anew or reread:
            found, _ = await self._page(request, window.query)
            before = {job_id: job.last_updated for job_id, job in window.jobs.items()}
            moved = list(before) != [job.id for job in found]
            window.show(found)
            drawn = {job.id for job in found if before.get(job.id) != job.last_updated}
        else:
            drawn, moved = window.change(jobs, gone)
        if drawn:
            told["rows"] = {job_id: self._row(window.jobs[job_id], language) for job_id in drawn}
        if moved:
            told["order"] = list(window.jobs)
        return told
