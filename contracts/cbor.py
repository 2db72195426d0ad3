"""CBOR (RFC 8949) as EdgeX writes events with binary readings; by cbor2, its errors in our words."""

import io
from typing import Any, NoReturn

import cbor2

from contracts.edgex_event import BadMessage

DEEPEST = 16
"""Levels of lists and maps; events have five."""

SHARING = (25, 28, 29, 256)
"""Tags by which values stand in several places: a few bytes of them could be read for hours."""


def _refused(_decoder: cbor2.CBORDecoder, *_: object) -> NoReturn:
    raise ValueError("values that are shared are not taken")


_DECODERS: Any = dict.fromkeys(SHARING, _refused)


def loads(data: bytes | memoryview) -> Any:
    """One value. Raises ``BadMessage`` for anything else, also where keys are no texts, or stand there twice."""
    source = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            source,
            read_size=1,  # else it is not known where the value ends
            max_depth=DEEPEST,
            semantic_decoders=_DECODERS,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise BadMessage(f"CBOR: {error}") from None
    if source.tell() != len(data):
        raise BadMessage(f"CBOR: the value ends at byte {source.tell()} of {len(data)}")
    return value


def dumps(value: Any) -> bytes:
    """A value as CBOR. Raises ``BadMessage`` for what has no form in it."""
    try:
        return cbor2.dumps(value)
    except (cbor2.CBOREncodeError, ValueError, OverflowError, RecursionError) as error:
        raise BadMessage(f"CBOR: {error}") from None
