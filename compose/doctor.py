"""Examines a set-up and says what is wrong and how to mend it."""

import asyncio
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from rich.table import Table

from compose.operate import client_for
from compose.settings import Settings
from contracts import selectors
from contracts.client import HttpJobs, call
from contracts.errors import AppError
from contracts.models import State
from contracts.ports import JobQuery

LOW_DISK = 2 * 2**30
"""Bytes free under which a disk is called nearly full."""
GONE = 120.0
"""Seconds of silence after which a runner of pipelines is missed."""
SLOW_SYNC = 0.05
"""Seconds for one synced write above which a disk will hold up many small files."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``bad`` asks for a hand, ``remedy`` says which."""

    what: str
    seen: str
    remedy: str = ""

    @property
    def bad(self) -> bool:
        return bool(self.remedy)


Check = Callable[[Settings], list[Finding] | Awaitable[list[Finding]]]


async def examine(settings: Settings) -> list[Finding]:
    """All checks, in the order of the data's way. A check that fails itself is a finding too."""
    found: list[Finding] = []
    for check in (_python, _folders, _disk, _watching, _databases, _plugins, _services, _tasks, _stuck):
        try:
            result = check(settings)
            found += await result if isinstance(result, Awaitable) else result
        except Exception as error:
            name = check.__name__.strip("_")
            found.append(
                Finding(name, f"{type(error).__name__}: {error}", "this check itself failed; look at its message")
            )
    return found


def shown(findings: list[Finding]) -> Table:
    """A table for people: what is bad comes with its remedy."""
    table = Table("", "what", "seen", "remedy")
    for finding in findings:
        table.add_row("[red]✗[/red]" if finding.bad else "[green]✓[/green]", finding.what, finding.seen, finding.remedy)
    return table


def _python(_settings: Settings) -> list[Finding]:
    words = sys.version.split()[0]
    return [Finding("python", words, "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")]


def _folders(settings: Settings) -> list[Finding]:
    found = [_writable("data folder", settings.data), _writable("results come back to", settings.output())]
    for folder in settings.folders():
        if not folder.is_dir():
            remedy = "start cytobus once (it makes its own folders), or mount the share, or correct edge.folders"
            found.append(Finding("watched folder", f"{folder} is not there", remedy))
        elif not os.access(folder, os.R_OK | os.X_OK):
            found.append(Finding("watched folder", f"{folder} cannot be read", "give this user the right to read it"))
        else:
            found.append(Finding("watched folder", str(folder)))
    return found


def _writable(what: str, folder: Path) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    ok = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Finding(what, str(folder), "" if ok else f"give this user the right to write in {there}")


