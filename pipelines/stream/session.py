"""One instrument on its WebSocket: frames in, answers out, neither further than the window allows."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from contracts.errors import BadRequest
from contracts.stream import (
    RESULT,
    End,
    Farewell,
    GateList,
    Notice,
    Opening,
    Said,
    Status,
    Welcome,
    checked,
    decode,
    frames_in,
    number_of,
)
from contracts.stream_decisions import NOTHING
from pipelines.stream.correct import Corrections
from pipelines.stream.engine import Engine, Line, stamp
from pipelines.stream.rules import Frame

log = logging.getLogger(__name__)
NORMAL, POLICY, RESTART = 1000, 1008, 1012
"""Codes of a close (RFC 6455, section 7.4.1, and its registry)."""
MOST_REFUSED = 1000
"""So many messages in a row that are no frames, and the instrument is told to go."""
MOST_REASON = 120
"""Bytes of a close's reason; the protocol allows 123."""


@dataclass(frozen=True)
class Terms:
    """What every connection is told and held to."""

    welcome: Welcome
    side: int
    """Height and width of frames, pixels."""
    most_bytes: int
    """Of pixels that one connection may have waiting."""
    opening_seconds: float = 10.0
    idle_seconds: float = 600.0
    """Without a frame, or without room for an answer, so long, and the connection is closed."""


