"""What has changed since somebody last asked: the feed that pages showing jobs follow."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.errors import BadRequest
from contracts.models import Job
from gateway import tables as db
from gateway.job_repository.marks import known
from gateway.reader import Reader

LOOK = 0.1
"""Seconds between two looks while somebody waits. Other gateways may write too, so nobody in this process can tell."""
LONGEST = 10.0
"""Seconds that an answer is waited for at most."""
MOST = 500
"""Lines of history that one answer is made of at most."""


class Changes:
    """Jobs in the order in which lines were added to their histories. A follower hears of every line, also where
    several gateways add them to one database: none is told before those with lower numbers are there."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/changes", self.on_changes, methods=["GET"])]

    async def on_changes(self, request: Request) -> Response:
        asked = request.query_params
        after, wait = _whole(asked, "after"), _seconds(asked)
        last = await self._last()
        if after is None or after > last:  # the first time, or after a restore of a backup
            return web.json({"Last": last, "Jobs": [], "Gone": []}, headers=web.NOT_CACHED)
        deadline = time.monotonic() + wait
        while last <= after and time.monotonic() < deadline:
            await asyncio.sleep(LOOK)
            last = await self._last()
        return web.json(await self.since(after, last), headers=web.NOT_CACHED)

    async def since(self, after: int, last: int) -> dict[str, Any]:
        """The jobs of the lines after this one, up to the last that is known, as they are now; ``Gone`` are those that
        were deleted."""
        h, j = db.history.c, db.job.c
        lines = sa.select(h.seq, h.job_id).where(h.seq > after, h.seq <= last).order_by(h.seq).limit(MOST)
        rows = await self._reader.run(lambda tx: tx.execute(lines).all(), quick=True)
        wanted = list(dict.fromkeys(str(row.job_id) for row in rows))
        docs: Mapping[str, str] = {}
        if wanted:
            query = sa.select(j.id, j.doc).where(j.id.in_(wanted))
            found = await self._reader.run(lambda tx: tx.execute(query).all(), quick=len(wanted) <= 100)
            docs = {str(row.id): row.doc for row in found}
        jobs = [Job.model_validate_json(docs[job_id]) for job_id in wanted if job_id in docs]
        gone = [job_id for job_id in wanted if job_id not in docs]
        return {"Last": int(rows[-1].seq) if rows else after, "Jobs": jobs, "Gone": gone}

    async def _last(self) -> int:
        """Up to here everything is there. What is asked afterwards sees all of it: each question sees what was
        committed before it."""
        query = sa.select(sa.func.max(db.history.c.seq))
        return int(await self._reader.run(lambda tx: known(tx, tx.execute(query).scalar() or 0), quick=True))


def _whole(asked: Mapping[str, str], name: str) -> int | None:
    if name not in asked:
        return None
    try:
        value = int(asked[name])
    except ValueError:
        raise BadRequest(f"{name} is {asked[name][:40]!r}; it must be a whole number") from None
    if not 0 <= value < 2**63:
        raise BadRequest(f"{name} must be at least 0 and below 2^63")
    return value


def _seconds(asked: Mapping[str, str]) -> float:
    try:
        wait = float(asked.get("wait", "0"))
    except ValueError:
        raise BadRequest("wait must be a number of seconds") from None
    if not 0 <= wait <= LONGEST:
        raise BadRequest(f"wait must be between 0 and {LONGEST:g} seconds")
    return wait
