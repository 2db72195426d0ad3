"""The dashboard: pages, what they are made of, and the way from them to the public API."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from contracts import web
from contracts.openapi import Operations
from gateway.dashboard.following import Following
from gateway.dashboard.instruments import InstrumentPages
from gateway.dashboard.job import JobPages
from gateway.dashboard.jobs import JobsPages
from gateway.dashboard.map import MapPages
from gateway.dashboard.pipelines import PipelinePages
from gateway.dashboard.rendering import LANGUAGE, SAFE, THEME, THEMES, Person, page
from gateway.dashboard.review import ReviewPages
from gateway.dashboard.sampling import Sampling
from gateway.dashboard.submit import SubmitPages
from gateway.dashboard.system import SystemPages
from gateway.dashboard.tasks import TaskPages
from gateway.dashboard.upstream import Clients, Upstream
from gateway.dashboard.words import dictionaries

STATIC = Path(__file__).parent / "static"
YEAR = 365 * 86_400


class Dashboard:
    """Pages for people. It keeps nothing: all that it shows and does is the public API's."""

    name = "dashboard"

    def __init__(self, clients: Clients, own: httpx.AsyncClient, word: Callable[[], str] = lambda: "") -> None:
        """``clients``: by service, without words of their own; ``own``: the job repository's under our own name;
        ``word``: that name, proved."""
        self._upstream, self._following = Upstream(clients, word), Following(own)
        self._sampling = Sampling(own)
        upstream, following = self._upstream, self._following
        jobs, job = JobsPages(upstream, following), JobPages(upstream, following)
        review = ReviewPages(upstream, job, following)
        self._streams = [*jobs.streams(), *job.streams(), *review.streams()]
        self._pages = (
            jobs,
            job,
            review,
            SubmitPages(upstream),
            MapPages(upstream),
            TaskPages(upstream),
            PipelinePages(upstream),
            InstrumentPages(upstream),
            SystemPages(upstream, self._sampling),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows the feed of changes and keeps figures while the context is open."""
        async with self._following.running(), self._sampling.running():
            yield

    def leave(self) -> None:
        """Streams to open pages end; their browsers come again."""
        self._following.close()

    def routes(self) -> list[BaseRoute]:
        return [
            *(route for pages in self._pages for route in pages.routes()),
            Route("/sign-in", self.on_sign_in, methods=["GET"]),
            Route("/look", self.on_look, methods=["GET"]),
            Route("/favicon.ico", self.on_icon, methods=["GET"]),
            Mount("/live", routes=self._streams),  # without an end, so no operations that could be described
            Mount("/static", _Static(directory=STATIC)),
            Mount("/gateway", self._upstream.app),
        ]

    def operations(self) -> Operations:
        """The routes, described."""
        from gateway.dashboard.openapi import operations

        return operations()

    async def on_sign_in(self, request: Request) -> Response:
        return page(request, "sign-in.html", Person(role=""), next=_within(request.query_params.get("next", "/")))

    async def on_look(self, request: Request) -> Response:
        """Language and theme, kept in the browser."""
        asked = request.query_params
        response = RedirectResponse(_within(asked.get("next", "/")), 303, web.NOT_CACHED)
        for name, cookie, known in (("language", LANGUAGE, dictionaries()), ("theme", THEME, THEMES)):
            if asked.get(name) in known:
                response.set_cookie(cookie, asked[name], YEAR, samesite="lax")
        return response

    async def on_icon(self, _request: Request) -> Response:
        return Response((STATIC / "icon.svg").read_bytes(), media_type="image/svg+xml", headers=SAFE)


def _within(path: str) -> str:
    """An address of ours; any other is the first page."""
    good = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and path.isascii()
    return path if good else "/"


class _Static(StaticFiles):
    async def get_response(self, path: str, scope: object) -> Response:
        response = await super().get_response(path, scope)  # type: ignore[arg-type]
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        return response