def _disk(settings: Settings) -> list[Finding]:
    there = next(parent for parent in (settings.data, *settings.data.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    full = f"free some space: below {LOW_DISK / 2**30:.0f} GiB files may have to wait" if free < LOW_DISK else ""
    seconds = _sync_seconds(there)
    slow = "use a local disk with a write cache that survives power loss" if seconds > SLOW_SYNC else ""
    return [
        Finding("free disk", f"{free / 2**30:.1f} GiB", full),
        Finding("synced write", f"{seconds * 1e3:.1f} ms", slow),
    ]


def _sync_seconds(folder: Path) -> float:
    """Median of five synced writes of 4 KiB, in seconds."""
    probe = folder / f".cytobus-doctor-{os.getpid()}"
    taken = []
    try:
        with probe.open("wb") as file:
            for _ in range(5):
                started = time.perf_counter()
                file.write(b"\0" * 4096)
                file.flush()
                os.fsync(file.fileno())
                taken.append(time.perf_counter() - started)
    finally:
        probe.unlink(missing_ok=True)
    return sorted(taken)[2]


def _watching(settings: Settings) -> list[Finding]:
    found = []
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    for folder in settings.folders():
        if settings.edge.poll or not folder.is_dir():
            continue
        if _is_network(folder):
            found.append(
                Finding("events", f"{folder} is a network share", "set edge.poll = true: shares send no events")
            )
        elif limit.is_file():
            allowed, needed = int(limit.read_text()), sum(1 for _ in _subfolders(folder, 200_000))
            remedy = f"raise fs.inotify.max_user_watches above {2 * needed}" if needed > allowed * 0.8 else ""
            found.append(Finding("events", f"{needed} folders to watch, {allowed} allowed", remedy))
    return found


def _subfolders(folder: Path, most: int) -> Iterator[str]:
    for place, (path, _, _) in enumerate(os.walk(folder)):
        if place >= most:
            return
        yield path


def _is_network(folder: Path) -> bool:
    mounts = Path("/proc/mounts")
    if not mounts.is_file():
        return str(folder).startswith("\\\\")
    kinds = {line.split()[1]: line.split()[2] for line in mounts.read_text().splitlines()}
    here = max((point for point in kinds if folder.resolve().is_relative_to(point)), key=len, default="/")
    return kinds.get(here, "") in {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p"}


def _databases(settings: Settings) -> list[Finding]:
    found = []
    for what, path in (("edge journal", settings.data / "edge.db"), ("gateway database", settings.data / "gateway.db")):
        if not path.is_file():
            found.append(Finding(what, "not made yet"))
            continue
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.Error as error:
            answer = str(error)
        finally:
            connection.close()
        remedy = "" if answer == "ok" else "stop cytobus, keep a copy of the file, restore the last backup"
        found.append(Finding(what, f"{path.stat().st_size / 2**20:.1f} MiB, {answer}", remedy))
    return found


def _plugins(_settings: Settings) -> list[Finding]:
    try:
        from pipelines.registry import installed
    except ImportError as error:
        return [Finding("pipelines", f"none on this host ({error})")]
    return [
        Finding(
            f"pipeline {topic}", plugin.error or plugin.name, "mend or uninstall the plug-in" if plugin.error else ""
        )
        for topic, plugin in installed().items()
    ]


async def _services(settings: Settings) -> list[Finding]:
    names = [*settings.ports()]
    return list(await asyncio.gather(*(_service(settings, name) for name in names)))


async def _service(settings: Settings, name: str) -> Finding:
    async with client_for(settings, name) as client:
        try:
            answer = await client.get("/api/v1/health", timeout=5.0)
            health = answer.json()
            if health.get("service") != name:
                raise ValueError("another program answers")
        except httpx.HTTPError:
            return Finding(name, f"does not run at {client.base_url}")
        except (ValueError, AttributeError):
            remedy = "another program has this port: stop it, or set port_offset"
            return Finding(name, f"{client.base_url} is not ours", remedy)
    troubles = "; ".join(f"{desk}: {words}" for desk, words in health["troubles"].items())
    skew = _skew(answer.headers.get("date", ""))
    remedy = "set both clocks by NTP" if abs(skew) > 60 else ""
    return Finding(name, troubles or "runs", remedy or ("see its log" if troubles else ""))


def _skew(date: str) -> float:
    """Seconds by which the peer's clock is ahead."""
    return parsedate_to_datetime(date).timestamp() - time.time() if date else 0.0


async def _tasks(settings: Settings) -> list[Finding]:
    async with client_for(settings, "task-launcher") as client:
        try:
            answer = await call(client, "GET", "/api/v1/task")
            listed = (await call(client, "GET", "/api/v1/pipelines")).json()
        except AppError:
            return []
    alive = {pipeline["subscriptionTopic"]: time.time() - int(pipeline["lastSeen"]) / 1e9 for pipeline in listed}
    if answer.status_code == 204:
        return [Finding("tasks", "none", "register one, or no image will go anywhere: cytobus tasks add --help")]
    return [_task(task, alive) for task in answer.json()]


def _task(task: dict[str, str], alive: Mapping[str, float]) -> Finding:
    what, topic = f"task {task['Description'][:40]}", task["PipelineId"]
    try:
        selectors.check(task["JobSelector"])
    except selectors.BadSelector as error:
        return Finding(what, f"its rule cannot be used: {error}", "correct or delete the task")
    if topic not in alive:
        return Finding(what, f"no runner of ours has pipeline {topic}; it goes out on the bus")
    if alive[topic] > GONE:
        return Finding(what, f"the runner of {topic} was last heard of {alive[topic]:.0f} s ago", "start it again")
    return Finding(what, f"goes to {topic}")


async def _stuck(settings: Settings) -> list[Finding]:
    found = []
    async with client_for(settings, "job-repository") as client:
        try:
            page = await HttpJobs(client).find(JobQuery(states=(State.QUARANTINED,), limit=5))
            counts = (await call(client, "GET", "/api/v1/counts")).json()
        except AppError:
            return []
    for job in page.jobs:
        remedy = f"mend the cause, then: cytobus jobs release {job.id}"
        found.append(Finding(f"quarantined {job.input_file.name[:40]}", job.reason, remedy))
    return [Finding("jobs", ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "none yet"), *found]
