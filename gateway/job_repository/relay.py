"""Empties the outbox onto the bus: at least once, oldest first."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contracts.desk import pause_after
from contracts.errors import AppError
from contracts.ports import Bus
from gateway.job_repository.store import JobStore

log = logging.getLogger(__name__)
BATCH = 500
GAP = 0.01
"""Seconds between two rounds at least."""


class Relay:
    """Publishes what the transactions left in the outbox and forgets it once the bus has taken it.

    A crash between the two publishes again: hearing twice is harmless.
    """

    name = "outbox relay"

    def __init__(self, bus: Bus, store: JobStore, *, every: float = 1.0) -> None:
        self._bus, self._store, self._every = bus, store, every
        self._wake = asyncio.Event()
        self._stopping = False
        self.trouble = ""

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the context is open."""
        loop = asyncio.create_task(self._run(), name=self.name)
        try:
            yield
        finally:
            self._stopping = True
            self._wake.set()
            await loop

    async def _run(self) -> None:
        failures, clock = 0, asyncio.get_running_loop().time
        begun = clock() - GAP
        while not self._stopping:
            # Not at each fact: under load, one round then carries the messages of many.
            await asyncio.sleep(max(0.0, begun + GAP - clock()))
            begun = clock()
            self._wake.clear()
            pause = self._every
            try:
                while await self._send_some() and not self._stopping:
                    pass
                failures, self.trouble = 0, ""
            except AppError as error:
                failures += 1
                self.trouble = str(error)
                pause = pause_after(failures, chance=random.random())
                log.warning("announcements wait in the outbox: %s", error)
            except Exception as error:
                failures += 1
                self.trouble = f"{type(error).__name__}: {error}"
                pause = pause_after(failures, chance=random.random())
                log.exception("the outbox relay failed")
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _send_some(self) -> bool:
        rows = await self._store.unsent(BATCH)
        for row in rows:
            await self._bus.publish(row.topic, row.payload.encode(), key=row.key)
        if rows:
            await self._store.sent([row.seq for row in rows])
        return len(rows) == BATCH
