"""EdgeX messages in and out of bytes, in today's form and in AiCSD's."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field, JsonValue

from contracts import gojson
from contracts.edgex_event import (
    UUID,
    BadMessage,
    Event,
    Reading,
    Wire,
    jobs_event,
    launch_event,
    object_event,
    only_object,
)
from contracts.topics import (
    device_topic,
    mqtt_export_topic,
    redis_channel,
    safe_name,
    topic_of_channel,
)

__all__ = [
    "BadMessage",
    "Envelope",
    "Event",
    "Reading",
    "Style",
    "device_topic",
    "inference_text",
    "jobs_event",
    "launch_event",
    "mqtt_export_topic",
    "object_event",
    "only_object",
    "pack",
    "pack_payload",
    "redis_channel",
    "safe_name",
    "topic_of_channel",
    "unpack",
]

_EXACT = 2**53
JSON = "application/json"
TEXT = "text/plain"


class Style(StrEnum):
    """Who is to understand the message: every EdgeX since 2.3 and its Python SDK, or AiCSD's pipelines."""

    EDGEX = "edgex"
    AICSD = "aicsd"


class _Request(Wire):
    """AddEventRequest, the form in which events usually travel."""

    api_version: str = ""
    request_id: str = Field(default="", pattern=f"^$|{UUID}")
    event: Event


class _Envelope(Wire):
    api_version: str = ""
    received_topic: str = ""
    correlation_id: str = Field(default="", alias="correlationID")
    request_id: str = Field(default="", alias="requestID")
    error_code: int = 0
    payload: JsonValue = None
    content_type: str = ""
    query_params: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Envelope:
    """A received message: its envelope, the payload's bytes, and the event if it carries one."""

    payload: bytes
    content_type: str = JSON
    event: Event | None = None
    event_request_id: str = ""
    correlation_id: str = ""
    request_id: str = ""
    received_topic: str = ""
    api_version: str = ""
    error_code: int = 0
    query_params: Mapping[str, str] | None = None


def pack(
    event: Event,
    *,
    style: Style = Style.EDGEX,
    correlation_id: str,
    request_id: str = "",
    raw_payload: bool = False,
) -> bytes:
    """The event as it is published. ``request_id`` is the AddEventRequest's and has no place in AiCSD's form.

    ``raw_payload`` is EdgeX v4's own form, which older services refuse. Names are made safe; in EdgeX style
    whole numbers above 2**53 inside an object become texts, as EdgeX would round them. Raises ``ValueError``
    for a raw payload in AiCSD's form.
    """
    if style is Style.AICSD:
        if raw_payload:
            raise ValueError("raw_payload is EdgeX v4's form: AiCSD needs base64")
        body: dict[str, object] = _event(event, "v2", style)
    else:
        body = {"apiVersion": "v3", "requestId": request_id, "event": _event(event, "v3", style)}
    if raw_payload:
        return gojson.dumps(_envelope(body, JSON, correlation_id, style))
    return pack_payload(gojson.dumps(body), content_type=JSON, correlation_id=correlation_id, style=style)


def pack_payload(payload: bytes, *, content_type: str, correlation_id: str, style: Style) -> bytes:
    """Any payload in an envelope: AiCSD's bare parameters and its ``text/plain`` results travel so."""
    if not content_type:
        raise ValueError("content_type is empty: EdgeX v4 refuses such messages")
    text = base64.b64encode(payload).decode()
    return gojson.dumps(_envelope(text, content_type, correlation_id, style))


def unpack(data: bytes) -> Envelope:
    """A message in any form that EdgeX 2.3 to 4 or AiCSD publish; keys may be in any case.

    The payload is base64 or a raw object; an AddEventRequest, a bare Event, or anything else (then ``event``
    is None). Raises ``BadMessage``.
    """
    try:
        outer = gojson.decode(_Envelope, data)
        payload = _payload(outer)
        event, request_id = _event_in(payload, outer)
    except gojson.BadBody as error:
        raise BadMessage(str(error)) from None
    return Envelope(
        payload=payload,
        content_type=outer.content_type,
        event=event,
        event_request_id=request_id,
        correlation_id=outer.correlation_id,
        request_id=outer.request_id,
        received_topic=outer.received_topic,
        api_version=outer.api_version,
        error_code=outer.error_code,
        query_params=outer.query_params,
    )


