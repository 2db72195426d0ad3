"""The page of instruments."""

import hashlib
import ssl
import time
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts.errors import NotFound
from gateway.dashboard.asking import asked
from gateway.dashboard.rendering import Person, page
from gateway.dashboard.upstream import Upstream
from gateway.dashboard.views import instruments as views

RECENT = "200"
"""Jobs by whose instruments those are known that were never enrolled."""
MARK = 32
"""Digits of the fingerprint in a code, by which the instrument knows the gateway."""


class InstrumentPages:
    """``/instruments``."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[BaseRoute]:
        return [Route("/instruments", asked(self._upstream, self.show), methods=["GET"])]

    async def show(self, request: Request, person: Person) -> Response:
        ask, guarded = self._upstream.get, bool(person.name)
        edges = await ask(request, "job-repository", "/api/v1/edges") if person.may_administer else []
        reports = await ask(request, "job-repository", "/api/v1/edges/status")
        jobs = await ask(request, "job-repository", "/api/v1/job", limit=RECENT)
        found = views.instruments(edges, reports, jobs, time.time_ns(), version("cytobus"))
        mark = await self._mark(request) if guarded and person.may_administer else ""
        return page(
            request, "instruments.html", person, at="instruments", instruments=found, guarded=guarded, mark=mark
        )

    async def _mark(self, request: Request) -> str:
        """What is put behind a code, so that nobody can pretend to be this gateway; empty where its certificate was
        made by others, whom instruments trust by their systems."""
        try:
            pem = (await self._upstream.response(request, "job-repository", "/api/v1/authority")).text
        except NotFound:
            return ""
        return f"#{hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest()[:MARK]}"
