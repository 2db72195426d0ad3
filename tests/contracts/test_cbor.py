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
    ("f7", None),
    ("c11a514b67b0", 1363896240),
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
        ("", "1 bytes are announced"),
        ("5bffffffffffffffff", "are announced at byte 9, 0 are left"),
        ("9bffffffffffffffff", "1 bytes are announced"),
        ("0000", "the value ends at byte 1 of 2"),
        ("ff", "the value ends"),
        ("82ff01", "ends too early"),
        ("a10102", "is no text"),
        ("bf6161ff", "is no text"),
        ("62ff00", "is not UTF-8"),
        ("5f41ff", "does not say its length"),
        ("1c", "announces no length"),
        ("f8ff", "nobody writes"),
        ("81" * 40 + "00", "more than 16 deep"),
        ("c1" * 2000, "more than 16 deep"),
    ],
)
def test_what_is_no_cbor_is_refused_with_the_place(coded: str, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        cbor.loads(bytes.fromhex(coded))


def test_what_has_no_form_is_not_written() -> None:
    assert math.isnan(cbor.loads(cbor.dumps(math.nan)))
    for value in (object(), 2**64):
        with pytest.raises(BadMessage, match="CBOR"):
            cbor.dumps(value)
