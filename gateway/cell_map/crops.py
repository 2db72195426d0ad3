"""Pictures of cells: the crops that their pipeline has cut out, many on one sheet."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from contracts.errors import AppError
from gateway.cell_map.table import CROP, Crops, read_crops

ACROSS = 16
"""Crops in a row of a sheet."""
MOST_KEPT = 64 * 2**20
"""Bytes of crops that are kept at hand."""
NOTHING = np.full((CROP, CROP), 128, np.uint8)
"""Where there is no picture of a cell."""
NOTHING[np.eye(CROP, dtype=bool) | np.eye(CROP, dtype=bool)[::-1]] = 96


class Sheets:
    """Makes sheets. May be used from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, dict[int, Crops]] = OrderedDict()
        self._lock = threading.Lock()

    def sheet(self, wanted: Sequence[tuple[Path | None, int]]) -> tuple[bytes, int]:
        """A PNG of the crops of cells, each told by its table and its label, ``ACROSS`` in a row, each ``CROP`` pixels
        wide and high, in this order; and how many there are no pictures of. Blocks."""
        rows = max(1, -(-len(wanted) // ACROSS))
        sheet, missing = np.zeros((rows * CROP, ACROSS * CROP), np.uint8), 0
        for place, (path, number) in enumerate(wanted):
            crop = self._of(path).get(number) if path is not None else None
            missing += crop is None
            top, left = (at * CROP for at in divmod(place, ACROSS))
            sheet[top : top + CROP, left : left + CROP] = NOTHING if crop is None else crop
        return _png(sheet), missing

    def _of(self, path: Path) -> dict[int, Crops]:
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        try:
            found = read_crops(path)
        except (AppError, OSError):  # removed by retention, or damaged: a cell without a picture
            return {}
        with self._lock:
            self._kept[path] = found
            while sum(map(len, self._kept.values())) * CROP * CROP > MOST_KEPT and len(self._kept) > 1:
                self._kept.popitem(last=False)
        return found


def _png(pixels: Crops) -> bytes:
    from PIL import Image

    made = BytesIO()
    Image.fromarray(pixels).save(made, "PNG", compress_level=1)  # what a page shows once need not be small
    return made.getvalue()
