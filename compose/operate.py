"""Commands for operators and administrators: tasks, jobs, submit."""

import asyncio
import getpass
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compose.access import access
from compose.membership import membership, of_edge
from compose.settings import Settings, address
from contracts.client import HttpJobs, call
from contracts.errors import AppError
from contracts.hosting import PORTS
from contracts.identity import COMMAND
from contracts.models import FINAL, Job, State, Verification
from contracts.ports import JobQuery
from contracts.printable import printable

T = TypeVar("T")
# Into a pipe or a file everything is written whole: who reads that has no use for half an id.
console = Console() if sys.stdout.isatty() else Console(width=1000)
tasks_app = typer.Typer(no_args_is_help=True)
jobs_app = typer.Typer(no_args_is_help=True)
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the running instance; default ./data")]
JobId = Annotated[str, typer.Argument(help="The job's id, or its beginning")]


EDGE = ("file-watcher", "data-organizer", "file-sender-oem", "file-receiver-oem")


def _remembered(settings: Settings) -> dict[str, Any]:
    remembered = settings.data / "running.json"
    found: dict[str, Any] = json.loads(remembered.read_text()) if remembered.is_file() else {}
    return found


def running_here(settings: Settings) -> dict[str, int]:
    """Service -> port of the instance that runs, or last ran, on this data folder."""
    ports: dict[str, int] = _remembered(settings).get("ports", {})
    return ports


def as_running(settings: Settings) -> Settings:
    """The settings, where the instance on this data folder runs more closely guarded than they say."""
    if not _remembered(settings).get("secured") or settings.secured():
        return settings
    security = settings.security.model_copy(update={"required": "always"})
    return settings.model_copy(update={"security": security})


def user_name() -> str:
    """Who uses the command line."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def client_for(settings: Settings, service: str) -> httpx.AsyncClient:
    """A client for a service of the instance on this data folder, else where its peers would look for it."""
    settings = as_running(settings)
    here = running_here(settings)
    port = here.get(service, PORTS[service] + max(settings.port_offset, 0))
    mine = access(settings, f"{COMMAND}{user_name()}", make=False)
    base = settings.inside(settings.gateway.inside) if service not in EDGE else f"{settings.scheme()}://127.0.0.1"
    if service in here:
        base = f"{settings.scheme()}://127.0.0.1"
    elif "file-watcher" in here and service not in EDGE:
        member, settings = membership(settings)
        base, mine = settings.edge.gateway, of_edge(mine, member)
    if token := os.environ.get("CYTOBUS_TOKEN"):
        mine = replace(mine, word=lambda: token)
    return mine.client(address(base, service, port), timeout=httpx.Timeout(30.0))


def said(words: str) -> str:
    """What came from outside, such as a file's name, as rich may print it: no control characters, no markup."""
    return escape(printable(words))


def _row(table: Table, *cells: str) -> None:
    table.add_row(*map(said, cells))


def settings_of(data: Path | None) -> Settings:
    return Settings(data=data) if data else Settings()


def ask(data: Path | None, service: str, question: Callable[[httpx.AsyncClient], Awaitable[T]]) -> T:
    """Ask a service; what it refuses ends the program with its words."""
    settings = settings_of(data)

    async def main() -> T:
        async with client_for(settings, service) as client:
            return await question(client)

    try:
        return asyncio.run(main())
    except AppError as error:
        console.print(f"[red]{said(str(error))}[/red]")
        raise typer.Exit(1) from None


@tasks_app.command("list")
def list_tasks(data: Data = None) -> None:
    """All tasks, in the order in which they are asked."""
    response = ask(data, "task-launcher", lambda client: call(client, "GET", "/api/v1/task"))
    table = Table("id", "description", "pipeline", "rule", "parameters")
    for task in response.json() if response.status_code == 200 else []:
        parameters = json.dumps(task["ModelParameters"] or {})
        _row(table, task["Id"], task["Description"], task["PipelineId"], task["JobSelector"], parameters)
    console.print(table)


@tasks_app.command("add")
def add_task(
    description: Annotated[str, typer.Option(help="What it is for")],
    pipeline: Annotated[str, typer.Option(help="The pipeline's topic, such as nuclei")],
    rule: Annotated[str, typer.Option(help="JSONLogic over the job")] = "",
    contains: Annotated[str, typer.Option(help="Instead of a rule: the file name contains this")] = "",
    folder: Annotated[str, typer.Option(help="Where the pipeline writes, below the gateway's files")] = "output",
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, may be repeated")] = None,
    if_none: Annotated[bool, typer.Option("--if-none", help="Only where there is no task yet")] = False,
    data: Data = None,
) -> None:
    """Register a task."""
    if bool(rule) == bool(contains):
        raise typer.BadParameter("give either --rule or --contains")
    selector = rule or json.dumps({"in": [contains, {"var": "InputFile.Name"}]})
    pairs = [text.partition("=") for text in parameter or []]
    task = {
        "Description": description,
        "JobSelector": selector,
        "PipelineId": pipeline,
        "ResultFileFolder": folder,
        "ModelParameters": {name: value for name, _, value in pairs},
    }

    async def add(client: httpx.AsyncClient) -> str:
        if if_none and (await call(client, "GET", "/api/v1/task")).status_code == 200:
            return "there are tasks already"
        return (await call(client, "POST", "/api/v1/task", json=task)).text

    console.print(ask(data, "task-launcher", add))


