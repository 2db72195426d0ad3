"""EdgeX messages, as EdgeX and AiCSD read and write them."""

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import topics
from contracts.edgex import (
    BadMessage,
    Event,
    Reading,
    Style,
    device_topic,
    inference_text,
    jobs_event,
    launch_event,
    mqtt_export_topic,
    object_event,
    only_object,
    pack,
    pack_payload,
    redis_channel,
    safe_name,
    topic_of_channel,
    unpack,
)
from contracts.gojson import dumps

GOLDEN = Path(__file__).parent / "golden"
CORRELATION = "5f0c7a1e-1f0f-4a7f-9a7e-2f6f0c9b7d03"
IDS: dict[str, Any] = {
    "event_id": "0f5b7c1e-6a51-4a5e-9a53-0d1a5a0f3b11",
    "reading_id": "b1a6e0a2-53a9-4b0a-8a0c-6a2b5a7f7c02",
    "origin": 1795213068706784358,
}


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes().strip()


def known(name: str) -> Event:
    event = unpack(golden(name)).event
    assert event is not None
    return event


def envelope(payload: object, **changes: object) -> bytes:
    fields = {"correlationID": CORRELATION, "payload": payload, "contentType": "application/json"}
    return json.dumps(fields | changes).encode()


def encoded(payload: object) -> str:
    return base64.b64encode(json.dumps(payload).encode()).decode()


REQUEST: dict[str, Any] = json.loads(golden("edgex_object_reading.payload"))
EVENT: dict[str, Any] = REQUEST["event"]


@pytest.mark.parametrize("raw", [False, True])
def test_the_message_that_every_edgex_accepts_is_read_and_written_to_the_byte(raw: bool) -> None:
    message = golden("edgex_raw_payload" if raw else "edgex_object_reading")

    found = unpack(message)

    assert found.event is not None
    assert found.correlation_id == CORRELATION
    assert found.event.readings[0].object_value == EVENT["readings"][0]["objectValue"]
    again = pack(
        found.event,
        correlation_id=found.correlation_id,
        request_id=found.event_request_id,
        raw_payload=raw,
    )
    assert again == message


@pytest.mark.parametrize("name", ["aicsd_launch", "aicsd_jobs"])
def test_aicsd_s_events_are_read_and_written_to_the_byte(name: str) -> None:
    assert pack(known(name), style=Style.AICSD, correlation_id=CORRELATION) == golden(name)


def test_a_launch_is_made_of_its_parameters() -> None:
    params = only_object(known("aicsd_launch"), source="PipelineParameters", resource="PipelineParameters")

    event = launch_event(params, **IDS)

    assert pack(event, style=Style.AICSD, correlation_id=CORRELATION) == golden("aicsd_launch")


def test_a_jobs_event_keeps_the_shape_of_the_job_and_its_nanoseconds() -> None:
    job = only_object(known("aicsd_jobs"), source="file-sender-gateway", resource="job")

    message = pack(jobs_event(job, **IDS), style=Style.AICSD, correlation_id=CORRELATION)

    assert job["LastUpdated"] == 1795212693520638770
    assert message == golden("aicsd_jobs")


def test_bare_parameters_and_plain_results_have_no_event() -> None:
    params, results = unpack(golden("aicsd_params")), unpack(golden("aicsd_results"))

    assert (params.event, results.event) == (None, None)
    assert json.loads(params.payload)["ModelParams"] == {"threshold": "0.5"}
    text = inference_text("gateway", "/tmp/files/input/test-image-4.tiff", "CellCount, 598")
    assert results.payload == text
    again = pack_payload(text, content_type="text/plain", correlation_id=CORRELATION, style=Style.AICSD)
    assert again == golden("aicsd_results")


def test_colons_of_a_location_become_equals_signs() -> None:
    assert inference_text("oem", "C:\\a.tif", "x:1") == b"filename:oem=C=\\a.tif; results:x:1"


V2_EVENT = {**EVENT, "apiVersion": "v2"}
PASCAL = {
    "ReceivedTopic": "t",
    "CorrelationID": "c",
    "ApiVersion": "v2",
    "RequestID": "",
    "ErrorCode": 0,
    "Payload": encoded(REQUEST),
    "ContentType": "application/json",
    "QueryParams": {"a": "b"},
}
CAPITALS = {"EVENT": {key.upper(): value for key, value in EVENT.items()}}


