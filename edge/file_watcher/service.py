"""The file watcher: hears and rescans, judges what is new, and writes down what is complete."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import meters, web
from contracts.condition import Condition
from contracts.errors import AppError, BadRequest
from contracts.openapi import Operations
from contracts.ports import Clock
from edge.file_watcher.events import Hint, Hints
from edge.file_watcher.judging import Judging
from edge.file_watcher.looking import Place, place_of, searched, wanted_place
from edge.file_watcher.rescan import Rescan
from edge.file_watcher.settings import WatchSettings
from edge.journal import Journal
from edge.rows import FileState, Row

log = logging.getLogger(__name__)


class FileWatcher:
    """Every complete file below the watched folders comes into the journal: once a content, whatever is missed."""

    name = "file-watcher"

    def __init__(self, settings: WatchSettings, journal: Journal, clock: Clock) -> None:
        self._settings, self._journal = settings, journal
        self.roots = _roots(settings)
        self._wake = asyncio.Event()
        self.hints = Hints(self._wake.set)
        self._judging = Judging(settings, journal, self.roots)
        self.pending = self._judging.pending
        self._rescan = Rescan(settings, journal, clock, self.hints, self.roots, self._mark_news)
        self._writing = Condition("journal")
        self.desks: tuple[Condition, ...] = (*self._rescan.watches.values(), self.hints.condition, self._writing)
        self._stopping = self._held_due = False
        self._files = meters.gauge("cytobus_edge_files", "Files that the edge knows, by where they are", ["state"])
        self._pending = meters.gauge("cytobus_edge_pending", "Files that are not complete yet")
        self.meters = (self._files, self._pending)
        journal.listen(FileState.HELD, self._look_at_held)

    async def refresh(self) -> None:
        """Count the journal's rows, for the meters."""
        for state, number in (await self._journal.counts()).items():
            self._files.labels(state).set(number)
        self._pending.set(len(self.pending))

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/files", self._list_files, methods=["GET"])]

    def operations(self) -> Operations:
        """The routes, described."""
        from edge.file_watcher.openapi import operations

        return operations()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watches while the context is open."""
        if not self._settings.poll:
            self.hints.start()
        judging = asyncio.create_task(self._judge_for_ever(), name="file watcher: judging")
        rescanning = asyncio.create_task(self._rescan.run(), name="file watcher: rescanning")
        try:
            yield
        finally:
            self._stopping = True
            self._rescan.stop()
            self._wake.set()
            try:
                await asyncio.gather(judging, rescanning)
            finally:
                await asyncio.to_thread(self.hints.stop)

    @property
    def rescans(self) -> int:
        """How many times all folders were looked through."""
        return self._rescan.finished

    def rescan(self) -> None:
        """Look through all folders soon."""
        self._rescan.all_soon()

    def _mark_news(self, place: Place) -> None:
        if place not in self.pending:
            self.pending.mark(place, time.monotonic())
            self._wake.set()

    def _look_at_held(self) -> None:
        self._held_due = True
        self._wake.set()

    async def _judge_for_ever(self) -> None:
        while not self._stopping:
            self._wake.clear()
            judged = 0
            try:
                self._hear()
                await self._recall_held()
                judged = await self._judging.judge_due()
                self._writing.trouble = ""
            except Exception as error:
                self._writing.trouble = str(error) or type(error).__name__
                self._held_due = True
                log.warning("%s: %s", self.name, error, exc_info=not isinstance(error, AppError))
                await asyncio.sleep(0.5)
            if not judged:
                await self._until_woken()

    async def _until_woken(self) -> None:
        due = self.pending.next_due()
        pause = None if due is None else max(0.001, due - time.monotonic())
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _hear(self) -> None:
        for hint in self.hints.take():
            if hint.path in self._rescan.watches:
                self._rescan.all_soon()
            elif place := place_of(hint.path, self.roots):
                self._hear_of(place, hint)
        if self.hints.overflowed:
            self.hints.overflowed = False
            self._rescan.all_soon()

    def _hear_of(self, place: Place, hint: Hint) -> None:
        root, folder, name = place
        below = f"{folder}/{name}" if folder else name
        if not hint.folder and wanted_place(place, self._settings):
            self.pending.mark(place, time.monotonic(), arrived=hint.arrived)
        elif hint.folder and searched(below, self._settings):
            # Files may have come into a new folder before it was watched.
            self._rescan.folder_soon(root, below)

    async def _recall_held(self) -> None:
        if not self._held_due:
            return
        self._held_due = False
        for row in await self._journal.waiting(FileState.HELD, 1000):
            if row.root in self._rescan.watches:
                self.pending.mark((row.root, row.folder, row.name), time.monotonic())

    async def _list_files(self, request: Request) -> Response:
        """Rows of the journal by ``state``, ``limit`` at a time from ``after`` on, and how many are in each state."""
        asked = request.query_params
        try:
            state = FileState(asked.get("state", FileState.HELD))
            limit, after = min(max(int(asked.get("limit", "100")), 1), 1000), int(asked.get("after", "0"))
            if not 0 <= after < 2**63:
                raise ValueError("after must be a number that a page gave as next")
        except ValueError as error:
            raise BadRequest(f"/api/v1/files takes state, limit and after: {error}") from None
        rows = await self._journal.page(state, limit, after)
        return web.json(
            {
                "files": [_shown(row) for row in rows],
                "next": rows[-1].id if len(rows) == limit else None,
                "counts": await self._journal.counts(),
                "pending": len(self.pending),
            }
        )


def _roots(settings: WatchSettings) -> tuple[str, ...]:
    """The watched folders as absolute paths, without those that lie in another one of them."""
    roots = list(dict.fromkeys(os.path.abspath(folder) for folder in settings.folders))
    if not settings.watch_subfolders:
        return tuple(roots)
    return tuple(root for root in roots if not any(place_of(root, (other,)) for other in roots if other != root))


def _shown(row: Row) -> dict[str, object]:
    return {
        "id": row.id,
        "path": row.path.as_posix(),
        "size": row.size,
        "sha256": row.sha256,
        "jobId": row.job_id,
        "state": row.state,
        "outcome": row.outcome,
        "reason": row.reason,
        "seenAt": row.seen_at,
    }
