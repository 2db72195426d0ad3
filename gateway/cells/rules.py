"""What is said of cells, as pure functions: how it is packed, and which of it a filter wants."""

import base64
import binascii
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import BadRequest

PACKED = np.dtype([("number", "<i4"), ("code", "<u2"), ("x", "<f4"), ("y", "<f4")])
"""Of each cell: its number in the image (``GONE``: it was deleted), the code of its class, its centre in pixels."""
GONE = -1
MOST_CLASSES = 2**16
LONGEST = 2048
"""Numbers of a vector at most."""
Packed = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def pack(cells: Packed) -> str:
    """As it is kept in the database; backups hold text alone."""
    return base64.b64encode(cells.tobytes()).decode()


def unpack(text: str) -> Packed:
    """The inverse, to be changed at will."""
    return np.frombuffer(base64.b64decode(text), PACKED).copy()


def normalised(vectors: Floats) -> Floats:
    """Each of length one, float32. Raises ``BadRequest`` for what has no direction, naming the first such."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.nonzero(~np.isfinite(lengths) | (lengths < 1e-12))[0]
    if len(bad):
        raise BadRequest(f"vector {bad[0]} has no direction: its numbers must be finite, and not all zero")
    found: Floats = (vectors / lengths[:, None]).astype(np.float32)
    return found


def from_text(text: str, what: str) -> Floats:
    """Numbers (n) out of base64 (or base64url) of little-endian float32. Raises ``BadRequest``."""
    try:
        content = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
        return np.frombuffer(content, "<f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{what} must be base64 of float32 numbers, the lowest byte first: {error}") from None


def shaped(numbers: Floats, rows: int, what: str) -> Floats:
    """As (rows, dimension). Raises ``BadRequest`` where that does not come out even."""
    if not rows or not len(numbers) or len(numbers) % rows or len(numbers) // rows > LONGEST:
        raise BadRequest(f"{what}: {len(numbers)} numbers are no {rows} vectors of one length, 1 to {LONGEST}")
    return numbers.reshape(rows, -1)
