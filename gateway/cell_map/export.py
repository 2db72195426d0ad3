"""Tables of selected cells, for programs and people."""

import csv
from collections.abc import Mapping
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import Conflict

Columns = Mapping[str, npt.NDArray[Any]]
RISKY = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is a formula to a spreadsheet."""


def as_csv(columns: Columns) -> bytes:
    """A line of names, a line a cell; what is not known is empty. Blocks."""
    made = StringIO(newline="")
    lines = csv.writer(made, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*(map(_said, column.tolist()) for column in columns.values()), strict=True))
    return made.getvalue().encode()


def _said(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else f"{value:.7g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(RISKY) else value


def as_parquet(columns: Columns) -> bytes:
    """The same as Parquet. Raises ``Conflict`` where it cannot be written here. Blocks."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise Conflict("Parquet cannot be written here: install the extra 'cells', or ask for csv") from None
    made = BytesIO()
    arrays = {
        name: pa.array(column.tolist() if column.dtype == np.object_ else column) for name, column in columns.items()
    }
    parquet.write_table(pa.table(arrays), made, compression="zstd")
    return made.getvalue()
