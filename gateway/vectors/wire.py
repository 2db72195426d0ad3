"""Arrays as bytes between the processes of one gateway: a line of JSON that says what follows, then the arrays."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import BadRequest

MEDIA = "application/x-cytobus-arrays"
TYPES = {"<i8", "<f4", "<f2", "|u1", "|b1"}
MOST = 2**31
"""Bytes of an array."""
Arrays = Mapping[str, npt.NDArray[Any]]


def packed(arrays: Arrays, **said: object) -> bytes:
    """Arrays by name, and plain values. Bits (uint8) are compressed: those of ranges are mostly alike."""
    bodies, head = [], []
    for name, array in arrays.items():
        body = np.ascontiguousarray(array).tobytes()
        body = zlib.compress(body, 1) if array.dtype == np.uint8 else body
        head.append([name, array.dtype.str, list(array.shape), len(body)])
        bodies.append(body)
    return json.dumps({"said": said, "arrays": head}).encode() + b"\n" + b"".join(bodies)


def unpacked(content: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays and values. Raises ``BadRequest`` for anything else."""
    head, found, body = content.partition(b"\n")
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        told = json.loads(head)
        at = 0
        for name, kind, shape, length in told["arrays"]:
            arrays[str(name)] = _array(kind, shape, body[at : at + length])
            at += length
        if not found or at != len(body):
            raise ValueError(f"{len(body)} bytes follow, not {at}")
        return arrays, dict(told["said"])
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise BadRequest(f"these are no arrays as our services send them: {error}") from None


def _array(kind: str, shape: list[int], body: bytes) -> npt.NDArray[Any]:
    if kind not in TYPES or any(int(side) < 0 for side in shape):
        raise ValueError(f"an array of {kind!r}, {shape}")
    size = int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize
    if size > MOST:
        raise ValueError(f"an array of {size} bytes is too large")
    if kind == "|u1":
        opened = zlib.decompressobj()
        body = opened.decompress(body, size + 1)
    if len(body) != size:
        raise ValueError(f"an array of {shape} has {len(body)} bytes, not {size}")
    return np.frombuffer(body, kind).reshape(shape).copy()
