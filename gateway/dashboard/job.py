"""The page of one job, and its stream of changes."""

from collections.abc import Mapping, Sequence, Set
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts.errors import AppError
from contracts.models import Job
from gateway.dashboard.asking import asked, person_of
from gateway.dashboard.following import Following
from gateway.dashboard.rendering import Person, describe_parameters, page
from gateway.dashboard.streaming import streamed
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import job as views
from gateway.dashboard.views import measurements
from gateway.dashboard.views.jobs import TONES, result_line

READ = 2_000_000
"""Bytes of a table that are read for its page."""


class JobPages:
    """``/jobs/{id}`` and ``/live/jobs/{id}``."""

    def __init__(self, upstream: Upstream, following: Following) -> None:
        self._upstream, self._following = upstream, following

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/jobs/{job_id}", asked(self._upstream, self.show), methods=["GET"]),
        ]

    def streams(self) -> list[BaseRoute]:
        """Below ``/live``."""
        return [Route("/jobs/{job_id}", self.on_live, methods=["GET"])]

    async def show(self, request: Request, person: Person) -> Response:
        tasks = await self._upstream.get(request, "task-launcher", "/api/v1/task") or []
        shown = await self.shown(request, request.path_params["job_id"], tasks)
        others = views.others(shown["job"], tasks)
        return page(request, "job.html", person, at="jobs", others=others, **shown)

    async def shown(self, request: Request, job_id: str, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """All that templates need to show a job with its images and measurements."""
        path = f"/api/v1/job/{quote(job_id, safe='')}"
        job = Job.model_validate(await self._upstream.get(request, "job-repository", path))
        history = await self._upstream.get(request, "job-repository", f"{path}/history")
        details, files = job.pipeline_details, views.files(job)
        pictures = views.pictures(job, files, history)
        names = {task["Id"]: str(task["Description"]) for task in tasks}
        table, histogram = await self._measured(request, job, files)
        return {
            "job": job,
            "tone": TONES[job.state],
            "task": names.get(details.task_id, details.task_id),
            "parameters": describe_parameters(details.parameters),
            "result": result_line(details.results),
            "files": files,
            "pictures": pictures,
            "overlays": [one for one in pictures if one.kind == "labels"],
            "table": table,
            "histogram": histogram,
            "most_rows": measurements.SHOWN,
            "history": history,
            "steps": views.steps(history),
            "took": views.took(history),
            "remedy": views.remedy(job),
            "earlier": [views.ended(one) for one in reversed(job.earlier)],
            "actions": views.actions(job),
            "reviewable": views.may_be_reviewed(job),
            "model": views.model_of(job),
        }

    async def _measured(
        self, request: Request, job: Job, files: list[views.File]
    ) -> tuple[measurements.Measurements | None, measurements.Histogram | None]:
        """The first table among the outputs, and the histogram of the column that was asked for."""
        tables = [one for one in files if one.kind == "table" and one.place != "input"]
        if not tables or job.files:
            return None, None
        path = f"/api/v1/transmitFile/{quote(job.id, safe='')}/{tables[0].place}"
        try:
            content = await self._upstream.start(request, "file-sender-gateway", path, READ)
        except AppError:
            return None, None
        table = measurements.read(content, whole=len(content) < READ)
        return table, chosen_histogram(table, request.query_params)

    async def on_live(self, request: Request) -> Response:
        await person_of(self._upstream, request)
        job_id = request.path_params["job_id"]

        def concerns(jobs: Sequence[Job], gone: Set[str]) -> bool:
            return job_id in gone or any(job.id == job_id for job in jobs)

        return streamed(self._following, concerns)


def chosen_histogram(table: measurements.Measurements, params: Mapping[str, str]) -> measurements.Histogram | None:
    """Of the column that was asked for, else of the area, else of the last that has numbers."""
    numeric = table.numeric
    wanted = [name for name in (params.get("column", ""), "area_um2", "area") if name in numeric] or numeric[-1:]
    return measurements.histogram(wanted[0], table.values(wanted[0])) if wanted else None
