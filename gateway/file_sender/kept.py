"""Keeps large decoded parts of images for a while: what is packed in one piece is unpacked once, not for each tile."""

import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Part = tuple[Path, int, int]
"""A file, its time of change (ns), and where in it the part begins."""
LARGE = 4_000_000
"""Samples from which on a part is kept: smaller ones are decoded faster than a page asks for the next tile."""
MOST_BYTES = 1 << 30
"""Of all that is kept, but for the last part, which stays whatever it takes."""


class KeptParts:
    """The parts that were used last. They lie in files without a name, which end with the process, and are mapped into
    it: the system may drop them from memory. Where there is no room for files, they are kept in memory."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._parts: OrderedDict[Part, Pixels] = OrderedDict()

    def get(self, key: Part, samples: int, decode: Callable[[], Pixels | None]) -> Pixels | None:
        """A part of so many samples; None for a hole."""
        if samples < LARGE:
            return decode()
        if key in self._parts:
            self._parts.move_to_end(key)
            return self._parts[key]
        part = decode()
        if part is not None:
            part = self._parts[key] = _mapped(part)
            while len(self._parts) > 1 and sum(one.nbytes for one in self._parts.values()) > self._most:
                self._parts.popitem(last=False)
        return part


def _mapped(part: Pixels) -> Pixels:
    try:
        with tempfile.TemporaryFile(prefix="cytobus-") as file:
            file.write(np.ascontiguousarray(part).data)  # written, not mapped: a full disk is an error here
            file.flush()
            return np.memmap(file, part.dtype, "r", 0, part.shape)
    except OSError:
        return part