@pytest.mark.parametrize(
    "message",
    [
        envelope(encoded(REQUEST)),
        envelope(REQUEST),
        json.dumps(PASCAL).encode(),
        envelope(encoded(EVENT)),
        envelope(encoded(V2_EVENT)),
        envelope(encoded({"event": EVENT})),
        envelope(encoded(CAPITALS)),
        envelope(encoded(REQUEST), contentType=""),
        envelope(encoded(REQUEST), contentType="application/json; charset=utf-8"),
        envelope(encoded(REQUEST), surprise=[1]),
    ],
)
def test_every_form_on_the_wire_carries_the_same_event(message: bytes) -> None:
    event = unpack(message).event

    assert event is not None
    assert (event.device_name, event.origin) == ("scope-01", 1767225600000000000)
    assert event.readings == known("edgex_object_reading").readings


def reading(**changes: object) -> dict[str, object]:
    return {"event": {**EVENT, "readings": [{**EVENT["readings"][0], "objectValue": None, **changes}]}}


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({"valueType": "String", "value": "{}"}, {"value": "{}"}),
        ({"valueType": "Int64", "value": "2097152"}, {"value": "2097152"}),
        ({"valueType": "Int64", "value": 5}, {"value": "5"}),
        ({"valueType": "Bool", "value": True}, {"value": "true"}),
        ({"valueType": "String"}, {"value": ""}),
        (
            {"valueType": "Binary", "binaryValue": "iVBORw==", "mediaType": "image/png"},
            {"binaryValue": "iVBORw==", "mediaType": "image/png"},
        ),
        ({"valueType": "ObjectArray", "objectValue": [{"a": 1}]}, {"objectValue": [{"a": 1}]}),
    ],
)
def test_each_kind_of_reading_keeps_its_value(changes: dict[str, object], written: dict[str, object]) -> None:
    event = unpack(envelope(encoded(reading(**changes)))).event
    assert event is not None

    sent = json.loads(pack(event, correlation_id="", raw_payload=True))

    assert written.items() <= sent["payload"]["event"]["readings"][0].items()


def test_a_reading_may_have_units_and_tags_and_lack_what_its_event_says() -> None:
    plain = Reading(resource_name="r", value_type="Int8", value="1", units="um", tags={"a": "b"})
    event = Event(id=IDS["event_id"], device_name="d", origin=7, readings=(plain,), tags={"attempt": "2"})

    sent = json.loads(pack(event, correlation_id="", raw_payload=True))["payload"]["event"]

    assert sent["tags"] == {"attempt": "2"}
    assert sent["readings"] == [
        {
            "origin": 7,
            "deviceName": "d",
            "resourceName": "r",
            "profileName": "_",
            "valueType": "Int8",
            "units": "um",
            "tags": {"a": "b"},
            "value": "1",
        }
    ]


def test_numbers_that_edgex_would_round_travel_as_text_but_not_to_aicsd() -> None:
    value = {"LastUpdated": 2**60, "small": 2**53, "deep": [{"n": -(2**60)}], "yes": True}
    event = object_event(value, device="d", profile="p", source="s", resource="s", **IDS)

    edgex = unpack(pack(event, correlation_id=""))
    aicsd = unpack(pack(event, correlation_id="", style=Style.AICSD))

    assert edgex.event is not None
    assert aicsd.event is not None
    assert edgex.event.readings[0].object_value == {
        "LastUpdated": str(2**60),
        "small": 2**53,
        "deep": [{"n": str(-(2**60))}],
        "yes": True,
    }
    assert aicsd.event.readings[0].object_value == value


def test_an_answer_of_an_application_service_has_only_three_fields() -> None:
    found = unpack(envelope(base64.b64encode(b"\x00anything").decode(), contentType="application/cbor"))

    assert (found.payload, found.event, found.correlation_id) == (b"\x00anything", None, CORRELATION)