@tasks_app.command("remove")
def remove_task(task_id: str, data: Data = None) -> None:
    """Delete a task. Jobs launched for it go on."""
    ask(data, "task-launcher", lambda client: call(client, "DELETE", f"/api/v1/task/{task_id}"))


@jobs_app.command("list")
def list_jobs(
    state: Annotated[str, typer.Option(help="Only these states, joined by commas")] = "",
    name: Annotated[str, typer.Option(help="Only files whose name contains this")] = "",
    limit: int = 50,
    data: Data = None,
) -> None:
    """Jobs, newest first."""
    query = JobQuery(states=states_of(state), name_contains=name or None, limit=limit)
    page = ask(data, "job-repository", lambda client: HttpJobs(client).find(query))
    table = Table("id", "file", "state", "owner", "status", "results", "error")
    for job in page.jobs:
        error = job.reason or (job.error_details.error if job.error_details else "")
        results = job.pipeline_details.results[:60]
        _row(table, job.id, job.input_file.name, str(job.state), job.owner, job.status, results, error)
    console.print(table)
    if page.next is not None:
        console.print(f"more than {limit}; narrow with --state or --name, or raise --limit")


def states_of(text: str) -> tuple[State, ...]:
    """States named on the command line, joined by commas. Ends the program with the possible ones for any other."""
    try:
        return tuple(State(word.strip()) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise typer.BadParameter(f"{error}; states are {', '.join(State)}", param_hint="--state") from None


@jobs_app.command("show")
def show_job(job_id: JobId, data: Data = None) -> None:
    """A job with its whole history."""

    async def look(client: httpx.AsyncClient) -> tuple[Job, list[dict[str, Any]]]:
        job = await HttpJobs(client).get(job_id)
        return job, (await call(client, "GET", f"/api/v1/job/{job_id}/history")).json()

    job, history = ask(data, "job-repository", look)
    # JSON escapes some of what a terminal must not have, all of it where only ASCII is written.
    console.print_json(job.model_dump_json(by_alias=True), ensure_ascii=True)
    table = Table("when", "who", "what", "to", "why")
    for line in history:
        when = datetime.fromtimestamp(line["At"] / 1e9).astimezone().isoformat(" ", "milliseconds")
        _row(table, when, line["By"], line["What"], line["To"], line["Why"])
    console.print(table)


@jobs_app.command("accept")
def accept(job_id: JobId, data: Data = None) -> None:
    """Accept a result."""
    _review(data, job_id, Verification.ACCEPTED)


@jobs_app.command("reject")
def reject(job_id: JobId, data: Data = None) -> None:
    """Reject a result; its image is copied to the reject folder."""
    _review(data, job_id, Verification.REJECTED)
    ask(data, "file-sender-gateway", lambda client: call(client, "POST", f"/api/v1/reject/{job_id}"))


def _review(data: Path | None, job_id: str, word: Verification) -> None:
    body = {"Verification": int(word)}
    ask(data, "job-repository", lambda client: call(client, "PUT", f"/api/v1/job/{job_id}", json=body))


@jobs_app.command("delete")
def delete(job_id: JobId, data: Data = None) -> None:
    """Forget a job. Its files and its history stay."""
    ask(data, "job-repository", lambda client: call(client, "DELETE", f"/api/v1/job/{job_id}"))


def submit(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Images to be processed")],
    wait: Annotated[bool, typer.Option(help="Wait for the results")] = True,
    data: Data = None,
) -> None:
    """Put files into the watched folder, each appearing whole, and follow their jobs."""
    settings = settings_of(data)
    folder = settings.folders()[0]
    if not folder.is_dir():
        console.print(f"[red]{folder} is not there; start cytobus up or cytobus edge on this data folder first[/red]")
        raise typer.Exit(1)
    since = min(_put(file, folder) for file in files)
    names = {file.name for file in files}
    if wait:
        ask(data, "job-repository", lambda client: _follow(HttpJobs(client), names, since))


def _put(file: Path, folder: Path) -> int:
    """Copy a file so that it appears whole; the time (ns) of its appearance."""
    hidden = folder / f".{file.name}.{os.getpid()}.part"
    shutil.copyfile(file, hidden)
    hidden.replace(folder / file.name)
    return (folder / file.name).stat().st_ctime_ns


async def _follow(jobs: HttpJobs, names: set[str], since: int) -> None:
    done: set[str] = set()
    while done != names:
        page = await jobs.find(JobQuery(updated_since=since))
        for job in page.jobs:
            name = job.input_file.name
            if name in names - done and job.state in FINAL:
                done.add(name)
                console.print(said(f"{name}: {job.state} {job.pipeline_details.results or job.reason}"))
        await asyncio.sleep(0.3)
