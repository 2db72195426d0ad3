"""A reviewer's word on a result, or on many at once, with what moved them."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import BadRequest, Conflict
from contracts.models import Job, State, Verification
from contracts.ports import JobQuery
from gateway.asked import Asked, read
from gateway.job_repository.operations import verdict_told
from gateway.job_repository.store import JobStore

Change = Callable[[str, Callable[[Job], Job], str, str, str], Awaitable[Job]]
"""A job's id, what becomes of it, by whom, what is done, why."""
MOST = 1000
"""Ids that one call takes at most."""
STEP = 500
"""Results of a filter that one call judges: others' changes wait as long."""


class Review(Asked):
    """Body of ``PUT /api/v1/job/{id}/review``. ``reason`` is the reviewer's comment."""

    verification: Verification


class ReviewMany(Review):
    """Body of ``POST /api/v1/jobs/review``: ids, or a filter; without any, all results of which reviewers say
    ``judged``."""

    ids: tuple[str, ...] = Field(default=(), max_length=MOST)
    judged: Verification = Verification.PENDING
    task: str | None = None
    pipeline: str | None = None
    instrument: str | None = None
    name: str | None = None
    """Part of the file's name."""
    after: int | None = Field(default=None, ge=0, lt=2**63)
    """The cursor of the last answer, to go on from there."""
    through: int | None = Field(default=None, ge=0, lt=2**63)
    """Of the count that the reviewer was shown: what came later is not meant."""
    dry_run: bool = False
    """Only count."""

    def query(self) -> JobQuery:
        """The results that the filter names, oldest first."""
        return JobQuery(
            verification=int(self.judged),
            task=self.task or None,
            pipeline=self.pipeline or None,
            origin_host=self.instrument or None,
            name_contains=self.name or None,
            newest_first=False,
            after=self.after,
            through=self.through,
            limit=STEP,
        )


class ReviewRoutes:
    """Accepts, rejects and sets back; each leaves a line in the job's history with who and why."""

    def __init__(self, change: Change, store: JobStore) -> None:
        self._change, self._store = change, store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/job/{job_id}/review", self.on_review, methods=["PUT"]),
            Route("/api/v1/jobs/review", self.on_review_many, methods=["POST"]),
        ]

    async def on_review(self, request: Request) -> Response:
        """Whoever speaks last is right, and all that was said stands in the history."""
        said = read(Review, await web.body_of(request), request)
        job_id, actor = request.path_params["job_id"], web.actor(request, "reviewer")
        return web.json(await self._change(job_id, judging(said.verification), actor, _what(said), said.reason))

    async def on_review_many(self, request: Request) -> Response:
        """Results of which that is said already are passed over, so that it may be asked again after a failure."""
        said = read(ReviewMany, await web.body_of(request), request)
        if said.ids and said.model_fields_set - {"ids", "reason", "verification", "dry_run"}:
            raise BadRequest("give either Ids or a filter, not both")
        if said.dry_run:
            return web.json(await self._counted(said), headers=web.NOT_CACHED)
        ids, following = list(dict.fromkeys(said.ids)), None
        if not ids:
            page = await self._store.find(said.query())
            ids, following = [job.id for job in page.jobs], page.next
        judge, actor = judging(said.verification), web.actor(request, "reviewer")
        verdicts = await self._store.change_many(ids, judge, actor, _what(said), said.reason)
        told = [verdict_told(job_id, verdict) for job_id, verdict in zip(ids, verdicts, strict=True)]
        return web.json({"Changed": sum(one.changed for one in verdicts), "Verdicts": told, "After": following})

    async def _counted(self, said: ReviewMany) -> dict[str, Any]:
        if said.ids:
            return {"Count": len(set(said.ids)), "Through": None}
        count, newest = await self._store.count(said.query())
        return {"Count": count, "Through": newest}


def judging(word: Verification) -> Callable[[Job], Job]:
    """What becomes of a job of which this is said. Raises ``Conflict`` for one without a result."""

    def judged(job: Job) -> Job:
        if job.state is not State.COMPLETE:
            raise Conflict(f"job {job.id} is {job.state}: only complete ones have a result to judge")
        return job.evolve(verification=int(word))

    return judged


def _what(said: Review) -> str:
    return f"review: {said.verification.name.lower()}"
