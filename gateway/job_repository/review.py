"""A reviewer's word on a result, with what moved them."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import Conflict
from contracts.models import Job, State, Verification
from gateway.asked import Asked, read

Change = Callable[[str, Callable[[Job], Job], str, str, str], Awaitable[Job]]
"""A job's id, what becomes of it, by whom, what is done, why."""


class Review(Asked):
    """Body of ``PUT /api/v1/job/{id}/review``. ``reason`` is the reviewer's comment."""

    verification: Verification


class ReviewRoutes:
    """Accepts, rejects and sets back; each leaves a line in the job's history with who and why."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/job/{job_id}/review", self.on_review, methods=["PUT"])]

    async def on_review(self, request: Request) -> Response:
        said = read(Review, await web.body_of(request), request)

        def judged(job: Job) -> Job:
            if job.state is not State.COMPLETE:
                raise Conflict(f"job {job.id} is {job.state}: only complete ones have a result to judge")
            return job.evolve(verification=int(said.verification))

        what = f"review: {said.verification.name.lower()}"
        actor = web.actor(request, "reviewer")
        return web.json(await self._change(request.path_params["job_id"], judged, actor, what, said.reason))
