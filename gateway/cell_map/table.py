"""A pipeline's table of cells (Parquet), read as one that anybody may have written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from contracts.errors import Conflict

if TYPE_CHECKING:  # loaded when first needed
    from pyarrow import parquet

SUFFIX = "_cells.parquet"
MOST_CELLS = 200_000
"""In one table."""
WIDEST = 2048
"""Numbers of a vector."""
MOST_FEATURES = 100
CROP = 64
"""Pixels of each side of a crop."""
NEEDED = ("cell", "vector", "class", "map_x", "map_y", "model_version")
TOLD = {*NEEDED, "job", "image", "probabilities", "crop"}
"""Columns that are no features."""
Floats = npt.NDArray[np.float32]
Crops = npt.NDArray[np.uint8]


class BadTable(Conflict):
    """A file that cannot be put on the map. The text names it, what is wrong, and what to do."""


@dataclass(frozen=True)
class Table:
    """The cells of an image. All arrays have a row a cell; ``features`` (features, cells), in the order of their
    ``names``."""

    model: str
    numbers: npt.NDArray[np.int32]
    vectors: Floats
    classes: tuple[str, ...]
    codes: npt.NDArray[np.uint16]
    x: Floats
    y: Floats
    names: tuple[str, ...]
    features: Floats


def read_table(path: Path) -> Table | None:
    """What lies in a file; None for one without cells. Raises ``BadTable``, ``OSError`` where the disk does not let us
    read. Blocks."""
    with _opened(path) as file:
        schema = file.schema_arrow
        names = [name for name in schema.names if name not in TOLD and _is_number(schema.field(name).type)]
        _check(path, file, names)
        count = file.metadata.num_rows
        if not count:
            return None
        table = file.read([*NEEDED, *names])
        models = set(table.column("model_version").to_pylist())
        if len(models) != 1 or not (model := str(models.pop() or "")):
            raise BadTable(f"{path.name}: its cells have vectors of several models, or of none: make it again")
        width = schema.field("vector").type.list_size
        vectors = _numbers(table.column("vector").combine_chunks().flatten())
        if len(vectors) != count * width:
            raise BadTable(f"{path.name}: some cells have no vector: make it again, by a new job")
        numbers = table.column("cell").to_numpy().astype(np.float64)
        if not np.isfinite(numbers).all() or (numbers < 0).any() or (numbers >= 2**31).any():
            raise BadTable(f"{path.name}: the column 'cell' must hold labels, whole numbers from 0")
        if len(np.unique(numbers)) != count:
            raise BadTable(f"{path.name}: two cells have the same label: make it again, by a new job")
        classes, codes = np.unique(
            np.array([str(one or "")[:100] for one in table.column("class").to_pylist()]), return_inverse=True
        )
        return Table(
            model=model,
            numbers=numbers.astype(np.int32),
            vectors=vectors.reshape(count, width),
            classes=tuple(str(one) for one in classes),
            codes=codes.astype(np.uint16),
            x=_numbers(table.column("map_x")),
            y=_numbers(table.column("map_y")),
            names=tuple(names),
            features=np.stack([_numbers(table.column(name)) for name in names])
            if names
            else np.zeros((0, count), np.float32),
        )


def read_crops(path: Path) -> dict[int, Crops]:
    """The crops, (64, 64) grey each, by the cells' labels; none where the job was told not to keep them. Raises as
    ``read_table``. Blocks."""
    with _opened(path) as file:
        if "crop" not in file.schema_arrow.names or "cell" not in file.schema_arrow.names:
            return {}
        _check(path, file, [])
        table = file.read(["cell", "crop"])
        found: dict[int, Crops] = {}
        for number, content in zip(table.column("cell").to_pylist(), table.column("crop").to_pylist(), strict=True):
            if number is not None and isinstance(content, bytes) and len(content) == CROP * CROP:
                found[int(number)] = np.frombuffer(content, np.uint8).reshape(CROP, CROP)
        return found


@contextmanager
def _opened(path: Path) -> Iterator["parquet.ParquetFile"]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise BadTable("tables of cells cannot be read here: install the extra 'cells'") from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise BadTable(f"{path.name} is not there any more: process the image again") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise BadTable(
            f"{path.name} is no Parquet table of cells, or damaged ({why}): process the image again"
        ) from None


def _check(path: Path, file: "parquet.ParquetFile", names: list[str]) -> None:
    """Raises ``BadTable`` before much is read."""
    import pyarrow as pa

    schema, rows = file.schema_arrow, file.metadata.num_rows
    if missing := [name for name in NEEDED if name not in schema.names]:
        raise BadTable(f"{path.name} has no column {', '.join(map(repr, missing))}: it is no table of cells")
    vector = schema.field("vector").type
    if (
        not pa.types.is_fixed_size_list(vector)
        or not pa.types.is_floating(vector.value_type)
        or not 0 < vector.list_size <= WIDEST
    ):
        raise BadTable(f"{path.name}: the column 'vector' must hold lists of 1 to {WIDEST} numbers, all of one length")
    for name in ("cell", "map_x", "map_y"):
        if not _is_number(schema.field(name).type):
            raise BadTable(f"{path.name}: the column {name!r} must hold numbers")
    if rows > MOST_CELLS or len(names) > MOST_FEATURES:
        most = f"{MOST_CELLS} cells and {MOST_FEATURES} features"
        raise BadTable(
            f"{path.name} has {rows} cells and {len(names)} features; one table may have {most}: cut the image"
        )


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _numbers(column: Any) -> Floats:
    """As float32; what is missing is NaN."""
    with np.errstate(over="ignore"):
        found: Floats = np.asarray(
            column.to_numpy(zero_copy_only=False)
            if hasattr(column, "type") and not hasattr(column, "chunks")
            else column.to_numpy(),
            np.float64,
        ).astype(np.float32)
    return found
