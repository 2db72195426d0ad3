"""Batches: what was submitted, how far it is, and what is the matter with what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from contracts.batches import Batch, Entry, What
from contracts.models import FINAL, Job, State
from gateway.dashboard.views.jobs import TONES, result_line

ROWS = 100
"""Jobs on a batch's page."""
ENTRIES = 200
"""Entries on a batch's page."""


@dataclass(frozen=True)
class Count:
    """Jobs of a batch in one state."""

    state: str
    tone: str
    jobs: int


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    jobs: int
    ended: int
    counts: tuple[Count, ...]

    @property
    def percent(self) -> int:
        return 100 * self.ended // self.jobs if self.jobs else 0

    @property
    def running(self) -> bool:
        return self.ended < self.jobs


@dataclass(frozen=True)
class Line:
    """A batch in the list."""

    id: str
    name: str
    """'' where nobody gave it one"""
    by: str
    created: int
    task: str
    progress: Progress


@dataclass(frozen=True)
class Row:
    """A job of a batch."""

    id: str
    name: str
    state: str
    tone: str
    said: str
    """What is the matter and what to do, or its result."""
    retry: bool
    """It was given up, and can be let go on."""


def progress(counts: Mapping[str, int]) -> Progress:
    """By the counts of its jobs."""
    known = {str(state): n for state in State if (n := counts.get(str(state), 0))}
    ended = sum(n for state, n in known.items() if State(state) in FINAL)
    return Progress(sum(known.values()), ended, tuple(Count(name, TONES[State(name)], n) for name, n in known.items()))


def line(batch: Batch, tasks: Mapping[str, str]) -> Line:
    """``tasks``: descriptions by id."""
    task = tasks.get(batch.task, batch.task[:8])
    return Line(batch.id, batch.name, batch.by, batch.created, task, progress(batch.counts))


def row(job: Job) -> Row:
    """What is said of it whole: here people look for what to do."""
    name = f"{job.origin_dir}/{job.input_file.name}" if job.origin_dir else job.input_file.name
    given_up = job.state in (State.FAILED, State.QUARANTINED, State.CANCELLED) and job.held_state is not None
    said = job.reason or result_line(job.pipeline_details.results)
    return Row(job.id, name, str(job.state), TONES[job.state], said, given_up)


def under_way(entries: Sequence[Entry]) -> bool:
    """Whether an archive is still unpacked."""
    return any(entry.what is What.UNPACKING for entry in entries)


def tone(entry: Entry) -> str:
    """How an entry is coloured."""
    return {What.UNPACKING: "running", What.UNPACKED: "good", What.REFUSED: "bad"}[entry.what]


def wanted(batch_id: str, params: Mapping[str, str]) -> dict[str, str]:
    """The query for the jobs on a batch's page, in the order in which they came."""
    given = {name: params[name] for name in ("state", "after") if params.get(name)}
    return {"batch": batch_id, "order": "asc", "limit": str(ROWS), **given}


def address(batch_id: str, **params: str) -> str:
    """Of a batch's page."""
    said = urlencode({name: value for name, value in params.items() if value})
    return f"/batches/{quote(batch_id, safe='')}" + (f"?{said}" if said else "")