def inference_text(host: str, path: str, results: str) -> bytes:
    """AiCSD's ``text/plain`` payload on the results topic; colons before the results become ``=``."""
    location = f"{host}:{path}".replace(":", "=")
    return f"filename:{location}; results:{results}".encode(errors="replace")


def _envelope(payload: object, content_type: str, correlation_id: str, style: Style) -> dict[str, object]:
    if style is Style.EDGEX:
        return {
            "apiVersion": "v3",
            "receivedTopic": "",
            "correlationID": correlation_id,
            "requestID": "",
            "errorCode": 0,
            "payload": payload,
            "contentType": content_type,
        }
    return {
        "ReceivedTopic": "",
        "CorrelationID": correlation_id,
        "ApiVersion": "",
        "RequestID": "",
        "ErrorCode": 0,
        "Payload": payload,
        "ContentType": content_type,
        "QueryParams": None,
    }


def _event(event: Event, api_version: str, style: Style) -> dict[str, object]:
    body: dict[str, object] = {
        "apiVersion": api_version,
        "id": event.id,
        "deviceName": safe_name(event.device_name),
        "profileName": safe_name(event.profile_name),
        "sourceName": safe_name(event.source_name),
        "origin": event.origin,
        "readings": [_reading(reading, event, style) for reading in event.readings],
    }
    return body | ({"tags": dict(event.tags)} if event.tags else {})


def _reading(reading: Reading, event: Event, style: Style) -> dict[str, object]:
    body: dict[str, object] = {"id": reading.id} if reading.id else {}
    body |= {
        "origin": reading.origin or event.origin,
        "deviceName": safe_name(reading.device_name or event.device_name),
        "resourceName": safe_name(reading.resource_name),
        "profileName": safe_name(reading.profile_name or event.profile_name),
        "valueType": reading.value_type,
    }
    body |= {"units": reading.units} if reading.units else {}
    body |= {"tags": dict(reading.tags)} if reading.tags else {}
    return body | _value(reading, style)


def _value(reading: Reading, style: Style) -> dict[str, object]:
    """The one kind of value that the reading's type asks for."""
    if reading.value_type == "Binary":
        return {"binaryValue": reading.binary_value, "mediaType": reading.media_type}
    if reading.value_type not in ("Object", "ObjectArray"):
        return {"value": _simple(reading.value)}
    if style is Style.AICSD:
        return {"value": "", "objectValue": reading.object_value}
    return {"objectValue": _exact(reading.object_value)}


def _simple(value: str | int | float | bool | None) -> str:
    """A simple value as EdgeX wants it: always text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _exact(value: JsonValue) -> JsonValue:
    """The same value with whole numbers that a float would round as texts."""
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        return str(value)
    return value


def _payload(outer: _Envelope) -> bytes:
    if outer.payload is None:
        raise BadMessage("payload is missing: it must be base64 text or an object")
    if not isinstance(outer.payload, str):
        return gojson.dumps(outer.payload)
    try:
        return base64.b64decode("".join(outer.payload.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadMessage("payload is a text that is not base64") from None


def _event_in(payload: bytes, outer: _Envelope) -> tuple[Event | None, str]:
    """The event and the id of the request around it; no event in what is not JSON, an error, or not one."""
    kind = outer.content_type.partition(";")[0].strip().lower() or JSON
    if kind != JSON or outer.error_code:
        return None, ""
    body = gojson.loads(payload)
    keys = {key.lower() for key in body} if isinstance(body, dict) else set()
    if "event" in keys:
        request = gojson.decode_value(_Request, body)
        return request.event, request.request_id
    return (gojson.decode_value(Event, body), "") if "readings" in keys else (None, "")
