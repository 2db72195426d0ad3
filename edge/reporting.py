"""Tells the gateway how this instrument is. Nothing here waits for an answer that may never come: an edge without a
gateway works on."""

import asyncio
import contextlib
import logging
import platform
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from contracts.desk import pause_after
from contracts.edge_status import MOST, Disk, EdgeStatus, Statuses, Trouble, WatchedFolder, cut
from contracts.errors import AppError
from contracts.ports import Clock
from edge.journal import Journal
from edge.rows import FileState, Tally

log = logging.getLogger(__name__)
EVERY = 30.0
"""Seconds between two reports while nothing happens."""
SOON = 3.0
"""Seconds from a change to the report of it."""
SHARE = 200
"""Counting takes no more than this part of the time, however large the journal is."""
WAITING = (FileState.FOUND, FileState.HASHED, FileState.REGISTERED)


class Reporting:
    """The instrument's word on itself: every half minute, and soon after its files have moved."""

    def __init__(
        self,
        statuses: Statuses,
        journal: Journal,
        clock: Clock,
        *,
        host: str,
        version: str,
        roots: Collection[str],
        places: Mapping[str, Path],
        pending: Callable[[], int] = lambda: 0,
        troubles: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """``roots``: watched folders; ``places``: our own folders, by what they are for; ``troubles``: what cannot do
        its work now, and why."""
        self._statuses, self._journal, self._clock = statuses, journal, clock
        self._host, self._version, self._roots, self._places = host, version, tuple(roots), dict(places)
        self._pending, self._troubles = pending, troubles
        self._started, self._change = clock(), -1
        self._tally = Tally({})
        self._counting = 0.0
        self._system = ""
        self._news, self._stop = asyncio.Event(), asyncio.Event()
        for state in FileState:
            journal.listen(state, self._news.set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reports while the context is open. A report on its way at the end is given up."""
        task = asyncio.create_task(self._report_for_ever(), name="reports of how this instrument is")
        try:
            yield
        finally:
            self._stop.set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _report_for_ever(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._news.clear()
            try:
                await self._statuses.tell(self._host, await self.status())
                failures = 0
            except Exception as error:  # whatever it is, the next report may do
                failures += 1
                say = log.info if isinstance(error, AppError) else log.warning
                if failures == 1:
                    say("the gateway does not hear how this instrument is: %s", error)
            await self._rest(failures)

    async def _rest(self, failures: int) -> None:
        """Until it is time again: sooner after news, but for a gateway that does not listen."""
        least = max(SOON, self._counting * SHARE)
        if failures:
            least = max(least, pause_after(failures, longest=EVERY, chance=1.0))
        await asyncio.sleep(least)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, EVERY - least)):
                await self._news.wait()

    async def status(self) -> EdgeStatus:
        """How it is now. Raises ``Unavailable`` where the journal cannot be read."""
        if (change := await self._journal.change()) != self._change:
            begun = time.monotonic()
            self._tally = await self._journal.tally()
            self._change, self._counting = change, time.monotonic() - begun
        disks, self._system = await asyncio.to_thread(self._looked)
        held = self._tally.held
        return EdgeStatus(
            version=self._version,
            system=self._system,
            at=self._clock(),
            started=self._started,
            folders=_folders(self._roots, self._tally),
            disks=disks,
            pending=self._pending(),
            troubles=tuple(Trouble(what=cut(what), why=cut(why)) for what, why in self._troubles().items())[:MOST],
            last_error=cut(held.reason) if held else "",
            last_error_file=cut(held.path.as_posix()) if held else "",
            last_error_at=max(held.seen_at, 0) if held else 0,
        )

    def _looked(self) -> tuple[tuple[Disk, ...], str]:
        """The disks of watched folders and our own, and the system's name. Blocks."""
        named = [("watched", Path(root)) for root in self._roots] + list(self._places.items())
        return tuple(_disk(what, path) for what, path in named[:MOST]), self._system or cut(platform.platform())


def _disk(what: str, path: Path) -> Disk:
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        return Disk(what=what, path=cut(path.as_posix()), trouble=cut(error.strerror or str(error)))
    return Disk(what=what, path=cut(path.as_posix()), free=usage.free, total=usage.total)


def _folders(roots: Collection[str], tally: Tally) -> tuple[WatchedFolder, ...]:
    """The watched folders, and those that are watched no longer but have files on their way."""
    open_ = {root for (root, state), _ in tally.files.items() if state is not FileState.DONE}
    every = [*roots, *sorted(open_ - set(roots))]
    return tuple(_folder(root, tally) for root in every[:MOST])


def _folder(root: str, tally: Tally) -> WatchedFolder:
    count = {state: tally.files.get((root, state), (0, 0)) for state in FileState}
    since = [seen for state in WAITING for number, seen in (count[state],) if number]
    return WatchedFolder(
        path=cut(root),
        waiting=sum(count[state][0] for state in WAITING),
        held=count[FileState.HELD][0],
        sent=count[FileState.SENT][0],
        done=count[FileState.DONE][0],
        oldest=max(min(since, default=0), 0),
    )
