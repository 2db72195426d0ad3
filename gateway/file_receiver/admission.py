"""Whether a new upload may begin: is there room for it, are not too many waiting, is it not too large."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from contracts.room import Room
from gateway.file_receiver.rules import check_size, check_waiting, waiting_in

Counts = Callable[[], Awaitable[Mapping[str, int]]]
"""How many jobs are in each state."""
FRESH = 1.0
"""Seconds for which counts are believed; what was let in meanwhile is added to them."""


class Admission:
    """The gateway's limits; without any given, everything may come."""

    def __init__(
        self, room: Room | None = None, *, most_bytes: int = 0, most_waiting: int = 0, counts: Counts | None = None
    ) -> None:
        """``most_bytes`` a file may have, ``most_waiting`` jobs may wait here (0: no limit)."""
        self.room, self.most_bytes = room, most_bytes
        self._most_waiting, self._counts = most_waiting, counts
        self._known, self._read_at = 0, -FRESH

    async def begin(self, length: int, promised: int = 0, *, packed: bool = False) -> None:
        """``promised`` bytes are still to come of other files. ``packed``: it is an archive, and no image itself.

        Raises ``TooLong`` for what is never taken, ``Full`` or ``Unavailable`` for what may come later.
        """
        check_size(length, 0 if packed else self.most_bytes)
        if self.room is not None:
            await asyncio.to_thread(self.room.check, length, promised=promised)
        if self._most_waiting and self._counts is not None:
            if time.monotonic() - self._read_at >= FRESH:
                self._read_at = time.monotonic()
                self._known = waiting_in(await self._counts())
            check_waiting(self._known, self._most_waiting)
            self._known += 1

    async def go_on(self, length: int) -> None:
        """Raises ``Full`` when even what was begun before must wait."""
        if self.room is not None:
            await asyncio.to_thread(self.room.check, length, begun=True)
