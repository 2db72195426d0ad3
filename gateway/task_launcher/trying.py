"""Tries a rule on the files that came last, before a task is made of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import selectors, web
from contracts.errors import BadRequest
from contracts.models import Job
from contracts.operators import SelectorFailed
from contracts.ports import JobQuery, Jobs

MOST = 100
"""Files on which a rule is tried."""


class Trying:
    """The route by which people see which files a rule wants, and why it does not want the others."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/tasks/try", self.on_try, methods=["GET"])]

    async def on_try(self, request: Request) -> Response:
        rule = request.query_params.get("rule", "")
        if not rule:
            raise BadRequest("rule is missing: give a JSONLogic rule as text")
        try:
            selectors.check(rule)
        except selectors.BadSelector as error:
            return web.json({"Error": str(error), "Tried": []}, headers=web.NOT_CACHED)
        page = await self._jobs.find(JobQuery(limit=MOST))
        tried = await asyncio.to_thread(_tried, rule, page.jobs)
        return web.json({"Error": "", "Tried": tried}, headers=web.NOT_CACHED)


def _tried(rule: str, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    found = []
    for job in jobs:
        document = job.model_dump(mode="json", by_alias=True)
        try:
            wanted = selectors.matches(rule, document)
        except SelectorFailed:
            wanted = False
        why = selectors.explain(rule, document)
        found.append({"Id": job.id, "Name": job.input_file.name, "Wanted": wanted, "Why": why})
    return found
