"""The page of the system as a whole."""

import contextlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts.errors import AppError
from gateway.dashboard.asking import asked
from gateway.dashboard.rendering import Person, page
from gateway.dashboard.sampling import Sampling
from gateway.dashboard.upstream import SERVICES, Upstream
from gateway.dashboard.views import system as views

TROUBLED = {"state": "failed,quarantined", "limit": "10"}


class SystemPages:
    """``/system``."""

    def __init__(self, upstream: Upstream, sampling: Sampling) -> None:
        self._upstream, self._sampling = upstream, sampling

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/system", asked(self._upstream, self.show_system), methods=["GET"]),
        ]

    async def show_system(self, request: Request, person: Person) -> Response:
        counts = await self._upstream.get(request, "job-repository", "/api/v1/counts")
        troubled = await self._upstream.get(request, "job-repository", "/api/v1/job", **TROUBLED)
        samples = list(self._sampling.samples)
        hours = 24 if request.query_params.get("hours") == "24" else 1
        return page(
            request,
            "system.html",
            person,
            at="system",
            counts=counts,
            charts=views.charts(samples, hours),
            hours=hours,
            oldest=samples[-1].oldest if samples else 0.0,
            services=[await self._health(request, name) for name in SERVICES],
            figures=await self._figures(request),
            troubled=troubled,
        )

    async def _figures(self, request: Request) -> views.Figures:
        """Of the services that answer; the others are seen to be away above."""
        texts: dict[str, str] = {}
        for name in SERVICES:
            with contextlib.suppress(AppError):
                texts[name] = (await self._upstream.response(request, name, "/metrics")).text
        return views.figures(texts)

    async def _health(self, request: Request, service: str) -> dict[str, Any]:
        try:
            told = await self._upstream.get(request, service, "/api/v1/health")
        except AppError as error:
            return {"name": service, "ok": False, "troubles": {"": str(error)}}
        return {"name": service, "ok": told["state"] == "ok", "troubles": told["troubles"]}
