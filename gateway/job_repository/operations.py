"""The routes by which operators retry, release and cancel jobs: one, or many at once."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import BadRequest, error_of
from contracts.events import Fact, JobCancelled, JobReleased, JobRetried, Verdict
from contracts.models import FINAL, State
from contracts.operations import GIVEN_UP
from contracts.ports import JobQuery, Page
from gateway.asked import Asked, read

MOST = 1000
"""Jobs that one call deals with at most."""
Word = type[JobRetried] | type[JobReleased] | type[JobCancelled]
ACTIONS: dict[str, Word] = {"retry": JobRetried, "release": JobReleased, "cancel": JobCancelled}
ON_THEIR_WAY = tuple(state for state in State if state not in FINAL)
USUAL: dict[str, tuple[State, ...]] = {
    "retry": (*ON_THEIR_WAY, *GIVEN_UP),
    "release": GIVEN_UP,
    "cancel": ON_THEIR_WAY,
}
"""The states that a filter looks through when it names none."""


class Many(Asked):
    """Body of ``POST /api/v1/jobs/{action}``: ids, or a filter."""

    ids: tuple[str, ...] = Field(default=(), max_length=MOST)
    states: tuple[State, ...] = ()
    task: str | None = None
    pipeline: str | None = None
    instrument: str | None = None
    name: str | None = None
    """Part of the file's name."""
    after: int | None = Field(default=None, ge=0, lt=2**63)
    """The cursor of the last answer, to go on from there."""

    def query(self, action: str) -> JobQuery:
        """The jobs that the filter names, oldest first. Raises ``BadRequest`` for none at all."""
        filters = (self.task, self.pipeline, self.instrument, self.name)
        if not self.states and not any(filters):
            raise BadRequest("name jobs by Ids, or by States, Task, Pipeline, Instrument or Name")
        return JobQuery(
            states=self.states or USUAL[action],
            task=self.task,
            pipeline=self.pipeline,
            origin_host=self.instrument,
            name_contains=self.name or None,
            newest_first=False,
            after=self.after,
            limit=MOST,
        )


class OperatorRoutes:
    """Turns operators' requests into facts; every one of them names who asked."""

    def __init__(
        self,
        report: Callable[[Sequence[Fact]], Awaitable[list[Verdict]]],
        find: Callable[[JobQuery], Awaitable[Page]],
    ) -> None:
        self._report, self._find = report, find

    def routes(self) -> list[BaseRoute]:
        found: list[BaseRoute] = []
        for action in ACTIONS:
            one, many = partial(self._on_one, action), partial(self._on_many, action)
            found.append(Route(f"/api/v1/job/{{job_id}}/{action}", one, methods=["POST"]))
            found.append(Route(f"/api/v1/jobs/{action}", many, methods=["POST"]))
        return found

    async def _on_one(self, action: str, request: Request) -> Response:
        body = await web.body_of(request)
        asked = read(Asked, body, request) if body else Asked()
        job_id = request.path_params["job_id"]
        (verdict,) = await self._say(action, [job_id], request, asked.reason)
        if verdict.error:
            raise error_of(verdict.status, verdict.error)
        return web.json(verdict.job)

    async def _on_many(self, action: str, request: Request) -> Response:
        asked = read(Many, await web.body_of(request), request)
        following = None
        if asked.ids:
            if asked.model_fields_set - {"ids", "reason"}:
                raise BadRequest("give either Ids or a filter, not both")
            ids = list(dict.fromkeys(asked.ids))
        else:
            page = await self._find(asked.query(action))
            ids, following = [job.id for job in page.jobs], page.next
        verdicts = await self._say(action, ids, request, asked.reason)
        told = [verdict_told(job_id, verdict) for job_id, verdict in zip(ids, verdicts, strict=True)]
        changed = sum(verdict.changed for verdict in verdicts)
        return web.json({"Changed": changed, "Verdicts": told, "After": following})

    async def _say(self, action: str, ids: Sequence[str], request: Request, reason: str) -> list[Verdict]:
        by = web.actor(request)
        return await self._report([ACTIONS[action](job_id=job_id, by=by, reason=reason) for job_id in ids])


def verdict_told(job_id: str, verdict: Verdict) -> dict[str, Any]:
    """What a caller hears of one of many jobs."""
    state = str(verdict.job.state) if verdict.job is not None else ""
    return {
        "Id": job_id,
        "Changed": verdict.changed,
        "State": state,
        "Status": verdict.status,
        "Error": verdict.error,
    }
