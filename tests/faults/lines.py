"""The lines between processes: they are cut, go dark, are slow, say things twice or late, turn bits and lose ends."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.faults.framing import Framing, Piece
from tests.support.tasks import end_all, until_one_ends

T = TypeVar("T")
BLOCK = 2**16
TWICE_SECONDS = 10.0
"""So long the answer to a request that is said again is waited for."""


@dataclass
class Damage:
    """A bit that turns, or an end that is lost, in the bytes of a message whose request line contains ``request``."""

    kind: str
    """``flip`` or ``cut``"""
    upwards: bool
    after: int
    """so many bytes pass before"""
    request: str = ""
    heads: bool = False
    """heads count too, not only bodies"""


@dataclass
class Line:
    """A port in front of another. What is set here holds for connections that are open already, too."""

    target: int
    port: int
    framed: bool
    """it carries HTTP"""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    until: dict[str, float] = field(default_factory=dict)
    """``dark``, ``slow``, ``twice``, ``late``: to when (monotonic) it is so"""
    damages: list[Damage] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    """how often each of these touched something"""
    connections: set["_Connection"] = field(default_factory=set)

    def now(self, what: str) -> bool:
        """Whether the line is so now."""
        return time.monotonic() < self.until.get(what, 0.0)

    def for_seconds(self, what: str, seconds: float) -> None:
        """From now on it is so for a while."""
        self.until[what] = time.monotonic() + seconds


class Lines:
    """All lines of a world, in a thread and a loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lines", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self.all: list[Line] = []

    def open(self, target: int, port: int = 0, *, framed: bool = False) -> Line:
        """A new line to a port of this computer."""
        return self.run(self._open(target, port, framed))

    async def _open(self, target: int, port: int, framed: bool) -> Line:
        line = Line(target, port, framed)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection(line, reader, writer)
            line.connections.add(connection)
            try:
                # Its task is watched by asyncio's streams, which (3.11) take a cancelled one for a mistake.
                with contextlib.suppress(asyncio.CancelledError):
                    await connection.run()
            finally:
                line.connections.discard(connection)

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        line.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)
        self.all.append(line)
        return line

    def cut(self, line: Line) -> int:
        """Every connection of the line is reset at once; how many there were."""

        async def cut() -> int:
            for connection in (open_ones := list(line.connections)):
                connection.reset()
            return len(open_ones)

        return self.run(cut())

    def mend(self) -> None:
        """All lines are good again."""
        for line in self.all:
            line.until.clear()
            line.damages.clear()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop of the lines."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(30)

    def close(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            await end_all()

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Connection:
    def __init__(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._line, self._near, self._out = line, reader, writer
        self._up: asyncio.StreamWriter | None = None
        self._framings = {True: Framing(), False: Framing()}
        self._request = bytearray()

    def reset(self) -> None:
        """Both ends hear of it as ``ECONNRESET``."""
        for end in filter(None, (self._out, self._up)):
            sock = end.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()

    async def run(self) -> None:
        """Until both ends are closed; whoever cancels it leaves nothing open."""
        try:
            await self._carry()
            for end in (ends := [end for end in (self._out, self._up) if end]):
                end.close()  # what was said before still arrives
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.wait_closed()
        finally:
            for end in filter(None, (self._out, self._up)):
                end.transport.abort()

    async def _carry(self) -> None:
        try:
            far, self._up = await asyncio.open_connection("127.0.0.1", self._line.target)
        except OSError:
            self.reset()
            return
        await until_one_ends(self._pump(self._near, self._up, upwards=True), self._pump(far, self._out, upwards=False))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while block := await reader.read(BLOCK):
                await self._weather(len(block))
                if not self._line.framed:
                    writer.write(block)
                    await writer.drain()
                    continue
                for piece in self._framings[upwards].feed(block):
                    if not await self._pass(piece, writer, upwards=upwards):
                        self.reset()
                        return
            await self._weather(0)

    async def _weather(self, size: int) -> None:
        """Dark: nothing gets through for as long. Slow: every block takes its time."""
        line = self._line
        while line.now("dark"):
            line.met["dark"] += 1
            await asyncio.sleep(min(0.1, max(0.0, line.until.get("dark", 0.0) - time.monotonic())) or 0.01)
        if line.now("slow"):
            line.met["slow"] += 1
            await asyncio.sleep(0.05 + size / 200_000)

    async def _pass(self, piece: Piece, writer: asyncio.StreamWriter, *, upwards: bool) -> bool:
        """Whether the connection goes on."""
        line = self._line
        if upwards:
            if piece.head:
                self._request.clear()
                self._framings[False].bodiless = piece.data.startswith(b"HEAD ")
                if line.now("late"):
                    line.met["late"] += 1
                    await asyncio.sleep(line.rng.random())
            self._request += piece.data
        data, goes_on = self._damaged(piece, upwards=upwards)
        writer.write(data)
        await writer.drain()
        if upwards and piece.last and line.now("twice"):
            line.met["twice"] += 1
            self._again = asyncio.create_task(_say(bytes(self._request), line))
        return goes_on

    def _damaged(self, piece: Piece, *, upwards: bool) -> tuple[bytes, bool]:
        line, data = self._line, piece.data
        request = self._framings[True].first.decode("latin-1")
        for damage in list(line.damages):
            counts = damage.upwards is upwards and damage.request in request and (damage.heads or not piece.head)
            if not counts:
                continue
            if damage.after >= len(data):
                damage.after -= len(data)
                continue
            line.damages.remove(damage)
            line.met[damage.kind] += 1
            at = damage.after
            if damage.kind == "cut":
                return data[:at], False
            data = data[:at] + bytes([data[at] ^ 1 << line.rng.randrange(8)]) + data[at + 1 :]
        return data, True


async def _say(request: bytes, line: Line) -> None:
    """The same request once more, a little later, on a connection of its own; nobody hears the answer."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(TWICE_SECONDS):
            await asyncio.sleep(line.rng.random() * 0.5)
            reader, writer = await asyncio.open_connection("127.0.0.1", line.target)
            try:
                writer.write(request)
                await writer.drain()
                await reader.read(1)
            finally:
                writer.transport.abort()
