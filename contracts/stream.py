"""What an instrument and the stream of frames say to each other over a WebSocket.

Text messages are JSON, told apart by ``kind``: the instrument opens with ``Opening`` and is answered with ``Welcome``;
after ``End`` come the results that are due, then ``Farewell``, then the close. ``Notice`` is for people. Who asks for
what gates decide is told the gates (``GateList``), and gets longer results (``stream_decisions.DECIDED``). Binary
messages are whole frames, one after the other (``pack_frame``), and whole results (``RESULT``); all numbers are
little-endian.

At most ``Welcome.window`` frames may be without an answer. Every frame is answered exactly once, in the order in which
they were sent; the service reads no further while the window is full, so whoever sends more waits.
"""

import base64
import binascii
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from contracts.errors import BadRequest
from contracts.stream_decisions import DECIDED, Decided, decided_in, pack_decided

PATH = "/api/v1/stream"
VERSION = 1
NUMBER = struct.Struct("<Q")
"""Before the pixels of a frame: the instrument's own number for it, which its result bears again."""
RESULT = struct.Struct("<QBBHfQQQQ")
"""A result, before its vector (zeros where there is none): number, status, decision (0 unless gates were asked for),
class (``NO_CLASS``: none), probability, and when the frame was received, put into a batch, inferred and answered (ns
since 1970 by the service's clock; 0: it was not)."""
NO_CLASS = 0xFFFF
NO_NUMBER = 2**64 - 1
"""Of the answer to a message that is too short to hold a number."""
MOST_PIXELS = 2**20
"""Bytes of one frame at most."""


class Drop(StrEnum):
    """What becomes of frames that come faster than they are dealt with."""

    NEVER = "never"
    """The instrument waits."""
    NEWEST = "newest"
    """A frame for which there is no room is answered as dropped."""
    OLDEST = "oldest"
    """So is, instead of it, the one that has waited for longest."""


class Status(IntEnum):
    """What became of a frame."""

    CLASSIFIED = 0
    DROPPED = 1
    """There was no room, and the instrument had asked for that."""
    REFUSED = 2
    """It was no frame as it had been announced."""
    FAILED = 3
    """The model could not say anything of it."""


class Said(BaseModel):
    """A text message: frozen, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Correction(Said):
    """What is done to each frame before the model sees it. ``flat`` and ``dark`` are frames in base64: one of an empty,
    evenly lit field, one without light."""

    flat: str = ""
    dark: str = ""
    background: Literal["none", "subtract", "divide"] = "none"
    """By the median of the frame's edge: subtract for fluorescence, divide for brightfield."""
    contrast: bool = False
    """Stretch each frame, percentile 1 to 0 and percentile 99 to 1."""


