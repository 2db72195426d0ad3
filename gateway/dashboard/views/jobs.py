"""The list of jobs: what its filters mean and what a row says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from contracts.listing import query_of
from contracts.models import Job, State
from contracts.ports import JobQuery

ROWS = 50
"""Jobs on a page."""
SINCE: Mapping[str, int] = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
"""The times that can be asked for (s)."""
FILTERS = ("name", "state", "hostname", "task", "pipeline", "since", "order")
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
    updated: int
    """ns since the epoch"""
    said: str
    """Its result in short, or what is the matter with it."""
    verification: int


def asked(params: Mapping[str, str], now: int) -> JobQuery:
    """What the page's address asks for (``now``: ns). Raises ``BadRequest``. Empty filters do not narrow."""
    given = {name: value for name, value in params.items() if value and name in (*FILTERS, "after")}
    given["limit"] = str(ROWS)
    seconds = SINCE.get(given.pop("since", ""))
    if seconds is not None:
        given["updated_since"] = str(now - seconds * 10**9)
    return query_of(given)


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


@dataclass(frozen=True)
class Paging:
    """Addresses of the pages around this one; empty where there is none."""

    first: str = ""
    before: str = ""
    next: str = ""


def paging(params: Mapping[str, str], following: int | None) -> Paging:
    """Keyset paging: ``following`` is the cursor of the next page; the way back is kept in the address."""
    filters = {name: params[name] for name in FILTERS if params.get(name)}
    after, trail = params.get("after", ""), [one for one in params.get("trail", "").split(".") if one.isdigit()]
    onward = ""
    if following is not None:
        passed = [*trail, after or "0"][-100:]
        onward = _address({**filters, "after": str(following), "trail": ".".join(passed)})
    if not after:
        return Paging(next=onward)
    back = dict(filters)
    if trail and trail[-1] != "0":
        back |= {"after": trail[-1], "trail": ".".join(trail[:-1])}
    return Paging(first=_address(filters), before=_address(back), next=onward)


def _address(params: Mapping[str, str]) -> str:
    return "/?" + urlencode({name: value for name, value in params.items() if value})
