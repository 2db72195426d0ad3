"""Follows the job repository's feed of changes once, for all open pages."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx
from pydantic import BaseModel, ConfigDict, Field

from contracts.client import call
from contracts.errors import AppError
from contracts.models import Job

log = logging.getLogger(__name__)
PATIENCE = 1.0
"""Seconds until a repository is asked again that did not answer."""
WAIT = 10.0
"""Seconds that the repository lets us wait for a change."""
COUNT_EVERY = 1.0
"""Seconds between two counts of jobs by state, while somebody looks."""
MOST = 5000
"""Changed jobs kept for a page that does not fetch them; beyond, it reads its rows anew."""


class Answer(BaseModel):
    """Of ``GET /api/v1/changes``."""

    model_config = ConfigDict(frozen=True)

    last: int = Field(alias="Last")
    jobs: tuple[Job, ...] = Field(alias="Jobs")
    gone: tuple[str, ...] = Field(alias="Gone")


@dataclass
class Listener:
    """One open page: what has changed since it last took it."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    jobs: dict[str, Job] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    reread: bool = False
    """More has changed than was kept, or the feed was away for a while."""

    async def wait(self, seconds: float) -> None:
        """Until there is news, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()

    def take(self) -> tuple[list[Job], set[str], bool]:
        """All of it, once."""
        taken = (list(self.jobs.values()), self.gone, self.reread)
        self.jobs, self.gone, self.reread = {}, set(), False
        self.news.clear()
        return taken

    def hear(self, answer: Answer) -> None:
        """Something has changed."""
        self.jobs.update((job.id, job) for job in answer.jobs)
        self.gone |= set(answer.gone)
        if len(self.jobs) + len(self.gone) > MOST:
            self.jobs, self.gone, self.reread = {}, set(), True
        self.news.set()


class Following:
    """One follower for all pages; while no page is open it asks nothing. ``client``: the job repository's, under our
    own name: all who may look at pages may see all jobs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._listeners: list[Listener] = []
        self._wanted = asyncio.Event()
        self.away = ""
        """Why the feed cannot be followed now; empty when all is well."""
        self.counts: Mapping[str, int] = {}
        self.closed = False
        """No page is to be told any more."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows while the context is open."""
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._count())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """A page is open."""
        listener = Listener()
        self._listeners.append(listener)
        self._wanted.set()
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                self._wanted.clear()

    def close(self) -> None:
        """Streams to pages end."""
        self.closed = True
        for listener in self._listeners:
            listener.news.set()

    @property
    def open_pages(self) -> int:
        """How many listen."""
        return len(self._listeners)

    async def _follow(self) -> None:
        after: int | None = None
        while True:
            if not self._wanted.is_set():
                after = None
                await self._wanted.wait()
            try:
                answer = await self._ask(after)
            except (AppError, ValueError) as error:
                self._tell_away(str(error))
                after = None
                await asyncio.sleep(PATIENCE)
                continue
            self._tell(answer, anew=after is None)
            after = answer.last

    async def _ask(self, after: int | None) -> Answer:
        params = {} if after is None else {"after": str(after), "wait": f"{WAIT:g}"}
        response = await call(self._client, "GET", "/api/v1/changes", params=params)
        return Answer.model_validate_json(response.content)

    def _tell(self, answer: Answer, *, anew: bool) -> None:
        back, self.away = bool(self.away), ""
        for listener in self._listeners:
            listener.reread |= anew or back
            if anew or back or answer.jobs or answer.gone:
                listener.hear(answer)

    def _tell_away(self, why: str) -> None:
        if why != self.away:
            log.warning("the feed of changes is away: %s", why)
        self.away = why
        for listener in self._listeners:
            listener.news.set()

    async def _count(self) -> None:
        while True:
            await self._wanted.wait()
            with contextlib.suppress(AppError, ValueError):  # the feed tells of its own failures
                self.counts = (await call(self._client, "GET", "/api/v1/counts")).json()
            await asyncio.sleep(COUNT_EVERY)
