"""A client of the stream: what an instrument's program uses to send frames and to read their answers."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from contracts.errors import AppError, Unavailable, error_of
from contracts.gates import Action
from contracts.stream import (
    Drop,
    End,
    Farewell,
    GateList,
    Notice,
    Opening,
    Result,
    Welcome,
    decode,
    pack_frame,
    results_in,
)

KEPT = 100
"""Editions of the gates that a client remembers."""


class StreamEnded(AppError):
    """The connection is over before all frames were answered. ``unanswered`` are the numbers of those frames, in order:
    send them again on a new connection."""

    retry = True

    def __init__(self, text: str, unanswered: Iterable[int] = ()) -> None:
        super().__init__(text)
        self.unanswered = tuple(unanswered)


class StreamClient:
    """One connection. One task may send while another iterates over the results; reading them is what makes room."""

    def __init__(self, connection: ClientConnection, opening: Opening, welcome: Welcome) -> None:
        self._connection, self.opening, self.welcome = connection, opening, welcome
        self.unanswered: deque[int] = deque()
        """Numbers of the frames that were sent and have no answer yet, in order."""
        self.waits = 0
        """Times that sending had to wait for room in the window: the back-pressure that was felt."""
        self.notices: deque[Notice] = deque(maxlen=1000)
        self.farewell: Farewell | None = None
        self.gates = welcome.gates or GateList()
        """Those by which frames are decided now, where the opening has asked for that."""
        self._editions = {self.gates.edition: self.gates}
        self._room = asyncio.Event()
        self._over: StreamEnded | None = None

    @property
    def free(self) -> int:
        """So many frames may be sent now without waiting."""
        return max(0, self.welcome.window - len(self.unanswered))

    async def send(self, number: int, pixels: bytes | bytearray | memoryview) -> None:
        """One frame. Waits for room in the window, unless frames may be dropped. Raises ``StreamEnded``."""
        await self.room()
        self.unanswered.append(number)
        await self._write(pack_frame(number, pixels))

    async def send_many(self, frames: Iterable[tuple[int, bytes]]) -> None:
        """Several frames in one message, which costs less than a message for each. Raises ``StreamEnded``."""
        await self.room()
        parts = []
        for number, pixels in frames:
            self.unanswered.append(number)
            parts.append(pack_frame(number, pixels))
        await self._write(b"".join(parts))

    async def end(self) -> None:
        """No more frames; results go on coming until the last."""
        await self._write(End().model_dump_json())

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Answers in the order in which the frames were sent, to the last after ``end``.

        Raises ``StreamEnded`` when the connection ends before."""
        while True:
            try:
                message = await self._connection.recv()
            except ConnectionClosed as error:
                self._end(error)
                if self.farewell is not None and not self.unanswered:
                    return
                raise self._lost() from error
            if isinstance(message, str):
                self._hear(message)
                continue
            for result in results_in(message, self.welcome.vector, self.opening.gates):
                if self.unanswered:
                    self.unanswered.popleft()
                self._room.set()
                yield result

    def _hear(self, message: str) -> None:
        match decode(message):
            case Farewell() as farewell:
                self.farewell = farewell
            case Notice() as notice:
                self.notices.append(notice)
            case GateList() as gates:
                self.gates = self._editions[gates.edition] = gates
                if len(self._editions) > KEPT:
                    del self._editions[min(self._editions)]

    def decisions(self, result: Result) -> dict[str, Action]:
        """What each gate said of a frame, by the gate's name; nothing where none did."""
        decided = result.decided
        if decided is None or decided.edition not in self._editions:
            return {}
        said = {}
        for bit, name in enumerate(self._editions[decided.edition].names):
            if decided.accepting >> bit & 1:
                said[name] = Action.ACCEPT
            elif decided.rejecting >> bit & 1:
                said[name] = Action.REJECT
        return said

    async def room(self) -> None:
        """Returns when a frame may be sent without waiting. Raises ``StreamEnded``."""
        if self.opening.drop is Drop.NEVER and not self.free:
            self.waits += 1
        while self.opening.drop is Drop.NEVER and not self.free and self._over is None:
            self._room.clear()
            await self._room.wait()
        if self._over is not None:
            raise self._lost()

    async def _write(self, message: bytes | str) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            self._end(error)
            raise self._lost() from error

    def _end(self, error: ConnectionClosed) -> None:
        close = error.rcvd
        why = f"{close.code} {close.reason}".strip() if close else "the connection was lost"
        self._over = StreamEnded(f"the stream has ended: {why}")
        self._room.set()

    def _lost(self) -> StreamEnded:
        text = str(self._over)
        if self.notices:
            text += f" ({self.notices[-1].text})"
        return StreamEnded(text, self.unanswered)


@asynccontextmanager
async def streaming(
    url: str, opening: Opening, *, token: str = "", trust: ssl.SSLContext | None = None, seconds: float = 30.0
) -> AsyncIterator[StreamClient]:
    """A connection to ``ws://HOST:59788/api/v1/stream`` (or ``wss://``), opened and welcomed; ``token`` is the word of
    an instrument or a user.

    Raises ``Unavailable`` when nobody answers, ``Unauthorized`` or ``Forbidden`` for a wrong token, ``StreamEnded``
    when the opening is refused.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with asyncio.timeout(seconds):
            # Compression would cost more than it saves, and pings would end a connection that waits for room.
            connection = await connect(
                url,
                additional_headers=headers,
                compression=None,
                ping_interval=None,
                max_size=2**24,
                ssl=trust,
                proxy=None,
            )
    except InvalidStatus as error:
        body = (error.response.body or b"").decode(errors="replace").strip()
        raise error_of(error.response.status_code, f"the stream at {url} says {body}") from error
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"the stream at {url} does not answer: {error or 'too slow'}") from error
    async with connection:
        yield StreamClient(connection, opening, await _welcomed(connection, opening))


async def _welcomed(connection: ClientConnection, opening: Opening) -> Welcome:
    notice = ""
    try:
        await connection.send(opening.model_dump_json())
        while True:
            said = decode(str(await connection.recv(decode=True)))
            if isinstance(said, Welcome):
                return said
            notice = said.text if isinstance(said, Notice) else notice
    except ConnectionClosed as error:
        raise StreamEnded(f"the stream was not opened: {notice or error}") from error
