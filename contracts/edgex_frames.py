"""Frames in EdgeX events: Binary readings, in CBOR as device services write them, or in JSON with base64."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from contracts import cbor
from contracts.edgex import Envelope, unpack
from contracts.edgex_event import BadMessage, Event

CBOR = "application/cbor"
RESOURCE = "StreamResult"


@dataclass(frozen=True)
class Frames:
    """The event of a message, without the pixels of its Binary readings, and those pixels, in order."""

    event: Event
    pixels: tuple[bytes, ...]
    correlation_id: str = ""


def frames_of(message: bytes) -> Frames:
    """The frames of an event, with or without an envelope around it. Raises ``BadMessage`` naming what is wrong."""
    if message[:1] == b"{":
        envelope = unpack(message)
        if envelope.content_type.partition(";")[0].strip().lower() != CBOR:
            return _of_json(envelope)
        body, correlation = cbor.loads(envelope.payload), envelope.correlation_id
    else:
        body, correlation = cbor.loads(message), ""
        if isinstance(body, dict) and "payload" in body:
            correlation = str(body.get("correlationID", ""))
            body = _inner(body["payload"])
    return _of_plain(body, correlation)


def _inner(payload: Any) -> Any:
    """What an envelope in CBOR carries: the event itself, its CBOR, or the base64 of that."""
    if isinstance(payload, str):
        payload = _decoded(payload, "payload")
    return cbor.loads(payload) if isinstance(payload, bytes) else payload


def _of_json(envelope: Envelope) -> Frames:
    if envelope.event is None:
        raise BadMessage(f"the message is no event but {envelope.content_type!r}")
    pixels = tuple(
        _decoded(reading.binary_value, f"readings.{at}.binaryValue")
        for at, reading in enumerate(envelope.event.readings)
        if reading.value_type == "Binary"
    )
    return _checked(Frames(envelope.event, pixels, envelope.correlation_id))


def _of_plain(body: Any, correlation: str) -> Frames:
    if isinstance(body, dict) and isinstance(body.get("event"), dict):
        body = body["event"]  # AddEventRequest
    if not isinstance(body, dict) or not isinstance(body.get("readings"), list):
        raise BadMessage("the message holds no event with readings")
    pixels: list[bytes] = []
    try:
        event = Event.model_validate(body | {"readings": list(_without_pixels(body["readings"], pixels))})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadMessage(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return _checked(Frames(event, tuple(pixels), correlation))


def _without_pixels(readings: list[Any], pixels: list[bytes]) -> Iterator[Any]:
    for at, reading in enumerate(readings):
        if isinstance(reading, dict) and reading.get("valueType") == "Binary":
            value = reading.get("binaryValue", b"")
            pixels.append(_decoded(value, f"readings.{at}.binaryValue") if isinstance(value, str) else value)
            reading = reading | {"binaryValue": ""}
        yield reading


def _checked(found: Frames) -> Frames:
    if not found.pixels:
        raise BadMessage("readings holds no reading of type Binary")
    for at, pixels in enumerate(found.pixels):
        if not isinstance(pixels, bytes):
            raise BadMessage(f"readings.{at}.binaryValue is no bytes")
    return found


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadMessage(f"{where} is not base64") from None


def frames_event(event: Event, pixels: list[bytes], *, request_id: str) -> bytes:
    """An AddEventRequest in CBOR, as a device service publishes one with binary readings; ``pixels`` are those of its
    Binary readings, in order."""
    body = event.model_dump(mode="json", by_alias=True, exclude_none=True)
    rest = iter(pixels)
    for reading in body["readings"]:
        if reading["valueType"] == "Binary":
            reading["binaryValue"] = next(rest)
    return cbor.dumps({"apiVersion": "v3", "requestId": request_id, "event": body})


def in_envelope(payload: bytes, correlation_id: str) -> bytes:
    """CBOR in EdgeX v3's JSON envelope."""
    return json.dumps(
        {
            "apiVersion": "v3",
            "receivedTopic": "",
            "correlationID": correlation_id,
            "requestID": "",
            "errorCode": 0,
            "payload": base64.b64encode(payload).decode(),
            "contentType": CBOR,
        }
    ).encode()
