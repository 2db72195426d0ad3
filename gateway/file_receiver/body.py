"""Takes in a request's body: the network fills one block while the disk takes the one before."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from starlette.requests import ClientDisconnect, Request

from contracts.disk import BLOCK
from contracts.errors import AppError
from contracts.transfer import TooLong
from gateway.threads import finished


class Stalled(AppError):
    """The sender broke off, or said nothing for too long; what is kept, it can ask."""

    status = 408
    retry = True


class Sink(Protocol):
    """Where the bytes go; its calls block, and come one after the other."""

    def write(self, pieces: Sequence[bytes]) -> None: ...

    def finish(self, pieces: Sequence[bytes], *, complete: bool) -> None: ...

    def close(self) -> None: ...


class _Flow:
    """From the network to the sink, with one block in the sink's hands while the next one gathers."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._writing: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self.total = 0

    async def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        self.total += len(piece)
        if self._held >= BLOCK:
            await self._settled()
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._sink.write, self._pieces))
            self._pieces, self._held = [], 0

    async def _settled(self) -> None:
        if self._writing is not None:
            await finished(self._writing)

    async def finish(self, *, complete: bool) -> None:
        await self._settled()
        await finished(asyncio.to_thread(self._sink.finish, self._pieces, complete=complete))

    async def close(self) -> None:
        if self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        self._sink.close()


async def received(request: Request, sink: Sink, room: int | None, patience: float) -> None:
    """The body is in the sink, which was finished. ``room`` bytes are the most (None: no limit).

    Raises ``TooLong``, ``Stalled`` when it did not come whole (``patience``: seconds of silence), and what the
    sink raises. Memory: about two blocks (and what the server hands over at once), whatever the body's length.
    """
    flow = _Flow(sink)
    try:
        whole = await _poured(request, flow, room, patience)
        await flow.finish(complete=whole)
    finally:
        await flow.close()
    if not whole:
        raise Stalled(f"the body of {request.url.path} broke off after {flow.total} bytes")


async def _poured(request: Request, flow: _Flow, room: int | None, patience: float) -> bool:
    """Everything that came is in the flow; whether it came whole."""
    try:
        async for piece in _pieces(request, patience):
            if room is not None and flow.total + len(piece) > room:
                raise TooLong(f"more bytes than the upload lacks ({room})")
            await flow.add(piece)
    except (ClientDisconnect, TimeoutError):
        return False
    return int(request.headers.get("content-length", flow.total)) == flow.total


async def _pieces(request: Request, patience: float) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        async with asyncio.timeout(patience):
            piece = await anext(stream, None)
        if piece is None:
            return
        if piece:
            yield piece