class Opening(Said):
    """The instrument says what it will send."""

    kind: Literal["open"] = "open"
    version: int = VERSION
    source: str = Field(default="", max_length=200)
    """What the instrument calls itself, for people."""
    width: int = Field(default=64, ge=1, le=4096)
    height: int = Field(default=64, ge=1, le=4096)
    channels: Literal[1, 3] = 1
    dtype: Literal["uint8", "uint16"] = "uint8"
    drop: Drop = Drop.NEVER
    correction: Correction = Correction()
    gates: bool = False
    """Whether results shall say what the gates of the map of cells decide: each is longer then, by ``DECIDED``."""

    @model_serializer(mode="wrap")
    def _as_ever(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without(written(self), "gates")

    @property
    def pixels(self) -> int:
        """Bytes of one frame's pixels: rows, columns, channels."""
        return self.width * self.height * self.channels * (2 if self.dtype == "uint16" else 1)


class GateList(Said):
    """The gates by which frames are decided from now on, told to instruments that asked for them: in the welcome, and
    anew before the first result of another edition."""

    kind: Literal["gates"] = "gates"
    edition: int = 0
    """Which results bear, so that it is known of each frame by which gates it was decided; 0: none are known yet."""
    names: tuple[str, ...] = ()
    """In the order of the bits."""
    not_applied: dict[str, str] = {}
    """Gates that say nothing of this stream, by name, and why."""


class Welcome(Said):
    """The service says how it will answer."""

    kind: Literal["welcome"] = "welcome"
    version: int = VERSION
    window: int
    """So many frames may be without an answer."""
    model: str
    model_version: str
    classes: tuple[str, ...]
    vector: int = 0
    """So many float32 follow each result."""
    gates: GateList | None = None
    """Where they were asked for."""

    @model_serializer(mode="wrap")
    def _as_ever(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without(written(self), "gates")


class End(Said):
    """No more frames."""

    kind: Literal["end"] = "end"


class Farewell(Said):
    """What became of all frames; nothing follows."""

    kind: Literal["farewell"] = "farewell"
    received: int
    classified: int
    dropped: int
    refused: int
    failed: int


class Notice(Said):
    """Something that a person should know: why a frame was refused, or what is waited for."""

    kind: Literal["notice"] = "notice"
    text: str
    number: int | None = None
    """Of the frame that it is about."""


Message = Annotated[Opening | Welcome | End | Farewell | Notice | GateList, Field(discriminator="kind")]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one frame. Times are ns since 1970 by the service's clock; 0: it did not get there."""

    number: int
    status: Status
    label: int = NO_CLASS
    """Which of ``Welcome.classes``."""
    probability: float = 0.0
    received: int = 0
    batched: int = 0
    inferred: int = 0
    sent: int = 0
    vector: tuple[float, ...] = ()
    decided: Decided | None = None
    """What gates say of it; None: that was not asked for."""


def _without(said: dict[str, object], name: str) -> dict[str, object]:
    """A message as it was before it had this field, unless something is said in it: older programs refuse it."""
    return said if said[name] else {key: value for key, value in said.items() if key != name}


def decode(text: str) -> Opening | Welcome | End | Farewell | Notice | GateList:
    """A text message. Raises ``BadRequest`` naming the field that is wrong."""
    try:
        return _MESSAGE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"{place or 'the message'}: {first['msg']}") from None


def pack_frame(number: int, pixels: bytes | bytearray | memoryview) -> bytes:
    """A frame as it is sent; several in one message are one after the other."""
    return NUMBER.pack(number) + pixels


def frames_in(message: bytes, pixels: int) -> Iterator[tuple[int, memoryview]]:
    """The frames of a message, by number; each has so many bytes of pixels, which are not copied.

    Raises ``BadRequest`` before the first unless the message is made of whole frames.
    """
    size = NUMBER.size + pixels
    if not message or len(message) % size:
        raise BadRequest(
            f"a message of {len(message)} bytes is no whole number of frames: each has {NUMBER.size} bytes of its"
            f" number and {pixels} of pixels, as was said in the opening"
        )
    view = memoryview(message)
    return (
        (NUMBER.unpack_from(view, start)[0], view[start + NUMBER.size : start + size])
        for start in range(0, len(message), size)
    )


def number_of(message: bytes) -> int:
    """The number at the beginning of a message that is no frame."""
    return int(NUMBER.unpack_from(message)[0]) if len(message) >= NUMBER.size else NO_NUMBER


def pack_result(result: Result) -> bytes:
    """A result as it is sent; those of a batch go in one message."""
    decided = result.decided
    head = RESULT.pack(
        *(result.number, result.status, decided.decision if decided else 0, result.label, result.probability),
        *(result.received, result.batched, result.inferred, result.sent),
    )
    vector = struct.pack(f"<{len(result.vector)}f", *result.vector) if result.vector else b""
    return head + (pack_decided(decided) if decided else b"") + vector


def results_in(message: bytes, vector: int = 0, gates: bool = False) -> list[Result]:
    """The results of a message, with so many numbers of a vector, and with what gates say if that was asked for. Raises
    ``BadRequest`` when it is not made of whole ones."""
    head = RESULT.size + (DECIDED.size if gates else 0)
    size, values = head + 4 * vector, struct.Struct(f"<{vector}f")
    if len(message) % size:
        raise BadRequest(f"a message of {len(message)} bytes is no whole number of results of {size} bytes")
    found = []
    for start in range(0, len(message), size):
        number, status, decision, label, probability, received, batched, inferred, sent = RESULT.unpack_from(
            message, start
        )
        times = received, batched, inferred, sent
        more = values.unpack_from(message, start + head) if vector else ()
        decided = decided_in(message, start + RESULT.size, decision) if gates else None
        found.append(Result(number, Status(status), label, probability, *times, more, decided))
    return found


def reference(text: str, opening: Opening, name: str) -> bytes:
    """The pixels of ``flat`` or ``dark``, empty if there are none. Raises ``BadRequest``."""
    try:
        pixels = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"correction.{name} is not base64") from None
    if pixels and len(pixels) != opening.pixels:
        raise BadRequest(f"correction.{name} has {len(pixels)} bytes and must have {opening.pixels}, as a frame has")
    return pixels


def checked(opening: Opening) -> Opening:
    """The opening, if it can be served at all. Raises ``BadRequest``."""
    if opening.version != VERSION:
        raise BadRequest(f"version {opening.version} of the stream is not spoken here, only {VERSION}")
    if opening.pixels > MOST_PIXELS:
        raise BadRequest(f"frames of {opening.pixels} bytes are too large: at most {MOST_PIXELS}; send a file instead")
    return opening
