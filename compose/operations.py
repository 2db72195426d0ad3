"""Commands that change jobs, one or many: retry, release, cancel, and a task applied to past jobs."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer

from compose.operate import Data, ask, console, jobs_app, states_of, tasks_app
from contracts.client import call

Ids = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Ids of jobs; or choose them by the options")]
States = Annotated[str, typer.Option("--state", help="Only jobs in these states, joined by commas")]
TaskId = Annotated[str, typer.Option("--task", help="Only jobs of this task")]
Pipeline = Annotated[str, typer.Option("--pipeline", help="Only jobs of this pipeline")]
Instrument = Annotated[str, typer.Option("--instrument", help="Only jobs of this instrument")]
Name = Annotated[str, typer.Option("--name", help="Only files whose name contains this")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the history")]
__all__ = ["jobs_app", "tasks_app"]
SHOWN = 20
"""Jobs that are told of one by one."""


ACTIONS = {
    "retry": "Look at jobs now: no back-off and no silent pipeline is waited for; those given up are released.",
    "release": "Let failed, quarantined or cancelled jobs try again where they stood.",
    "cancel": "End jobs that are on their way; a cancelled job can be released again.",
}


def _command(action: str, meaning: str) -> None:
    @jobs_app.command(action, help=meaning)
    def command(
        jobs: Ids = None,
        state: States = "",
        task: TaskId = "",
        pipeline: Pipeline = "",
        instrument: Instrument = "",
        name: Name = "",
        reason: Reason = "",
        data: Data = None,
    ) -> None:
        _say(data, action, jobs, _filter(state, task, pipeline, instrument, name), reason)


for _action, _meaning in ACTIONS.items():
    _command(_action, _meaning)


def _filter(state: str, task: str, pipeline: str, instrument: str, name: str) -> dict[str, Any]:
    said = {"Task": task, "Pipeline": pipeline, "Instrument": instrument, "Name": name}
    return {"States": [str(one) for one in states_of(state)]} | {field: text for field, text in said.items() if text}


def _say(data: Any, action: str, jobs: list[str] | None, narrowed: dict[str, Any], reason: str) -> None:
    """Tell it of all jobs, page by page; ends with 1 where the repository refused one."""
    filtered = {field: value for field, value in narrowed.items() if value}
    if bool(jobs) == bool(filtered):
        raise typer.BadParameter("give either ids of jobs, or options that choose them")
    changed, refused = ask(data, "job-repository", lambda client: _tell(client, action, jobs, filtered, reason))
    console.print(f"{changed} jobs changed" + (f", {refused} refused" if refused else ""))
    if refused:
        raise typer.Exit(1)


async def _tell(
    client: httpx.AsyncClient, action: str, jobs: list[str] | None, filtered: dict[str, Any], reason: str
) -> tuple[int, int]:
    changed = refused = shown = 0
    for body in [{"Ids": jobs[n : n + 500]} for n in range(0, len(jobs), 500)] if jobs else [filtered]:
        async for answer in _pages(client, f"/api/v1/jobs/{action}", body | {"Reason": reason}):
            for one in answer["Verdicts"]:
                if (one["Changed"] or one["Error"]) and shown < SHOWN:
                    shown += 1
                    console.print(one["Error"] or f"{one['Id']} is {one['State']}")
            changed += answer["Changed"]
            refused += sum(bool(one["Error"]) for one in answer["Verdicts"])
    return changed, refused


@tasks_app.command("apply")
def apply(
    task: Annotated[str, typer.Argument(help="The task's id")],
    state: Annotated[str, typer.Option(help="unmatched, complete, failed, quarantined; by commas")] = "unmatched",
    since: Annotated[str, typer.Option(help="Only files registered since: 2026-11-01, or 2026-11-01T08:30")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many jobs it would be")] = False,
    reason: Reason = "",
    data: Data = None,
) -> None:
    """Process past jobs that a new or changed task wants; each once for each version of the task."""
    body: dict[str, Any] = {"States": [str(one) for one in states_of(state)], "DryRun": dry_run, "Reason": reason}
    if since:
        body["Since"] = _nanoseconds(since)
    looked, wanted, applied = ask(data, "task-launcher", lambda client: _apply(client, task, body))
    told = "would be processed" if dry_run else "are on their way"
    console.print(f"{looked} jobs looked at, {wanted} wanted by the task, {applied} {told}")


def _nanoseconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 10**9
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date such as 2026-11-01", param_hint="--since") from None


async def _apply(client: httpx.AsyncClient, task: str, body: dict[str, Any]) -> tuple[int, int, int]:
    looked = wanted = applied = shown = 0
    async for answer in _pages(client, f"/api/v1/task/{quote(task, safe='')}/apply", body):
        looked, wanted, applied = looked + answer["Looked"], wanted + answer["Wanted"], applied + answer["Applied"]
        for trouble in answer["Troubles"][: SHOWN - shown]:
            shown += 1
            console.print(f"{trouble['Id']}: {trouble['Error']}")
    return looked, wanted, applied


async def _pages(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The answers to one request, said again with the last one's cursor until there is none."""
    while True:
        answer = (await call(client, "POST", path, json=body)).json()
        yield answer
        if answer["After"] is None:
            return
        body = body | {"After": answer["After"]}
