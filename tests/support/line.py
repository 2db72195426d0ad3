"""A line between edge and gateway that understands HTTP just enough to harm the bodies of chosen messages."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contracts.hosting import PORTS
from tests.support.tasks import end_all, until_one_ends

GATEWAY = ("file-receiver-gateway", "job-repository", "task-launcher", "file-sender-gateway")


@dataclass(frozen=True)
class Harm:
    """What is done to a body: its bit number ``at`` is turned, or the line is cut after ``at`` bytes."""

    kind: str
    """``flip`` or ``cut``"""
    at: int


@dataclass
class Message:
    """A request, or the answer to one (then ``request`` is what was asked)."""

    first: str
    headers: Mapping[str, str]
    length: int
    request: "Message | None" = None
    harm: Harm | None = None

    @property
    def verb(self) -> str:
        return self.first.split(" ")[0]

    @property
    def path(self) -> str:
        return self.first.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])


Judge = Callable[[Message], Harm | None]
"""Sees each message before its body, in the lines' thread. Raises ``ConnectionError`` to cut the line there."""
Count = Callable[[Message, int], None]
"""Hears how many bytes of a body have come."""


class Lines:
    """Lines to a gateway's services, for an edge whose ports lie at another offset. They live in a thread."""

    def __init__(self, near: int, far: int, judge: Judge, count: Count = lambda _message, _size: None) -> None:
        """``near`` and ``far``: offsets of the ports, the edge's and the gateway's."""
        self._near, self._far, self._judge, self._count = near, far, judge, count
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lines", daemon=True)

    def __enter__(self) -> "Lines":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(30)
        return self

    def __exit__(self, *_error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _listen(self) -> None:
        self._servers = [
            await asyncio.start_server(self._serving(PORTS[name] + self._far), "127.0.0.1", PORTS[name] + self._near)
            for name in GATEWAY
        ]

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        await end_all()

    def _serving(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None]"]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                # Its task is watched by asyncio's streams, which (3.11) take a cancelled one for a mistake.
                with contextlib.suppress(asyncio.CancelledError):
                    await self._connection(port, reader, writer)
            finally:
                writer.transport.abort()

        return serve  # type: ignore[return-value]

    async def _connection(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        asked: asyncio.Queue[Message] = asyncio.Queue()
        try:
            for error in await until_one_ends(
                self._carry(reader, far_writer, asked, answers=False),
                self._carry(far_reader, writer, asked, answers=True),
            ):
                if isinstance(error, Exception) and not isinstance(error, OSError):
                    raise error
        finally:
            for end in (writer, far_writer):
                end.transport.abort()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: "asyncio.Queue[Message]",
        *,
        answers: bool,
    ) -> None:
        """Message by message, until one side ends or the harm is a cut."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                message = parsed(head, await asked.get() if answers else None)
                if not answers:
                    asked.put_nowait(message)
                message.harm = self._judge(message)
                writer.write(head)
                if not await self._body(message, reader, writer):
                    return

    async def _body(self, message: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether all of it went over."""
        harm, gone = message.harm, 0
        while gone < message.length:
            block = bytearray(await reader.readexactly(min(2**16, message.length - gone)))
            if harm is not None and harm.kind == "cut" and gone + len(block) > harm.at:
                block = block[: harm.at - gone]
                self._count(message, len(block))
                writer.write(block)
                await writer.drain()
                return False
            if harm is not None and harm.kind == "flip" and gone <= harm.at // 8 < gone + len(block):
                block[harm.at // 8 - gone] ^= 1 << harm.at % 8
            gone += len(block)
            self._count(message, len(block))
            writer.write(block)
            await writer.drain()
        await writer.drain()
        return True


def parsed(head: bytes, request: Message | None) -> Message:
    """What a message says of itself. Raises ``ValueError`` for a body of unknown length, which ours never have."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if "transfer-encoding" in headers:
        raise ValueError(f"a body without a length: {first}")
    length = int(headers.get("content-length", 0))
    if request is not None and (request.verb == "HEAD" or first.split(" ")[1] in ("204", "304")):
        length = 0
    return Message(first, headers, length, request)
