"""A TCP proxy that does to bytes what bad lines do: it cuts, flips a bit, or says things twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.tasks import until_one_ends


@dataclass(frozen=True)
class Fault:
    """What befalls one connection once ``after`` bytes have gone in the chosen direction."""

    kind: str
    """``cut`` or ``flip``"""
    after: int
    upwards: bool = True
    """towards the server, or back"""


@dataclass
class Proxy:
    """Each new connection takes the next fault from the list; when there are none left, all is well."""

    target: int
    faults: list[Fault] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    sent_up: int = 0
    struck: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def proxied(target: int, faults: Iterable[Fault] = ()) -> AsyncIterator[Proxy]:
    """A proxy in front of a local port."""
    proxy = Proxy(target, list(faults))
    open_ones: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones.add(task)
        try:
            # Its task is watched by asyncio's streams, which (3.11) take a cancelled one for a mistake.
            with contextlib.suppress(asyncio.CancelledError):
                await _connection(proxy, reader, writer)
        finally:
            writer.transport.abort()
            open_ones.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(open_ones):
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        await server.wait_closed()


async def _connection(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    proxy.connections += 1
    fault = proxy.faults.pop(0) if proxy.faults else None
    try:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", proxy.target)
    except OSError:
        writer.transport.abort()
        return

    def count(size: int) -> None:
        proxy.sent_up += size

    def struck() -> None:
        proxy.struck += 1

    up = fault if fault and fault.upwards else None
    down = fault if fault and not fault.upwards else None
    try:
        await until_one_ends(
            _pump(reader, up_writer, up, count, struck), _pump(up_reader, writer, down, lambda _size: None, struck)
        )
    finally:
        for end in (writer, up_writer):
            end.transport.abort()


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    fault: Fault | None,
    count: Callable[[int], None],
    struck: Callable[[], None],
) -> None:
    """Until one side ends, or the fault cuts."""
    gone = 0
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(2**16):
            if fault is not None and gone + len(block) > fault.after:
                at = fault.after - gone
                if fault.kind == "cut":
                    struck()
                    writer.write(block[:at])
                    await writer.drain()
                    return
                struck()
                block = block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]
                fault = None
            gone += len(block)
            count(len(block))
            writer.write(block)
            await writer.drain()
