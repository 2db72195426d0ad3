"""Examines a set-up and says what is wrong and how to mend it."""

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from rich.table import Table

from compose.addresses import is_loopback
from compose.doctor_network import Finding, bus, services, stuck, tasks
from compose.operate import as_running, running_here
from compose.settings import Settings, without_password

LOW_DISK = 2 * 2**30
"""Bytes free under which a disk is called nearly full."""
SLOW_SYNC = 0.05
"""Seconds for one synced write above which a disk will hold up many small files."""


CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that Docker and Podman put into their containers."""
KEEPS_FILES = ("file-receiver-gateway", "file-sender-gateway", "task-launcher", "pipeline-sim")
Check = Callable[[Settings], list[Finding] | Awaitable[list[Finding]]]


async def examine(settings: Settings) -> list[Finding]:
    """All checks, in the order of the data's way. A check that fails itself is a finding too."""
    found: list[Finding] = []
    for check in CHECKS:
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


def reach(settings: Settings, marks: Sequence[Path] = CONTAINER_MARKS) -> list[Finding]:
    """Whether those can reach the services who are said to. In a container, which has one of these marks, others
    decide what is published."""
    settings = as_running(settings)
    listens, said = settings.host, settings.published_on
    open_wide = bool(said) and is_loopback(said) and not is_loopback(listens)
    if not open_wide or settings.secured() or any(mark.exists() for mark in marks):
        return []
    seen = f"services listen on {listens}, but published_on is {said}: nobody has to say who they are"
    remedy = f"set host = {said!r}, or leave published_on empty; where something else keeps others out, nothing"
    return [Finding("reach", seen, remedy)]


def _certificate(settings: Settings) -> list[Finding]:
    """How long the certificate is good that services here show."""
    settings = as_running(settings)
    if not settings.with_tls() or not _has(settings, *KEEPS_FILES, "job-repository"):
        return []
    from compose.certificates import days_left  # the edge has no such library, and shows no certificate

    shown = settings.security.certificate or settings.tls_folder() / "services.pem"
    if not shown.is_file():
        return [Finding("certificate", f"{shown} is not there", "start the gateway, which makes it")]
    left = days_left(shown)
    return [
        Finding("certificate", f"good for {left:.0f} days", "" if left > 30 else "restart the services, or renew it")
    ]


def _folders(settings: Settings) -> list[Finding]:
    found = [_writable("data folder", settings.data)]
    if _has(settings, *KEEPS_FILES):
        found.append(_writable("gateway's files", settings.gateway_files()))
    if not _has(settings, "file-watcher"):
        return found
    found.append(_writable("results come back to", settings.output()))
    for folder in settings.folders():
        if not folder.is_dir():
            remedy = "start cytobus once (it makes its own folders), or mount the share, or correct edge.folders"
            found.append(Finding("watched folder", f"{folder} is not there", remedy))
        elif not os.access(folder, os.R_OK | os.X_OK):
            found.append(Finding("watched folder", f"{folder} cannot be read", "give this user the right to read it"))
        else:
            found.append(Finding("watched folder", str(folder)))
    return found


def _has(settings: Settings, *services: str) -> bool:
    """Whether one of these services runs here, as far as that is known."""
    here = running_here(settings)
    return not here or any(service in here for service in services)


def _writable(what: str, folder: Path) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    ok = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Finding(what, str(folder), "" if ok else f"give this user the right to write in {there}")


def _disk(settings: Settings) -> list[Finding]:
    found = []
    if _has(settings, "file-watcher"):
        found += _disk_of(settings.output()) + _disk_of(settings.data)
    if _has(settings, *KEEPS_FILES):
        found += _disk_of(settings.gateway_files())
    unique: dict[str, Finding] = {}
    for finding in found:
        unique.setdefault(f"{finding.what} {finding.seen}", finding)
    return list(unique.values())


def _disk_of(folder: Path) -> list[Finding]:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    full = f"free some space: below {LOW_DISK / 2**30:.0f} GiB files may have to wait" if free < LOW_DISK else ""
    seconds = _sync_seconds(there)
    slow = "use a local disk with a write cache that survives power loss" if seconds > SLOW_SYNC else ""
    return [
        Finding(f"free disk at {there}", f"{free / 2**30:.1f} GiB", full),
        Finding(f"synced write at {there}", f"{seconds * 1e3:.1f} ms", slow),
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
    for folder in settings.folders() if _has(settings, "file-watcher") else ():
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
    if not settings.database_url().startswith("sqlite") and _has(settings, "job-repository", "task-launcher"):
        found += _server(settings)
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


def _server(settings: Settings) -> list[Finding]:
    """The database server: whether it answers, and whether what it answers is on disk."""
    from gateway.database import doubts, is_away, open_engine

    where = without_password(settings.database_url())
    engine = open_engine(settings.database_url())
    try:
        found = [Finding(f"database's {name}", value, remedy) for name, value, remedy in doubts(engine)]
        return found or [Finding("database", f"{where}: answers, and syncs what it answers")]
    except Exception as error:
        if not is_away(error):
            raise
        remedy = "start the database, or correct gateway.database_url (host, port, user, password)"
        return [Finding("database", f"{where}: {getattr(error, 'orig', error)}", remedy)]
    finally:
        engine.dispose()


def _plugins(settings: Settings) -> list[Finding]:
    if not _has(settings, "pipeline-sim"):
        return []
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


CHECKS: tuple[Check, ...] = (
    *(_python, reach, _certificate, _folders, _disk, _watching, _databases, _plugins),
    *(bus, services, tasks, stuck),
)
"""In the order of the data's way."""
