"""What each pipeline has to do, and has done in the last hour."""

from typing import Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.models import State
from contracts.ports import Clock
from gateway import tables as db
from gateway.reader import Reader

HOUR = 3600 * 10**9
DONE, FAILED = (State.COMPLETE,), (State.FAILED, State.QUARANTINED)


class PipelineCounts:
    """Counted when it is asked for: of waiting jobs by their state, of ended ones by the time of their last change."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader, self._clock = reader, clock

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/counts/pipelines", self.on_counts, methods=["GET"])]

    async def on_counts(self, _request: Request) -> Response:
        now = self._clock()
        found = await self._reader.run(lambda tx: _counted(tx, now - HOUR))
        return web.json(found, headers=web.NOT_CACHED)


def _counted(tx: sa.Connection, since: int) -> list[dict[str, Any]]:
    job = db.job.c
    waiting = sa.select(job.pipeline, sa.func.count(), sa.func.min(job.last_updated))
    waiting = waiting.where(job.state == str(State.RUNNING)).group_by(job.pipeline)
    ended = [str(state) for state in (*DONE, *FAILED)]
    recent = sa.select(job.pipeline, job.state, sa.func.count()).where(job.last_updated >= since, job.state.in_(ended))
    recent = recent.group_by(job.pipeline, job.state)
    found: dict[str, dict[str, Any]] = {}

    def line(pipeline: str) -> dict[str, Any]:
        empty = {"Pipeline": pipeline, "Waiting": 0, "Oldest": 0, "Complete": 0, "Failed": 0}
        return found.setdefault(pipeline, empty)

    for pipeline, number, oldest in tx.execute(waiting):
        line(pipeline).update(Waiting=number, Oldest=oldest)
    for pipeline, state, number in tx.execute(recent):
        line(pipeline)["Complete" if state in DONE else "Failed"] += number
    return [found[name] for name in sorted(found) if name]
