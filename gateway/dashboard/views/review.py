"""The queue of results that are to be judged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from contracts.models import Job, State
from gateway.dashboard.views.jobs import result_line, shortened

FILTERS = ("verification", "task", "name", "hostname")
WORDS = ("0", "1", "2")
QUEUE = 50
"""Results in the queue of one page."""


@dataclass(frozen=True)
class Item:
    """A result in the queue."""

    id: str
    name: str
    said: str
    verification: int
    address: str
    current: bool


@dataclass(frozen=True)
class Place:
    """Which result is looked at, and the addresses of those around it; empty where there is none."""

    job_id: str = ""
    number: int = 0
    before: str = ""
    next: str = ""
    queue: str = "/review"
    """Where to go on when this was the last."""


def wanted(params: Mapping[str, str]) -> dict[str, str]:
    """The query of the listing: complete jobs, those nobody has judged if nothing else is asked, oldest first, so
    that the queue does not move while it is worked on."""
    query = {name: params[name] for name in (*FILTERS, "after") if params.get(name)}
    if query.get("verification") not in WORDS:
        query["verification"] = "0"
    return query | {"limit": str(QUEUE), "order": "asc"}


def placed(jobs: Sequence[Job], params: Mapping[str, str]) -> Place:
    """The result that was asked for, else the first."""
    ids = [job.id for job in jobs]
    asked = params.get("job", "")
    if not ids:
        return Place(job_id=asked, queue=_with(params, {}))
    at = ids.index(asked) if asked in ids else -1
    if asked and at < 0:  # it has been judged meanwhile, and is looked at all the same
        return Place(job_id=asked, next=_address(params, ids[0]), queue=_with(params, {}))
    at = max(at, 0)
    before = _address(params, ids[at - 1]) if at else ""
    following = _address(params, ids[at + 1]) if at + 1 < len(ids) else ""
    return Place(ids[at], at + 1, before, following, _with(params, {}))


def items(jobs: Sequence[Job], params: Mapping[str, str], current: str) -> list[Item]:
    """The queue."""
    return [
        Item(
            job.id,
            job.input_file.name,
            shortened(result_line(job.pipeline_details.results)),
            job.verification,
            _address(params, job.id),
            job.id == current,
        )
        for job in jobs
    ]


def more(after: str, params: Mapping[str, str]) -> str:
    """The address of the next part of the queue, which begins there; empty where there is none."""
    return _with(params, {"after": after}) if after else ""


def bulk(params: Mapping[str, str]) -> dict[str, str | int]:
    """The same filters as ``POST /api/v1/jobs/review`` takes them."""
    words = {"task": "Task", "name": "Name", "hostname": "Instrument"}
    found: dict[str, str | int] = {word: params[name] for name, word in words.items() if params.get(name)}
    return found | {"Judged": int(wanted(params)["verification"])}


def concerns(params: Mapping[str, str], jobs: Iterable[Job], shown: str) -> bool:
    """Whether a page with these filters, on which this job is looked at, may look different now."""
    return any(job.id == shown or _fits(params, job) for job in jobs)


def _fits(params: Mapping[str, str], job: Job) -> bool:
    asked = ((params.get("task"), job.pipeline_details.task_id), (params.get("hostname"), job.origin_host))
    named = params.get("name", "").lower() in job.input_file.name.lower()
    return job.state is State.COMPLETE and named and all(not one or one == found for one, found in asked)


def last_word(history: Sequence[Mapping[str, Any]]) -> Mapping[str, str] | None:
    """Who judged a result last, and why; None while nobody has."""
    said = [line for line in history if str(line["What"]).startswith("review: ")]
    return {"by": str(said[-1]["By"]), "why": str(said[-1]["Why"])} if said else None


def here(params: Mapping[str, str], job_id: str) -> str:
    """This page, with the job that it shows now whatever becomes of the queue."""
    return _address(params, job_id) if job_id else _with(params, {})


def _address(params: Mapping[str, str], job_id: str) -> str:
    after = {"after": params["after"]} if params.get("after") else {}
    return _with(params, after | {"job": job_id})


def _with(params: Mapping[str, str], more_params: Mapping[str, str]) -> str:
    query = urlencode({name: params[name] for name in FILTERS if params.get(name)} | dict(more_params))
    return f"/review?{query}" if query else "/review"
