"""The list of jobs: what its filters mean and what a row says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.listing import query_of
from contracts.models import Job, State
from contracts.ports import JobQuery
from gateway.dashboard.views.paging import cursor
from gateway.dashboard.views.times import moment_in

ROWS = (50, 25, 100, 200)
"""Jobs on a page; the first if nothing else is asked."""
SINCE: Mapping[str, int] = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
"""The times that can be asked for (s)."""
TIMES = ("since", "from", "to")
FILTERS = ("name", "state", "hostname", "task", "pipeline", *TIMES, "zone", "sort", "order", "rows")
TONES: Mapping[State, str] = {
    **dict.fromkeys((State.CREATED, State.SENDING, State.RECEIVED), "waiting"),
    **dict.fromkeys((State.RUNNING, State.PROCESSED, State.DELIVERING, State.DELIVERED), "running"),
    State.COMPLETE: "good",
    **dict.fromkeys((State.UNMATCHED, State.CANCELLED), "idle"),
    **dict.fromkeys((State.FAILED, State.QUARANTINED), "bad"),
}
SHORT = 60


@dataclass(frozen=True)
class Row:
    """A job as the list shows it."""

    id: str
    name: str
    state: str
    tone: str
    instrument: str
    task: str
    created: int
    updated: int
    """ns since the epoch"""
    said: str
    """Its result in short, or what is the matter with it."""
    verification: int


def asked(params: Mapping[str, str], now: int) -> JobQuery:
    """What the page's address asks for (``now``: ns). Raises ``BadRequest``. Empty filters do not narrow."""
    given = {name: params[name] for name in ("name", "state", "hostname", "task", "pipeline") if params.get(name)}
    given |= times(params, now)
    given["sort"], given["order"] = order(params)
    given["limit"] = str(rows(params))
    if params.get("after"):
        given |= cursor(params["after"])
    return query_of(given)


def times(params: Mapping[str, str], now: int) -> dict[str, str]:
    """From when to when jobs have changed last: so long ago, or from and to in the reader's own time."""
    zone, found = params.get("zone", ""), {}
    since = [now - seconds * 10**9 for word, seconds in SINCE.items() if word == params.get("since")]
    if params.get("from"):
        since.append(moment_in("from", params["from"], zone))
    if since:
        found["updated_since"] = str(max(since))
    if params.get("to"):
        found["updated_until"] = str(moment_in("to", params["to"], zone))
    return found


def order(params: Mapping[str, str]) -> tuple[str, str]:
    """By what the jobs are sorted, and which way round. Jobs of a time are sorted by it, if nothing else is asked."""
    usual = "changed" if any(params.get(name) for name in TIMES) else "registered"
    sort = params.get("sort") or usual
    return sort, params.get("order") or ("asc" if sort == "name" else "desc")


def rows(params: Mapping[str, str]) -> int:
    """How many jobs are on a page."""
    said = params.get("rows", "")
    return int(said) if said in map(str, ROWS) else ROWS[0]


def row(job: Job, tasks: Mapping[str, str]) -> Row:
    """``tasks``: their descriptions by id."""
    details = job.pipeline_details
    return Row(
        id=job.id,
        name=job.input_file.name,
        state=str(job.state),
        tone=TONES[job.state],
        instrument=job.origin_host,
        task=tasks.get(details.task_id, details.task_id[:8]),
        created=job.created,
        updated=job.last_updated,
        said=shortened(job.reason or result_line(details.results)),
        verification=job.verification,
    )


def result_line(results: str) -> str:
    """A result in one line: the plain values of a JSON object, else the text itself."""
    try:
        found = json.loads(results) if results else ""
    except ValueError:
        return results
    if not isinstance(found, dict):
        return results
    plain = [(key, value) for key, value in found.items() if isinstance(value, str | int | float) and value != ""]
    return " · ".join(f"{key} {_number(value)}" for key, value in plain[:4])


def _number(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def shortened(text: str) -> str:
    """At most ``SHORT`` signs."""
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"
