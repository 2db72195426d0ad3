"""Empties the outbox onto the bus: at least once, in order within each job."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from contracts.desk import pause_after
from contracts.errors import AppError
from contracts.ports import Bus
from gateway.job_repository.outbox import Outbox

log = logging.getLogger(__name__)
BATCH = 500
GAP = 0.01
"""Seconds between two rounds at least."""


class Relay:
    """Publishes what the transactions left in the outbox and forgets it once the bus has taken it.

    A crash between the two publishes again: hearing twice is harmless.
    """

    name = "outbox relay"

    def __init__(self, bus: Bus, outbox: Outbox, *, every: float = 1.0) -> None:
        self._bus, self._outbox, self._every = bus, outbox, every
        self._wake = asyncio.Event()
        self._stopping = False
        self.trouble = ""
        self.published = self.dropped = 0
        """Messages that the bus has taken, and those it will never take."""

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
        troubles: list[Exception] = []

        async def publish(rows: Sequence[Any]) -> list[int]:
            by_key: dict[str, list[Any]] = {}
            for row in rows:
                by_key.setdefault(row.key, []).append(row)
            done = await asyncio.gather(*(self._in_order(some, troubles) for some in by_key.values()))
            return [seq for seqs in done for seq in seqs]

        tried = await self._outbox.send(BATCH, publish)
        if troubles:
            raise troubles[0]
        return tried == BATCH

    async def _in_order(self, rows: Sequence[Any], troubles: list[Exception]) -> list[int]:
        """Publish the messages of one key, up to the first that must wait; the seqs that are done with."""
        done: list[int] = []
        for row in rows:
            try:
                await self._bus.publish(row.topic, row.payload.encode(), key=row.key)
                self.published += 1
            except Exception as error:
                if not isinstance(error, AppError) or error.retry:
                    troubles.append(error)
                    return done
                # It would hold up the others for ever. Whoever waits for it looks for jobs by himself.
                self.dropped += 1
                log.error("a message on %s about %s cannot be published: %s", row.topic, row.key, error)
            done.append(row.seq)
        return done