class Session:
    """A connection that was let in."""

    def __init__(
        self, socket: WebSocket, engine: Engine, terms: Terms, on_answers: Callable[[Sequence[Frame], int], None]
    ) -> None:
        """``on_answers`` is told of frames that were answered, and when (ns)."""
        self._socket, self._engine, self._terms, self._told = socket, engine, terms, on_answers
        self.opening: Opening | None = None
        self.line: Line | None = None
        self._ended = self._leaving = False
        self._patience = asyncio.timeout(None)
        self._edition = 0
        """Of the gates of which the instrument knows."""

    def leave(self) -> None:
        """The service stops: what is not answered yet will not be."""
        self._leaving = True
        if self.line is not None:
            self.line.leave()

    async def run(self) -> None:
        """Until the instrument has its last answer, is gone, or has said what makes no sense."""
        await self._socket.accept()
        try:
            async with asyncio.timeout(self._terms.opening_seconds):
                opening = await self._opened()
            corrections = Corrections.of(opening)
        except TimeoutError:
            await self._refuse(f"no opening within {self._terms.opening_seconds:g} s")
        except BadRequest as error:
            await self._refuse(str(error))
        except _Gone:
            pass
        else:
            await self._serve(opening, corrections)

    async def _serve(self, opening: Opening, corrections: Corrections) -> None:
        window = max(1, min(self._terms.welcome.window, self._terms.most_bytes // opening.pixels))
        self.opening = opening
        async with self._engine.line(window, corrections, opening.drop, opening.source, opening.gates) as line:
            self.line = line
            gates = self._engine.gates_now() if opening.gates else None
            self._edition = gates.edition if gates else 0
            await self._say(self._terms.welcome.model_copy(update={"window": window, "gates": gates}))
            self._engine.tell_of_gates(line)
            answering = asyncio.create_task(self._answer(line), name="stream answers")
            try:
                await self._listen(line, opening)
                await answering
            except TimeoutError:
                await self._refuse(f"nothing was sent for {self._terms.idle_seconds:g} s")
            except BadRequest as error:
                await self._refuse(str(error))
            except _Gone:
                if self._leaving:
                    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                        await self._socket.close(RESTART, "the service stops")
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    async def _opened(self) -> Opening:
        text, _ = await self._next()
        said = decode(text) if text else None
        if not isinstance(said, Opening):
            raise BadRequest('the first message must be the opening, such as {"kind": "open", "channels": 3}')
        side = self._terms.side
        if (said.width, said.height) != (side, side):
            raise BadRequest(
                f"frames of {said.width}x{said.height} pixels: the model {self._terms.welcome.model} takes "
                f"{side}x{side}; cut that around each cell"
            )
        return checked(said)

    async def _next(self) -> tuple[str | None, bytes | None]:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise _Gone
        return message.get("text"), message.get("bytes")

    async def _listen(self, line: Line, opening: Opening) -> None:
        """Until the instrument says that it has no more."""
        refused = 0
        async with asyncio.timeout(self._terms.idle_seconds) as self._patience:
            while True:
                text, data = await self._next()
                self._heard()
                if data is not None:
                    refused = 0 if await self._take(line, data, opening.pixels) else refused + 1
                    if refused >= MOST_REFUSED:
                        raise BadRequest(f"{refused} messages in a row were no frames as announced in the opening")
                    continue
                if not isinstance(decode(text or ""), End):
                    raise BadRequest('after the opening come frames, and at last {"kind": "end"}')
                self._ended = True
                line.changed.set()
                return

    def _heard(self) -> None:
        """Something has come. The clock is not set anew for each frame: that costs as much as reading one."""
        now, until = asyncio.get_running_loop().time(), self._patience.when() or 0.0
        if until - now < 0.9 * self._terms.idle_seconds:
            self._patience.reschedule(now + self._terms.idle_seconds)

    async def _take(self, line: Line, data: bytes, pixels: int) -> bool:
        """The frames of a message, as there is room for them. Whether they were frames."""
        try:
            frames = frames_in(data, pixels)
        except BadRequest as error:
            await self._room(line)
            self._engine.refuse(line, number_of(data), str(error))
            return False
        for number, view in frames:
            if line.lane.full:
                await self._room(line)
            self._engine.submit(line, number, view)
        return True

    async def _room(self, line: Line) -> None:
        if not line.lane.full:
            return
        line.paused += 1
        self._patience.reschedule(None)  # it is not the instrument that is idle
        while line.lane.full:
            line.room.clear()
            await line.room.wait()
            if line.gone:
                raise _Gone
        self._heard()

    async def _answer(self, line: Line) -> None:
        """Answers and notices, as they come, as fast as the instrument takes them."""
        vector = bytes(4 * self._terms.welcome.vector)
        nothing = (NOTHING if line.gates else b"", vector)
        try:
            while not line.gone:
                await line.changed.wait()
                line.changed.clear()
                while line.notices:
                    text, number = line.notices.popleft()
                    await self._say(Notice(text=text, number=number))
                ready = line.lane.ready()
                if line.gates:
                    await self._tell_editions(ready)
                if ready:
                    now = stamp()
                    async with asyncio.timeout(self._terms.idle_seconds):
                        await self._socket.send_bytes(b"".join([_packed(frame, now, nothing) for frame in ready]))
                    self._told(ready, now)
                    line.room.set()
                if self._ended and not line.lane.frames:
                    await self._say(farewell(line))
                    await self._socket.close(NORMAL)
                    return
        except Exception as error:  # the connection is lost, in whatever words
            log.info("the stream of %s ends: %s", line.name or "an instrument", error or type(error).__name__)
            line.leave()
            raise _Gone from error

    async def _tell_editions(self, ready: Sequence[Frame]) -> None:
        """The gates of these results, and those of now, where the instrument does not know them yet."""
        told: dict[int, GateList] = {frame.gates.edition: frame.gates for frame in ready if frame.gates is not None}
        now = self._engine.gates_now()
        for edition, gates in sorted((told | {now.edition: now}).items()):
            if edition > self._edition:
                self._edition = edition
                await self._say(gates)

    async def _say(self, message: Said) -> None:
        await self._socket.send_text(message.model_dump_json())

    async def _refuse(self, why: str) -> None:
        """Say what is wrong, whole, and close."""
        try:
            await self._say(Notice(text=why))
            await self._socket.close(POLICY, why.encode()[:MOST_REASON].decode(errors="ignore"))
        except Exception as error:
            log.debug("nobody heard why the stream was closed (%s): %s", why, error)


def farewell(line: Line) -> Farewell:
    """What became of all frames of a line."""
    counts = line.lane.counts
    return Farewell(
        received=line.lane.received,
        classified=counts[Status.CLASSIFIED],
        dropped=counts[Status.DROPPED],
        refused=counts[Status.REFUSED],
        failed=counts[Status.FAILED],
    )


class _Gone(Exception):
    """The instrument has left, or cannot be reached."""


def _packed(frame: Frame, now: int, nothing: tuple[bytes, bytes]) -> bytes:
    # As ``contracts.stream.pack_result``, without making a Result of each.
    head = RESULT.pack(
        frame.number,
        frame.status or 0,
        frame.decision,
        frame.label,
        frame.probability,
        frame.received,
        frame.batched,
        frame.inferred,
        now,
    )
    return head + (frame.judged or nothing[0]) + (frame.vector or nothing[1])