def test_an_error_s_text_is_no_event() -> None:
    found = unpack(envelope(base64.b64encode(b"no such device").decode(), errorCode=1))

    assert (found.payload, found.event, found.error_code) == (b"no such device", None, 1)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "unexpected end of JSON input"),
        (b"[]", "cannot unmarshal array"),
        (b"{}", "payload is missing"),
        (envelope("%%%"), "payload is a text that is not base64"),
        (envelope("bm90IGpzb24="), "invalid character"),
        (envelope(1, contentType=5), "contentType"),
        (envelope(encoded(REQUEST), errorCode="0"), "errorCode"),
        (envelope(encoded({"event": 5})), "event"),
        (envelope(encoded({"event": {**EVENT, "id": "x"}})), "event.id"),
        (envelope(encoded({**EVENT, "origin": 0})), "Event.origin"),
        (envelope(encoded({**EVENT, "deviceName": ""})), "Event.deviceName"),
        (envelope(encoded({**EVENT, "readings": []})), "Event.readings"),
        (envelope(encoded(reading(resourceName=""))), "event.readings.0.resourceName"),
        (envelope(encoded(reading(valueType=None))), "event.readings.0.valueType"),
        (envelope(encoded({**EVENT, "tags": []})), "tags"),
        (envelope(encoded({"event": {}})), "event.id"),
    ],
)
def test_a_bad_message_is_refused_by_the_field(message: bytes, words: str) -> None:
    with pytest.raises(BadMessage) as caught:
        unpack(message)

    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_consumers_see_which_field_of_an_event_is_not_theirs() -> None:
    event = known("aicsd_launch")
    twice = event.model_copy(update={"readings": event.readings * 2})
    text = event.readings[0].model_copy(update={"value_type": "String"})

    with pytest.raises(BadMessage, match="sourceName"):
        only_object(event, source="job", resource="PipelineParameters")
    with pytest.raises(BadMessage, match="resourceName"):
        only_object(event, source="PipelineParameters", resource="job")
    with pytest.raises(BadMessage, match="2 readings"):
        only_object(twice, source="PipelineParameters", resource="PipelineParameters")
    with pytest.raises(BadMessage, match="valueType"):
        only_object(
            event.model_copy(update={"readings": (text,)}),
            source="PipelineParameters",
            resource="PipelineParameters",
        )


def test_what_edgex_would_refuse_is_not_sent() -> None:
    with pytest.raises(ValueError, match="raw_payload"):
        pack(known("aicsd_launch"), style=Style.AICSD, correlation_id="", raw_payload=True)
    with pytest.raises(ValueError, match="content_type"):
        pack_payload(b"", content_type="", correlation_id="", style=Style.EDGEX)
    with pytest.raises(ValidationError, match="origin"):
        object_event({}, device="d", profile="p", source="s", resource="s", **(IDS | {"origin": 0}))


def test_topics_have_seven_levels_of_safe_names() -> None:
    topic = device_topic("lab-watcher", "Microscope", "scope 01.a", "FileReady")

    assert topic == "edgex/events/device/lab-watcher/Microscope/scope_01_a/FileReady"
    assert redis_channel(topic) == "edgex.events.device.lab-watcher.Microscope.scope_01_a.FileReady"
    assert topic_of_channel(redis_channel(topic)) == topic
    assert redis_channel("edgex/events/device/+/Microscope/#") == "edgex.events.device.*.Microscope.*"


def test_topics_of_aicsd_are_its_own() -> None:
    assert redis_channel(topics.PARAMS) == "pipeline.params"
    assert topic_of_channel("ovms/resnet.v2") == "ovms/resnet/v2"
    assert mqtt_export_topic("pipeline.inferenceResults") == "mqtt-export/pipeline/inferenceResults"
    assert mqtt_export_topic(topics.PARAMS) == "mqtt-export/pipeline/params"


@pytest.mark.parametrize(
    ("name", "safe"), [("scope-01", "scope-01"), ("a.b c/d", "a_b_c_d"), ("µ", "_"), ("", "_"), ("a_~:;=", "a_~:;=")]
)
def test_names_are_limited_to_what_every_version_accepts(name: str, safe: str) -> None:
    assert safe_name(name) == safe


# NUL is no text that a database or a file's name could hold: what is read has U+FFFD in its place (see gojson).
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
objects = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
safe_names = st.from_regex(r"\A[A-Za-z0-9_~:;=-]{1,12}\Z")
uuids = st.uuids().map(str)
events = st.builds(
    object_event,
    objects,
    device=safe_names,
    profile=safe_names,
    source=safe_names,
    resource=safe_names,
    event_id=uuids,
    reading_id=uuids,
    origin=st.integers(1, 2**63 - 1),
    tags=st.none() | st.dictionaries(texts, texts, min_size=1, max_size=3),
)


@given(events, st.sampled_from(Style), uuids, uuids)
def test_any_event_survives_the_wire(event: Event, style: Style, correlation: str, request: str) -> None:
    found = unpack(pack(event, style=style, correlation_id=correlation, request_id=request))

    assert found.correlation_id == correlation
    assert found.event is not None
    again = pack(found.event, style=style, correlation_id=correlation, request_id=request)
    assert unpack(again) == found
    assert found.event.readings[0].object_value == event.readings[0].object_value
    assert (found.event.id, found.event.tags, found.event.origin) == (event.id, event.tags, event.origin)


@given(st.binary() | objects.map(dumps) | objects.map(lambda o: envelope(o)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(BadMessage):
        unpack(data)
