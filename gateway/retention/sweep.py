"""The sweep: marks jobs whose files must go, removes the files, says so; each step may be cut off and repeated."""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from contracts import meters
from contracts.errors import AppError, Away, NotFound
from contracts.events import FilesExpired, FilesRemoved
from contracts.models import FINAL, Files, Job
from contracts.ports import Clock, JobQuery, Jobs
from contracts.rules import EXPIRING
from gateway.file_receiver.rules import PARTS
from gateway.files import GatewayFiles
from gateway.retention.belongings import belongings, remove, sizes
from gateway.retention.rules import DAY, PART, Keep, archived_job, scratch_job

log = logging.getLogger(__name__)
AGAIN = 5.0
"""Seconds after which a repository that is away is asked again."""
BY = "retention"
BATCH = 50
SHOWN = 1000
"""So many names are told at most."""
EVERY = 3600.0
"""Seconds between two sweeps."""


@dataclass
class Swept:
    """What a sweep has removed, or would."""

    jobs: int = 0
    files: int = 0
    bytes: int = 0
    debris: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    """Files in the archive that belong to no job; they are left alone."""

    def told(self) -> dict[str, object]:
        """For the wire."""
        names = {"Debris": self.debris[:SHOWN], "Strangers": self.strangers[:SHOWN]}
        return {"Jobs": self.jobs, "Files": self.files, "Bytes": self.bytes, **names}


