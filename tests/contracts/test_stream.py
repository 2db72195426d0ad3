"""The words of the stream, and frames in EdgeX events."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import cbor
from contracts.edgex import BadMessage, Event, Reading, pack
from contracts.edgex_frames import frames_event, frames_of, in_envelope
from contracts.errors import BadRequest
from contracts.gates import Action
from contracts.stream import (
    NO_NUMBER,
    RESULT,
    Farewell,
    GateList,
    Opening,
    Result,
    Status,
    Welcome,
    decode,
    frames_in,
    number_of,
    pack_frame,
    pack_result,
    results_in,
)
from contracts.stream_client import StreamClient
from contracts.stream_decisions import Decided, Decision

NUMBERS = st.integers(0, 2**64 - 1)
RESULTS = st.builds(
    Result,
    number=NUMBERS,
    status=st.sampled_from(Status),
    label=st.integers(0, 2**16 - 1),
    probability=st.floats(0, 1, width=32),
    received=NUMBERS,
    batched=NUMBERS,
    inferred=NUMBERS,
    sent=NUMBERS,
    vector=st.tuples(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False)),
)
COORDINATE = st.floats(width=32, allow_nan=False)
DECIDED = st.builds(
    Decided,
    decision=st.sampled_from(Decision),
    at=NUMBERS,
    accepting=NUMBERS,
    rejecting=NUMBERS,
    edition=NUMBERS,
    place=st.none() | st.tuples(COORDINATE, COORDINATE),
)
ID = "11111111-1111-4111-8111-111111111111"


@given(st.lists(RESULTS, max_size=5))
def test_results_survive_the_wire(results: list[Result]) -> None:
    assert results_in(b"".join(map(pack_result, results)), 2) == results
    if results:
        with pytest.raises(BadRequest, match="no whole number of results"):
            results_in(pack_result(results[0])[:-1], 2)


@given(st.lists(st.builds(replace, RESULTS, decided=DECIDED), max_size=5))
def test_what_gates_say_survives_the_wire(results: list[Result]) -> None:
    message = b"".join(map(pack_result, results))
    assert results_in(message, 2, gates=True) == results
    assert len(message) == len(results) * 96


def test_messages_that_say_nothing_of_gates_are_as_they_were_before_there_were_any() -> None:
    welcome = Welcome(window=1, model="m", model_version="1", classes=())
    for message in (Opening(), welcome):
        assert "gates" not in message.model_dump_json()
        assert decode(message.model_dump_json()) == message
    gates = GateList(edition=3, names=("a",), not_applied={"b": "why"})
    for message in (Opening(gates=True), welcome.model_copy(update={"gates": gates}), gates):
        assert decode(message.model_dump_json()) == message


async def test_a_client_knows_the_gates_of_the_edition_by_which_a_frame_was_decided() -> None:
    opening, first = Opening(gates=True), GateList(edition=1, names=("a", "b"))
    client = StreamClient(None, opening, Welcome(window=1, model="m", model_version="", classes=(), gates=first))
    client._hear(GateList(edition=2, names=("b",)).model_dump_json())  # noqa: SLF001
    accepted, rejected = Action.ACCEPT, Action.REJECT

    def said(**decided: int) -> dict[str, Action]:
        return client.decisions(Result(1, Status.CLASSIFIED, decided=Decided(**decided)))

    assert said(accepting=1, rejecting=2, edition=1) == {"a": accepted, "b": rejected}
    assert said(accepting=1, edition=2) == {"b": accepted}
    assert said(accepting=1, edition=9) == {}
    assert client.decisions(Result(1, Status.CLASSIFIED)) == {}
    assert client.gates.edition == 2


@given(st.lists(st.tuples(NUMBERS, st.binary(min_size=7, max_size=7)), min_size=1, max_size=5))
def test_frames_survive_the_wire(frames: list[tuple[int, bytes]]) -> None:
    message = b"".join(pack_frame(*frame) for frame in frames)
    assert [(number, bytes(pixels)) for number, pixels in frames_in(message, 7)] == frames


@given(st.binary(max_size=40))
def test_a_message_is_whole_frames_or_refused(message: bytes) -> None:
    if message and len(message) % 15 == 0:
        assert len(list(frames_in(message, 7))) == len(message) // 15
    else:
        with pytest.raises(BadRequest, match="no whole number of frames"):
            frames_in(message, 7)
    assert number_of(message) == (int.from_bytes(message[:8], "little") if len(message) >= 8 else NO_NUMBER)


def test_a_result_has_the_size_and_the_places_that_other_languages_count_on() -> None:
    assert RESULT.size == 48
    packed = pack_result(Result(1, Status.DROPPED, 3, 0.5, 4, 5, 6, 7, (1.0,)))
    assert packed.hex() == (
        "0100000000000000" + "01" + "00" + "0300" + "0000003f" + "0400000000000000" + "0500000000000000"
        "0600000000000000" + "0700000000000000" + "0000803f"
    )


@given(st.text(max_size=200))
def test_any_text_is_a_message_or_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        decode(text)


def test_messages_are_told_apart_by_their_kind() -> None:
    assert decode('{"kind": "open", "channels": 3}') == Opening(channels=3)
    end = Farewell(received=3, classified=2, dropped=1, refused=0, failed=0)
    assert decode(end.model_dump_json()) == end
    assert Opening(width=3, height=5, channels=3, dtype="uint16").pixels == 90


def event(*kinds: str) -> Event:
    readings = tuple(
        Reading(resource_name="Frame", value_type=kind, media_type="application/octet-stream") for kind in kinds
    )
    return Event(id=ID, device_name="sorter-1", profile_name="sorter", source_name="Frame", origin=1, readings=readings)


PIXELS = [b"\x00\x01\xff", b"second"]
MADE = frames_event(event("Binary", "Int32", "Binary"), PIXELS, request_id=ID)


@pytest.mark.parametrize(
    ("message", "correlation"),
    [
        (MADE, ""),
        (cbor.dumps(cbor.loads(MADE)["event"]), ""),
        (in_envelope(MADE, "c-1"), "c-1"),
        (cbor.dumps({"correlationID": "c-1", "payload": MADE, "contentType": "application/cbor"}), "c-1"),
        (cbor.dumps({"correlationID": "c-1", "payload": cbor.loads(MADE)}), "c-1"),
        (cbor.dumps({"correlationID": "c-1", "payload": base64.b64encode(MADE).decode()}), "c-1"),
    ],
)
def test_frames_are_found_in_cbor_bare_or_in_either_envelope(message: bytes, correlation: str) -> None:
    found = frames_of(message)
    assert [bytes(one) for one in found.pixels] == PIXELS
    assert (found.event.id, found.event.device_name, found.correlation_id) == (ID, "sorter-1", correlation)


def test_frames_are_found_in_json_with_base64() -> None:
    made = event("Binary").model_copy(
        update={"readings": (event("Binary").readings[0].model_copy(update={"binary_value": "AAH/"}),)}
    )
    assert frames_of(pack(made, correlation_id="c-2")).pixels == (b"\x00\x01\xff",)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "CBOR"),
        (b"{", "JSON|payload|EOF|object"),
        (cbor.dumps([1]), "holds no event with readings"),
        (cbor.dumps({"event": {"readings": 3}}), "holds no event with readings"),
        (cbor.dumps({"id": ID, "deviceName": "d", "origin": 1, "readings": []}), "readings: Tuple should have"),
        (cbor.dumps({"id": ID, "deviceName": "d", "origin": 1, "readings": [3]}), "readings.0"),
        (frames_event(event("Int32"), [], request_id=ID), "no reading of type Binary"),
        (cbor.dumps({"payload": "?"}), "payload is not base64"),
        (frames_event(event("Binary"), [7], request_id=ID), "binaryValue is no bytes"),  # type: ignore[list-item]
        (pack(event("Binary"), correlation_id="").replace(b"payload", b"nothing"), "payload is missing"),
    ],
)
def test_what_holds_no_frames_is_refused_with_the_field(message: bytes, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        frames_of(message)


@given(st.binary(max_size=300))
def test_no_message_does_any_harm(message: bytes) -> None:
    for whole in (message, in_envelope(message, "")):
        with pytest.raises(BadMessage):
            frames_of(whole)
