"""Empties the outbox onto the bus: at least once, in order within each job."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from contracts.desk import LONGEST_AWAY, pause_after
from contracts.errors import AppError
from contracts.ports import Bus
from gateway.job_repository.outbox import Outbox

log = logging.getLogger(__name__)
BATCH = 500
GAP = 0.01
"""Seconds between two rounds at least."""
REST = 1.0
"""Seconds for which a topic that the bus refuses is left alone, while jobs without messages for it go on."""


class Relay:
    """Publishes what the transactions left in the outbox and forgets it once the bus has taken it.

    A crash between the two publishes again: hearing twice is harmless.
    """

    name = "outbox relay"

    def __init__(self, bus: Bus, outbox: Outbox, *, every: float = 1.0) -> None:
        self._bus, self._outbox, self._every = bus, outbox, every
        self._wake = asyncio.Event()
        self._stopping = False
        self._resting: dict[str, float] = {}
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
                failures = 0
                if not self._resting:
                    self.trouble = ""
            except Exception as error:
                failures += 1
                self.trouble = f"{type(error).__name__}: {error}"
                pause = pause_after(failures, longest=LONGEST_AWAY, chance=random.random())
                log.exception("the outbox relay failed")
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _send_some(self) -> bool:
        """Whether there may be more to send now."""
        now = asyncio.get_running_loop().time()
        self._resting = {topic: until for topic, until in self._resting.items() if until > now}
        refused: dict[str, Exception] = {}

        async def publish(rows: Sequence[Any]) -> list[int]:
            by_key: dict[str, list[Any]] = {}
            for row in rows:
                by_key.setdefault(row.key, []).append(row)
            done = await asyncio.gather(*(self._in_order(some, refused) for some in by_key.values()))
            return [seq for seqs in done for seq in seqs]

        tried = await self._outbox.send(BATCH, publish, self._resting)
        for topic, error in refused.items():
            if not self.trouble:
                log.warning("messages wait in the outbox: %s", error)
            self.trouble = str(error) or type(error).__name__
            self._resting[topic] = asyncio.get_running_loop().time() + REST
        return tried == BATCH or bool(refused)

    async def _in_order(self, rows: Sequence[Any], refused: dict[str, Exception]) -> list[int]:
        """Publish the messages of one key, up to the first that must wait; the seqs that are done with."""
        done: list[int] = []
        for row in rows:
            try:
                await self._bus.publish(row.topic, row.payload.encode(), key=row.key)
                self.published += 1
            except Exception as error:
                if not isinstance(error, AppError) or error.retry:
                    refused[row.topic] = error
                    return done
                # It would hold up the others for ever. Whoever waits for it looks for jobs by himself.
                self.dropped += 1
                log.error("a message on %s about %s cannot be published: %s", row.topic, row.key, error)
            done.append(row.seq)
        return done
