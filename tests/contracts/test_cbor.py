"""CBOR: the examples of its standard, what comes back, and what is no CBOR."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import cbor
from contracts.edgex import BadMessage

# RFC 8949, appendix A.
EXAMPLES = [
    ("00", 0),
    ("1903e8", 1000),
    ("1bffffffffffffffff", 18446744073709551615),
    ("3903e7", -1000),
    ("f93c00", 1.0),
    ("fa47c35000", 100000.0),
    ("fb3ff199999999999a", 1.1),
    ("f4", False),
    ("f6", None),
    ("62c3bc", "\u00fc"),
    ("83010203", [1, 2, 3]),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
    ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(("coded", "value"), EXAMPLES)
def test_the_examples_of_the_standard_are_read(coded: str, value: object) -> None:
    assert cbor.loads(bytes.fromhex(coded)) == value


@given(PLAIN)
def test_what_is_written_is_read_again(value: object) -> None:
    assert cbor.loads(cbor.dumps(value)) == value


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_value_or_refused(data: bytes) -> None:
    with suppress(BadMessage):
        cbor.dumps(cbor.loads(data))


@pytest.mark.parametrize(
    ("coded", "why"),
    [
        ("", "premature end"),
        ("5bffffffffffffffff", "premature end"),
        ("9bffffffffffffffff", "premature end"),
        ("0000", "the value ends at byte 1 of 2"),
        ("ff", "break code"),
        ("82ff01", "break code"),
        ("a10102", "map key must be a text string"),
        ("a2616101616102", "Duplicate map key"),
        ("bf6161ff", "missing value for key"),
        ("62ff00", "error decoding text string"),
        ("5f41ff", "premature end"),
        ("1c", "unknown unsigned integer subtype"),
        ("81" * 40 + "00", r"depth \(16\) exceeded"),
        ("c1" * 2000, r"depth \(16\) exceeded"),
        ("82d81c80d81d00", "semantic tag 28"),
    ],
)
def test_what_is_no_cbor_is_refused_with_the_reason(coded: str, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        cbor.loads(bytes.fromhex(coded))


def test_what_has_no_form_is_not_written() -> None:
    assert math.isnan(cbor.loads(cbor.dumps(math.nan)))
    with pytest.raises(BadMessage, match="CBOR"):
        cbor.dumps(object())
