"""EdgeX Events and Readings, and those of them that AiCSD's services exchange."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


class BadMessage(ValueError):
    """A message that is no EdgeX message; the text names the field."""


class Wire(BaseModel):
    """What EdgeX writes in camel case; unknown fields are its own affair."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Reading(Wire):
    """One value of an event: a text, an object, or base64 bytes with their media type."""

    id: str = Field(default="", pattern=f"^$|{UUID}")
    origin: int = 0
    device_name: str = ""
    resource_name: str = Field(min_length=1)
    profile_name: str = ""
    value_type: str = Field(min_length=1)
    value: str | int | float | bool | None = None
    object_value: JsonValue = None
    binary_value: str = ""
    media_type: str = ""
    units: str = ""
    tags: Mapping[str, JsonValue] | None = None


class Event(Wire):
    """What a device reports. ``origin`` is nanoseconds since 1970 UTC; ``tags`` carry jobId, taskId, attempt."""

    api_version: str = "v3"
    id: str = Field(pattern=UUID)
    device_name: str = Field(min_length=1)
    profile_name: str = ""
    source_name: str = ""
    origin: int = Field(gt=0)
    readings: tuple[Reading, ...] = Field(min_length=1)
    tags: Mapping[str, JsonValue] | None = None


def object_event(
    value: Mapping[str, JsonValue],
    *,
    device: str,
    profile: str,
    source: str,
    resource: str,
    event_id: str,
    reading_id: str,
    origin: int,
    tags: Mapping[str, JsonValue] | None = None,
) -> Event:
    """An event with one Object reading. ``origin`` is nanoseconds since 1970 UTC."""
    reading = Reading(
        id=reading_id,
        origin=origin,
        device_name=device,
        resource_name=resource,
        profile_name=profile,
        value_type="Object",
        object_value=dict(value),
    )
    return Event(
        id=event_id,
        device_name=device,
        profile_name=profile,
        source_name=source,
        origin=origin,
        readings=(reading,),
        tags=tags,
    )


def launch_event(
    params: Mapping[str, JsonValue],
    *,
    event_id: str,
    reading_id: str,
    origin: int,
    tags: Mapping[str, JsonValue] | None = None,
) -> Event:
    """AiCSD's order to a pipeline: PipelineParams under the names that its pipelines check."""
    return object_event(
        params,
        device="Device1",
        profile="ValitaCell",
        source="PipelineParameters",
        resource="PipelineParameters",
        event_id=event_id,
        reading_id=reading_id,
        origin=origin,
        tags=tags,
    )


def jobs_event(
    job: Mapping[str, JsonValue],
    *,
    event_id: str,
    reading_id: str,
    origin: int,
    tags: Mapping[str, JsonValue] | None = None,
) -> Event:
    """AiCSD's word to the instrument's side that a job's outputs can be fetched."""
    sender = "file-sender-gateway"
    return object_event(
        job,
        device=sender,
        profile=sender,
        source=sender,
        resource="job",
        event_id=event_id,
        reading_id=reading_id,
        origin=origin,
        tags=tags,
    )


def only_object(event: Event, *, source: str, resource: str) -> Mapping[str, JsonValue]:
    """The object that an event carries, checked as AiCSD's consumers do. Raises ``BadMessage``."""
    if event.source_name != source:
        raise BadMessage(f"event.sourceName is {event.source_name!r} and must be {source!r}")
    if len(event.readings) != 1:
        raise BadMessage(f"event.readings has {len(event.readings)} readings and must have one")
    reading = event.readings[0]
    if reading.resource_name != resource:
        raise BadMessage(f"readings.0.resourceName is {reading.resource_name!r} and must be {resource!r}")
    if reading.value_type != "Object" or not isinstance(reading.object_value, dict):
        raise BadMessage(f"readings.0.valueType is {reading.value_type!r} and must be 'Object', with an object")
    return reading.object_value
