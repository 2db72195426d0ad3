"""What services need of the world, each as small as its smallest honest implementation."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict
from starlette.routing import BaseRoute

from contracts.events import Fact, Verdict
from contracts.models import Job, State

Clock = Callable[[], int]
"""The time in nanoseconds since the epoch."""


@dataclass(frozen=True)
class Delivery:
    """One message as a subscriber gets it. ``attempt`` counts from 1."""

    topic: str
    payload: bytes
    key: str = ""
    attempt: int = 1


Handler = Callable[[Delivery], Awaitable[None]]


class Bus(Protocol):
    """Carries messages at least once to one member of each group, and to each member in order within a key.

    A handler that returns has dealt with its message. An ``AppError`` with ``retry`` set brings the message
    back later; any other error sends it to the dead letters. Topics are levels joined by ``/``; a
    subscription may hold MQTT's wildcards ``+`` and ``#``. A group exists while it has members, and for a while
    after: what is published while it is away may be kept for it, or not.
    """

    async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None: ...

    def subscribe(self, group: str, handlers: Mapping[str, Handler]) -> AbstractAsyncContextManager[None]: ...


class JobQuery(BaseModel):
    """Which jobs to list. Unset fields do not narrow. ``after`` is the cursor of the last page; where jobs are not
    sorted by their registration, ``mark`` belongs to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    states: tuple[State, ...] = ()
    owner: str | None = None
    status: str | None = None
    origin_host: str | None = None
    pipeline: str | None = None
    task: str | None = None
    batch: str | None = None
    name_contains: str | None = None
    updated_since: int | None = None
    """ns since the epoch"""
    updated_until: int | None = None
    """ns since the epoch; changes at this time are no longer meant"""
    due_at: int | None = None
    """only jobs that may be worked on at this time (ns): back-off over"""
    lease_over_at: int | None = None
    """only jobs that nobody holds and whose waiting time was over at this time (ns)"""
    wants_preview: bool | None = None
    kept_until: int | None = None
    """only ended jobs whose files lie at the gateway since this time (ns) or longer"""
    verification: int | None = None
    """only complete jobs of which reviewers say this (``Verification``)"""
    through: int | None = None
    """no job beyond this cursor, which is where the newest was once"""
    sort: Literal["registered", "changed", "name"] = "registered"
    newest_first: bool = True
    """The other way round: oldest first, or names from A on."""
    after: int | None = None
    mark: str | None = None
    limit: int = 1000


@dataclass(frozen=True)
class Page:
    """Some jobs, and the cursor of the next page (None on the last)."""

    jobs: tuple[Job, ...]
    next: int | None = None
    mark: str = ""
    """Belongs to the cursor, where jobs are not sorted by their registration."""


class Jobs(Protocol):
    """The job repository as other services see it. Raises ``Unavailable`` when it cannot be reached."""

    async def report(self, facts: Sequence[Fact]) -> list[Verdict]:
        """Tell facts; answered when they are committed. Each gets its own verdict, in order."""
        ...

    async def find(self, query: JobQuery) -> Page: ...

    async def get(self, job_id: str) -> Job:
        """One job. Raises ``NotFound``."""
        ...

    async def epoch(self) -> str:
        """Which restore of a backup the repository is of; another one may have forgotten what it has answered."""
        ...

    async def claim(
        self, worker: str, pipelines: Sequence[str], limit: int, seconds: float, retries: int | None = None
    ) -> list[Job]:
        """Launched jobs of these pipelines, oldest first, now leased to the worker for so many seconds. ``retries``: at
        most so many of them that a run has put off before; None: any number."""
        ...

    async def release(self, worker: str) -> int:
        """Give back all that a worker of this name had claimed; the number of jobs."""
        ...


class Tasks(Protocol):
    """The task repository as the instrument's side sees it."""

    async def match(self, jobs: Sequence[Job]) -> list[bool]:
        """Whether any task wants each job."""
        ...


class Service(Protocol):
    """One service: a name, routes, and what runs beside them."""

    name: str

    def routes(self) -> list[BaseRoute]: ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Its background work: started on entry, cleanly stopped on exit."""
        ...
