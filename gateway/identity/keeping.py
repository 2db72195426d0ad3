"""How long the audit is kept."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contracts.errors import AppError
from contracts.ports import Clock
from gateway.identity.store import DAY, IdentityStore

log = logging.getLogger(__name__)
EVERY = 3600.0
"""Seconds between two looks, as retention of files has it."""
AGAIN = 60.0
"""Seconds until the next look after one that failed."""
BATCH = 1000
"""Lines removed in one transaction: others wait no longer than for these."""


class AuditKeeping:
    """Removes lines of the audit that are older than so many days (0: none). It runs where the database is at hand;
    retention of files runs where the files are."""

    def __init__(self, store: IdentityStore, clock: Clock, days: float, *, every: float = EVERY) -> None:
        self._store, self._clock, self._days, self._every = store, clock, days, every

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks at once and then hourly."""
        stop = asyncio.Event()
        looking = asyncio.create_task(self._again_and_again(stop), name="retention of the audit")
        try:
            yield
        finally:
            stop.set()
            await looking

    async def _again_and_again(self, stop: asyncio.Event) -> None:
        while self._days and not stop.is_set():
            pause = self._every
            try:
                await self.sweep(stop)
            except AppError as error:
                pause = AGAIN
                log.info("the audit could not be shortened: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def sweep(self, stop: asyncio.Event | None = None) -> int:
        """Remove what is too old; how many lines. May be stopped between two batches."""
        before, gone = self._clock() - int(self._days * DAY), 0
        while self._days and not (stop is not None and stop.is_set()):
            some = await self._store.forget_audit(before, BATCH)
            gone += some
            if some < BATCH:
                break
        if gone:
            log.info("%d lines of the audit were removed: they were older than %g days", gone, self._days)
        return gone
