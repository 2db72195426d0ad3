"""Looks through the watched folders for what is new, whatever was heard or missed."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.condition import Condition
from contracts.errors import AppError, Unavailable
from contracts.ports import Clock
from contracts.rules import FARTHEST
from edge.file_watcher.events import Hints
from edge.file_watcher.looking import Entry, Place, folders_below
from edge.file_watcher.settings import WatchSettings
from edge.journal import Journal
from edge.rows import NEVER, FileState, Row

log = logging.getLogger(__name__)

AWAY_SECONDS = 2.0
"""How often a folder that is away is tried again."""
SHARE = 10
"""A rescan may take one part in so many of the time."""


@dataclass
class Watch(Condition):
    """One watched folder. ``identity`` tells it from another folder of the same name; None while it is away."""

    identity: tuple[int, int] | None = None


class Rescan:
    """Everything that is new or changed in the folders is marked, at the latest after a rescan's period."""

    def __init__(
        self,
        settings: WatchSettings,
        journal: Journal,
        clock: Clock,
        hints: Hints,
        roots: tuple[str, ...],
        mark: Callable[[Place], None],
    ) -> None:
        self._settings, self._journal, self._clock = settings, journal, clock
        self._hints, self._mark = hints, mark
        self.watches = {root: Watch(root) for root in roots}
        self._folders: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self._all_now = self._stopping = False
        self.finished = 0
        """How many times all folders were looked through."""

    def all_soon(self) -> None:
        """Look through all folders soon."""
        self._all_now = True
        self._wake.set()

    def folder_soon(self, root: str, folder: str) -> None:
        """Look through one folder and those below it soon."""
        self._folders.add((root, folder))
        self._wake.set()

    def stop(self) -> None:
        """Let ``run`` end after the folder in hand."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Rescan again and again until stopped."""
        due = time.monotonic()
        while not self._stopping:
            self._wake.clear()
            started = time.monotonic()
            try:
                if self._all_now or started >= due:
                    await self._look_through_all()
                    due = started + max(self._period(), SHARE * (time.monotonic() - started))
                else:
                    await self._look_through_some()
            except Exception as error:
                log.warning("the rescan was broken off: %s", error, exc_info=not isinstance(error, AppError))
                due = started + AWAY_SECONDS
            await self._rest(due)

    def _period(self) -> float:
        """Seconds from one rescan to the next: short where nothing is heard of changes."""
        deaf = self._hints.condition.trouble or any(watch.trouble for watch in self.watches.values())
        if self._settings.poll or deaf:
            return min(self._settings.poll_seconds, self._settings.rescan_seconds)
        return self._settings.rescan_seconds

    async def _rest(self, due: float) -> None:
        away = any(watch.identity is None for watch in self.watches.values())
        pause = max(0.001, due - time.monotonic())
        try:
            async with asyncio.timeout(min(pause, AWAY_SECONDS) if away else pause):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _look_through_all(self) -> None:
        self._all_now = False
        self._folders.clear()
        for watch in self.watches.values():
            await self._look_through_root(watch)
        await self._forget_vanished()
        self.finished += 1

    async def _look_through_some(self) -> None:
        """Folders that were heard of, and those that had been away."""
        folders, self._folders = self._folders, set()
        for root, folder in folders:
            await self._look_through(root, folder)
        for watch in self.watches.values():
            if watch.identity is None:
                await self._look_through_root(watch)

    async def _look_through_root(self, watch: Watch) -> None:
        if not await self._reach(watch):
            return
        try:
            await self._look_through(watch.name, "")
        except OSError as error:
            watch.trouble, watch.identity = f"{watch.name} cannot be read: {error.strerror or error}", None

    async def _reach(self, watch: Watch) -> bool:
        """Whether the folder is there; events are asked for anew when it is another one than before."""
        try:
            found = await asyncio.to_thread(os.stat, watch.name)
        except OSError as error:
            if not watch.trouble:
                log.warning("%s cannot be reached: %s", watch.name, error)
            watch.trouble, watch.identity = f"{watch.name} cannot be reached: {error.strerror or error}", None
            await asyncio.to_thread(self._hints.unwatch, watch.name)
            return False
        if watch.identity != (found.st_dev, found.st_ino):
            watch.identity, watch.trouble = (found.st_dev, found.st_ino), ""
            await self._ask_for_events(watch)
        return True

    async def _ask_for_events(self, watch: Watch) -> None:
        try:
            recursive = self._settings.watch_subfolders
            await asyncio.to_thread(self._hints.watch, watch.name, recursive=recursive)
        except Unavailable as error:
            watch.trouble = str(error)

    async def _look_through(self, root: str, folder: str) -> None:
        walk = folders_below(root, folder, self._settings)
        while (found := await asyncio.to_thread(next, walk, None)) and not self._stopping:
            current, chunks = found
            while chunk := await asyncio.to_thread(next, chunks, None):
                await self._compare(root, current, chunk)

    async def _compare(self, root: str, folder: str, entries: list[Entry]) -> None:
        known = await self._journal.latest(root, folder, [entry.name for entry in entries])
        now = self._clock()
        for entry in entries:
            if _news(known.get(entry.name), entry, now):
                self._mark((root, folder, entry.name))

    async def _forget_vanished(self) -> None:
        """Held files that were deleted wait for nothing any more."""
        after = 0
        while rows := await self._journal.page(FileState.HELD, 1000, after):
            after = rows[-1].id
            there = {root for root, watch in self.watches.items() if watch.identity is not None}
            gone = await asyncio.to_thread(_vanished, [row for row in rows if row.root in there])
            if gone:
                await self._journal.gone(gone)


def _news(row: Row | None, entry: Entry, now: int) -> bool:
    """Whether a file in a listing is new, changed, or held and to be tried again."""
    if row is None or row.signature != entry.signature:
        return True
    return row.state == FileState.HELD and (row.not_before <= now or now + FARTHEST < row.not_before < NEVER)


def _vanished(rows: list[Row]) -> list[Place]:
    # An undecodable name is stored escaped: the path with the escapes never existed.
    own = [row for row in rows if "\\" not in row.name + row.folder]
    return [(row.root, row.folder, row.name) for row in own if not os.path.lexists(row.path)]
