"""The uploads under way: each is in one request's hands at a time, and lies on the disk between two."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contracts import transfer
from contracts.disk import bare_name
from contracts.errors import AppError
from gateway.file_receiver.store import Part, Store, Upload
from gateway.file_receiver.tus import DAY

log = logging.getLogger(__name__)
MOST_IN_MEMORY = 1024
CLAIM = 60.0
"""Seconds for which room is kept for an upload that nobody goes on with."""
EXPIRE_EVERY = 3600.0
"""Seconds between two looks for uploads that nobody goes on with."""
BREATHER = 5.0
"""Seconds for which a question about an upload waits while another request writes to it."""


class Uploads:
    """What this process knows of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts: dict[str, Part] = {}

    def taken(self, name: str) -> Part | None:
        """The upload if a request writes to it now."""
        part = self._parts.get(name)
        return part if part is not None and part.busy else None

    @asynccontextmanager
    async def held(self, name: str, upload: Upload | None = None) -> AsyncIterator[Part]:
        """The upload for one request alone. Raises ``Busy`` while another has it, ``NotFound``."""
        part = self._parts.get(name)
        if part is None:
            loaded = await asyncio.to_thread(self._store.load, bare_name(name), upload)
            part = self._parts.setdefault(name, loaded)
        if part.busy:
            raise transfer.Busy(f"another request is writing to upload {name}")
        part.free.clear()
        try:
            yield part
        finally:
            part.free.set()
            part.seen = time.monotonic()
            if not part.noted and part.placed is None:
                self._parts.pop(name, None)
            self._make_room()

    def _make_room(self) -> None:
        """Forget the oldest parts beyond the bound; the disk remembers them."""
        spare = len(self._parts) - MOST_IN_MEMORY
        for name in [name for name, part in self._parts.items() if not part.busy][: max(0, spare)]:
            del self._parts[name]

    def promised(self) -> int:
        """Bytes that uploads under way still need; one that nobody goes on with soon loses its claim."""
        now = time.monotonic()
        under_way = (part for part in self._parts.values() if part.admitted and (part.busy or now - part.seen < CLAIM))
        return sum(part.upload.length - part.offset for part in under_way)

    async def clear(self, upload: Upload) -> None:
        """Remove what is left of a delivered upload: a crash may have come after the fact and before the removal."""
        part = self._parts.get(upload.id) or Part(upload, self._store.parts / upload.id, noted=True)
        if not part.busy:
            with contextlib.suppress(AppError):  # it expires
                await self.forget(part)

    async def forget(self, part: Part) -> None:
        """It is over: nothing is left of what had arrived."""
        await asyncio.to_thread(self._store.remove, part)
        self._parts.pop(part.upload.id, None)

    @asynccontextmanager
    async def expiring(self, days: float, what: str) -> AsyncIterator[None]:
        """Those to which nothing was added for so long are removed, at once and then hourly, while the context is
        open. ``what``: whose they are, for the log."""
        stop = asyncio.Event()
        sweeping = asyncio.create_task(self._sweep(days, what, stop), name=f"{what} expiry")
        try:
            yield
        finally:
            stop.set()
            await sweeping

    async def _sweep(self, days: float, what: str, stop: asyncio.Event) -> None:
        while True:
            try:
                if gone := await self.expire(time.time() - days * DAY):
                    log.info("%s: removed %d unfinished uploads that nobody went on with", what, gone)
            except AppError as error:
                log.warning("%s: cannot remove expired uploads: %s", what, error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXPIRE_EVERY):
                    await stop.wait()
                    return

    async def expire(self, before: float) -> int:
        """Remove those to which nothing was added since then (s since the epoch); how many."""
        busy = {name for name, part in self._parts.items() if part.busy}
        gone = await asyncio.to_thread(self._store.expire, before, busy)
        if gone:
            self._parts = {name: part for name, part in self._parts.items() if part.busy}
        return gone


async def let_go(part: Part) -> bool:
    """Whether the part is free, now or soon. After a cut the sender asks sooner than the broken request has ended: with
    an answer on the spot it would send the next chunk in vain."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BREATHER):
            await part.free.wait()
    return not part.busy
