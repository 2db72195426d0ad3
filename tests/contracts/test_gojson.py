"""JSON as Go peers read and write it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_pascal

from contracts.gojson import BadBody, decode, dumps, loads


class Colour(StrEnum):
    RED = "red"


class Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, validate_by_name=True)

    name: str = ""
    size: int = 0


class Job(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, validate_by_name=True, frozen=True)

    id: str = ""
    status: str = "Incomplete"
    last_updated: int = 0
    ready: bool = False
    ratio: float = 0.0
    part: Part = Part()
    parts: tuple[Part, ...] | None = None
    attributes: Mapping[str, str] = {}
    anything: JsonValue = None
    colour: Colour = Colour.RED


def test_keys_match_in_any_case_at_every_level_but_not_inside_maps() -> None:
    body = b'{"ID":"a","part":{"NAME":"p"},"pArTs":[{"name":"q","SIZE":3}],"attributes":{"Name":"n","name":"m"}}'

    job = decode(Job, body)

    assert job == Job(
        id="a",
        part=Part(name="p"),
        parts=(Part(name="q", size=3),),
        attributes={"Name": "n", "name": "m"},
    )


@pytest.mark.parametrize(
    ("body", "job"),
    [
        (b"{}", Job()),
        (b"null", Job()),
        (b'{"Unknown":[1,{}]}', Job()),
        (b'{"Status":null}', Job(status="")),
        (b'{"LastUpdated":null,"Ready":null,"Ratio":null,"Part":null}', Job()),
        (b'{"Parts":null}', Job(parts=None)),
        (b'{"Parts":[]}', Job(parts=())),
        (b'{"Attributes":{"a":null}}', Job(attributes={"a": ""})),
        (b'{"LastUpdated":1795212693520638770}', Job(last_updated=1795212693520638770)),
        (b'{"Ratio":1}', Job(ratio=1.0)),
        (b'{"Id":"a","id":null}', Job(id="a")),
        (b'{"Id":"a","id":"b"}', Job(id="b")),
        (b'{"Id":"\\ud800x"}', Job(id="\ufffdx")),
        (b'{"Id":"\xff"}', Job(id="\ufffd")),
        (b'{"Anything":{"a":[1,"\\ud83d\\ude00"]}}', Job(anything={"a": [1, "\U0001f600"]})),
    ],
)
def test_what_go_would_accept_is_accepted(body: bytes, job: Job) -> None:
    assert decode(Job, body) == job


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"Status":5}', "json: cannot unmarshal number into Go struct field Job.Status of type string"),
        (b'{"Part":{"Name":[]}}', "json: cannot unmarshal array into Go struct field Part.Part.Name of type string"),
        (b'{"LastUpdated":"5"}', "cannot unmarshal string into Go struct field Job.LastUpdated of type int64"),
        (b'{"LastUpdated":1.0}', "cannot unmarshal number 1.0 into"),
        (b'{"LastUpdated":true}', "cannot unmarshal bool into"),
        (b'{"LastUpdated":9223372036854775808}', "cannot unmarshal number 9223372036854775808 into"),
        (b'{"Ready":"true"}', "field Job.Ready of type bool"),
        (b'{"Ready":1}', "field Job.Ready of type bool"),
        (b'{"Ratio":"1"}', "field Job.Ratio of type float64"),
        (b'{"Part":[]}', "cannot unmarshal array into Go struct field Job.Part of type Part"),
        (b'{"Parts":{}}', "cannot unmarshal object into Go struct field Job.Parts of type []Part"),
        (b'{"Parts":[1]}', "field Job.Parts of type Part"),
        (b'{"Attributes":[]}', "field Job.Attributes of type map[string]string"),
        (b'{"Attributes":{"a":1}}', "cannot unmarshal number into Go struct field Job.Attributes of type string"),
        (b'{"Colour":"blue"}', "json: invalid value for Go struct field Job.Colour"),
        (b"[]", "json: cannot unmarshal array into Go value of type Job"),
        (b"", "unexpected end of JSON input"),
        (b'{"Id":"', "unexpected end of JSON input"),
        (b'{"Id":', "unexpected end of JSON input"),
        (b"{}x", "invalid character 'x' after top-level value"),
        (b"nope", "invalid character 'n' looking for beginning of value"),
        (b'{"Ratio":NaN}', "invalid character 'N'"),
        (b'{"Ratio":1e999}', "number 1e999"),
        (b'{"LastUpdated":' + b"9" * 5000 + b"}", "too many digits"),
        (b"[" * 100_000, "exceeded max depth"),
        (b'{"Anything":' + b"[" * 400 + b"]" * 400 + b"}", "recursion limit"),
        (b'\xef\xbb\xbf{"Id":"a"}', "invalid character"),
    ],
)
def test_what_go_would_refuse_is_refused_in_its_words(body: bytes, words: str) -> None:
    with pytest.raises(BadBody) as caught:
        decode(Job, body)

    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": "<b>&\u2028\u2029"}, rb'{"a":"\u003cb\u003e\u0026\u2028\u2029"}'),
        ({"a": [1, 2**63 - 1, None, True]}, b'{"a":[1,9223372036854775807,null,true]}'),
        ("Zürich 細胞", '"Zürich 細胞"'.encode()),
        ("a\ud800b\udc00", '"a\ufffdb\ufffd"'.encode()),
        ("\ud83d\ude00", '"\U0001f600"'.encode()),
        (Part(name="<"), rb'{"Name":"\u003c","Size":0}'),
        (MappingProxyType({"a": 1}), b'{"a":1}'),
    ],
)
def test_text_is_written_as_go_writes_it(value: object, text: bytes) -> None:
    assert dumps(value) == text


def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="float"):
        dumps(float("nan"))
    with pytest.raises(TypeError, match="unsupported type: set"):
        dumps({1})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(json_values)
def test_any_value_survives_writing_and_reading(value: object) -> None:
    written = dumps(value)
    assert json.loads(written) == value
    assert b"\\u0000" in written or loads(written) == value


def test_a_nul_is_read_as_what_is_no_character_and_a_backslash_before_u0000_stays() -> None:
    assert loads(rb'["\u0000a", "\\u0000", "\\\u0000"]') == ["\ufffda", "\\u0000", "\\\ufffd"]


@given(st.text(alphabet=st.characters(categories=["Cs", "Lu", "Sm"])))
def test_any_text_can_be_written(text: str) -> None:
    dumps({"a": text}).decode()


names = st.sampled_from(["Id", "STATUS", "part", "Parts", "lastupdated", "Attributes", "Anything", "Colour"])


@given(st.binary() | st.dictionaries(names, json_values).map(dumps))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with suppress(BadBody):
        decode(Job, body)