class Retention:
    """Removes files of ended jobs by their age and their room. What is known from no job is never touched, but for
    unfinished files and scratch folders of our own making that are older than a day. A scratch folder of an ended job
    goes as soon as it is older than this process: it was there when the power came back."""

    name = "retention"

    def __init__(self, jobs: Jobs, files: GatewayFiles, keep: Keep, clock: Clock, *, every: float = EVERY) -> None:
        self._jobs, self._files, self._keep, self._clock, self._every = jobs, files, keep, clock, every
        self._alone = asyncio.Lock()
        self._started = 0
        """When the sweeps began (ns); 0: not yet."""
        self.trouble = ""
        self._bytes = meters.counter("cytobus_expired_bytes", "Bytes of files that retention has removed")
        self._count = meters.counter("cytobus_expired_files", "Files that retention has removed")
        self.meters = (self._bytes, self._count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweeps at once and then hourly."""
        stop, self._started = asyncio.Event(), self._clock()
        sweeping = asyncio.create_task(self._again_and_again(stop), name=self.name)
        try:
            yield
        finally:
            stop.set()
            await sweeping

    async def _again_and_again(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            pause = self._every
            try:
                await self.sweep()
                self.trouble = ""
            except Away as error:  # no trouble of the files', and over at any moment
                pause = AGAIN
                log.info("%s: not now: %s", self.name, error)
            except (AppError, OSError) as error:
                self.trouble = f"files could not be removed: {error}"
                log.warning("%s: %s", self.name, self.trouble)
                pause = 60.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def sweep(self, *, dry_run: bool = False) -> Swept:
        """One sweep; ``dry_run`` only says what it would do, and looks for files of jobs that were forgotten too."""
        async with self._alone:
            swept, now = Swept(), self._clock()
            await self._finish_removals(swept, dry_run)
            if before := self._keep.before(now):
                await self._remove_old(swept, now, before, dry_run)
            if self._keep.most_bytes:
                await self._make_room(swept, now, dry_run)
            await self._clear_debris(swept, now, dry_run)
            await self._find_strangers(swept, dry_run)
            if swept.jobs and not dry_run:
                log.info("%s: %d files of %d jobs were removed", self.name, swept.files, swept.jobs)
            return swept

    async def _pages(self, until: int) -> AsyncIterator[tuple[Job, ...]]:
        """Jobs whose files lie here since ``until`` (ns) or longer, oldest first."""
        after: int | None = None
        while True:
            query = JobQuery(states=EXPIRING, kept_until=until, newest_first=False, after=after, limit=BATCH)
            page = await self._jobs.find(query)
            if page.jobs:
                yield page.jobs
            after = page.next
            if after is None:
                return

    async def _finish_removals(self, swept: Swept, dry_run: bool) -> None:
        """What an earlier sweep had begun when it was cut off."""
        async for jobs in self._pages(1):
            await self._remove([job for job in jobs if job.files is Files.REMOVING], swept, dry_run)

    async def _remove_old(self, swept: Swept, now: int, before: int, dry_run: bool) -> None:
        async for jobs in self._pages(before):
            old = [job for job in jobs if self._keep.is_too_old(job, now)]
            await self._remove(old, swept, dry_run)

    async def _make_room(self, swept: Swept, now: int, dry_run: bool) -> None:
        used = await asyncio.to_thread(_size_of, (self._files.archive, self._files.reject))
        over = used - self._keep.most_bytes - (swept.bytes if dry_run else 0)
        async for jobs in self._pages(now):
            for job in jobs:
                if over <= 0:
                    return
                counted = dry_run and self._keep.is_too_old(job, now)
                if self._keep.may_make_room(job) and not counted:
                    before = swept.bytes
                    await self._remove([job], swept, dry_run)
                    over -= swept.bytes - before

    async def _remove(self, jobs: Sequence[Job], swept: Swept, dry_run: bool) -> None:
        """Mark, remove, tell. A job that was released meanwhile is not marked, and keeps its files."""
        if not dry_run and jobs:
            verdicts = await self._jobs.report([FilesExpired(job_id=job.id, by=BY) for job in jobs])
            jobs = [v.job for v in verdicts if v.job is not None and v.job.files is Files.REMOVING and not v.error]
        gone: dict[Path, int] = {}
        for job in jobs:
            paths = await belongings(job, self._files, self._jobs)
            gone |= await asyncio.to_thread(sizes, job, paths, self._files)
        swept.jobs += len(jobs)
        swept.files += len(gone)
        swept.bytes += sum(gone.values())
        if dry_run or not jobs:
            return
        await asyncio.to_thread(remove, set(gone), self._files)
        self._bytes.inc(sum(gone.values()))
        self._count.inc(len(gone))
        await self._jobs.report([FilesRemoved(job_id=job.id, by=BY) for job in jobs])

    async def _clear_debris(self, swept: Swept, now: int, dry_run: bool) -> None:
        old = now - DAY
        before_start = max(old, self._started)
        for path in await asyncio.to_thread(lambda: list(_debris(self._files.root, old, before_start))):
            job_id = scratch_job(path.name) if path.is_dir() else ""
            if job_id and not await self._has_ended(job_id, unknown=_is_older(path, old)):
                continue
            swept.debris.append(str(path))
            if not dry_run:
                await asyncio.to_thread(_discard, path)

    async def _find_strangers(self, swept: Swept, thorough: bool) -> None:
        """Names of no job; ``thorough``: also of jobs that were forgotten. A thousand names are held at once."""
        with await asyncio.to_thread(os.scandir, self._files.archive) as entries:
            while some := await asyncio.to_thread(_next_names, entries):
                jobs = {name: archived_job(name) for name in some if not PART.fullmatch(name)}
                known = {job_id: await self._is_known(job_id) for job_id in set(jobs.values()) if job_id and thorough}
                swept.strangers += [name for name, job_id in jobs.items() if not job_id or not known.get(job_id, True)]
        if swept.strangers:
            first = ", ".join(swept.strangers[:3])
            log.warning("%s: %d files in the archive are of no job: %s", self.name, len(swept.strangers), first)

    async def _has_ended(self, job_id: str, *, unknown: bool) -> bool:
        """``unknown``: the answer for a job that nobody knows."""
        try:
            return (await self._jobs.get(job_id)).state in FINAL
        except NotFound:
            return unknown

    async def _is_known(self, job_id: str) -> bool:
        try:
            await self._jobs.get(job_id)
        except NotFound:
            return False
        return True


def _next_names(entries: "Iterator[os.DirEntry[str]]") -> list[str]:
    return [entry.name for entry in islice(entries, 1000)]


def _size_of(folders: Sequence[Path]) -> int:
    total = 0
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(place, name)).st_size
    return total


def _debris(root: Path, before: int, scratch_before: int) -> Iterator[Path]:
    """Unfinished files, and scratch folders, that were last changed before a time (ns). The watched uploads have an
    expiry of their own."""
    for place, folders, names in os.walk(root):
        scratches = [name for name in folders if scratch_job(name)]
        folders[:] = [name for name in folders if name != PARTS and name not in scratches]
        yield from (path for name in scratches if _is_older(path := Path(place, name), scratch_before))
        yield from (path for name in names if PART.fullmatch(name) and _is_older(path := Path(place, name), before))


def _is_older(path: Path, before: int) -> bool:
    """Whether it is there and was last changed before a time (ns)."""
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime_ns < before
    return False


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
