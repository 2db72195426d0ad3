"""The table of cells: one row a cell, as Parquet for programs and as CSV for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.crops import SIDE, Crops
from pipelines.embedding.model import Embedded
from pipelines.nuclei.measure import Table, as_csv

if TYPE_CHECKING:  # loaded when first needed, so that importing this module costs little
    import pyarrow as pa

KEYS = ("job", "image", "cell", "centroid_y", "centroid_x")
SIGNIFICANT = 1 / 65536
"""Vectors are rounded to it in CSV: far below what tells neighbours apart."""


class BadTable(ValueError):
    """A file that is no table of cells; the text names it and says what is missing."""


@dataclass(frozen=True)
class Rows:
    """All that is known of the cells of an image, each array with a row a cell."""

    job: str
    """Name of the job; empty where none is known."""
    image: str
    """Name of the file."""
    features: Table
    """See ``features``; ``id`` numbers the cells as in the label image."""
    embedded: Embedded
    crops: Crops
    places: NDArray[np.float32]
    """On the map, (n, 2); NaN where the model has none."""
    novelty: NDArray[np.float32]
    """Distance to what the map knows, (n,), see ``atlas``; NaN where the model has no map."""
    classes: tuple[str, ...]
    model: Mapping[str, str]
    """``version`` and ``sha256`` of the encoder."""

    def __len__(self) -> int:
        return len(self.features["id"])

    @property
    def named(self) -> list[str]:
        """The most probable class of each cell."""
        return [self.classes[number] for number in self.embedded.probabilities.argmax(axis=1)]


def to_arrow(rows: Rows, with_crops: bool = True) -> "pa.Table":
    """Columns: job, image, cell, the features, class, probability, map_x, map_y, novelty, model_version,
    ``probabilities`` and ``vector`` (lists of float32 of fixed length), ``crop`` (64 x 64 bytes).

    The schema's metadata names ``classes``, and the model's version and digest.
    """
    import pyarrow as pa

    count = len(rows)
    columns: dict[str, Any] = {
        "job": pa.array([rows.job] * count, pa.string()).dictionary_encode(),
        "image": pa.array([rows.image] * count, pa.string()).dictionary_encode(),
        "cell": pa.array(rows.features["id"].astype(np.int32)),
    }
    for name, column in rows.features.items():
        if name != "id":
            columns[name] = pa.array(column.astype(np.float32))
    columns |= {
        "class": pa.array(rows.named, pa.string()).dictionary_encode(),
        "probability": pa.array(rows.embedded.probabilities.max(axis=1, initial=0.0)),
        "map_x": pa.array(rows.places[:, 0]),
        "map_y": pa.array(rows.places[:, 1]),
        "novelty": pa.array(rows.novelty),
        "model_version": pa.array([rows.model["version"]] * count, pa.string()).dictionary_encode(),
        "probabilities": lists(rows.embedded.probabilities),
        "vector": lists(rows.embedded.vectors),
    }
    if with_crops:
        flat = rows.crops.reshape(count, SIDE * SIDE)
        columns["crop"] = pa.array([row.tobytes() for row in flat], pa.binary(SIDE * SIDE))
    metadata = {
        "classes": "\n".join(rows.classes),
        "model_version": rows.model["version"],
        "model_sha256": rows.model["sha256"],
    }
    return pa.table(columns, metadata=metadata)


def lists(array: NDArray[np.float32]) -> "pa.FixedSizeListArray":
    """A column of lists of fixed length, a row a cell."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def write_parquet(path: Path, table: "pa.Table") -> None:
    """Write a table of cells. Vectors are stored as they are: compressing them saves little."""
    from pyarrow import parquet

    parquet.write_table(table, path, compression="zstd", use_dictionary=["job", "image", "class", "model_version"])


def read_parquet(path: Path, columns: list[str] | None = None) -> "pa.Table":
    """Read a table of cells, or some of its columns. Raises ``BadTable`` for anything else, ``OSError`` if it cannot be
    opened."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            missing = [name for name in columns or ("cell", "vector") if name not in file.schema_arrow.names]
            if missing:
                raise BadTable(f"{path} has no column {', '.join(map(repr, missing))}; it is no table of cells")
            return file.read(columns)
    except pa.ArrowInvalid as error:
        raise BadTable(f"{path} is no Parquet file of cells: {str(error).splitlines()[0]}") from error


def vectors_of(table: "pa.Table", column: str = "vector") -> NDArray[np.float32]:
    """A column of lists as one array, float32 (n, width)."""
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table.column(column).chunks]
    width = table.schema.field(column).type.list_size
    flat = np.concatenate(chunks) if chunks else np.zeros(0)
    return flat.reshape(-1, width).astype(np.float32, copy=False)


def crops_of(table: "pa.Table") -> Crops:
    """The crops, uint8 (n, 64, 64)."""
    content = b"".join(table.column("crop").to_pylist())
    return np.frombuffer(content, np.uint8).reshape(-1, SIDE, SIDE)


def csv_of(rows: Rows) -> str:
    """The table for people and spreadsheets: the same without crops, a column for each probability and each number of
    the vector."""
    count = len(rows)
    columns: Table = {
        "job": np.array([_quoted(rows.job)] * count, object),
        "image": np.array([_quoted(rows.image)] * count, object),
        "cell": rows.features["id"].astype(np.int64),
    }
    columns |= {name: column for name, column in rows.features.items() if name != "id"}
    columns |= {
        "class": np.array([_quoted(name) for name in rows.named], object),
        "probability": rows.embedded.probabilities.max(axis=1, initial=0.0),
        "map_x": rows.places[:, 0],
        "map_y": rows.places[:, 1],
        "novelty": rows.novelty,
        "model_version": np.array([_quoted(rows.model["version"])] * count, object),
    }
    for number, name in enumerate(rows.classes):
        columns[f"p_{name}"] = rows.embedded.probabilities[:, number]
    rounded = np.rint(rows.embedded.vectors / SIGNIFICANT) * SIGNIFICANT
    for number in range(rounded.shape[1]):
        columns[f"v{number}"] = rounded[:, number]
    return as_csv(columns)


def _quoted(text: str) -> str:
    """As RFC 4180 has it, and never a formula to a spreadsheet."""
    safe = "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
    return '"' + safe.replace('"', '""') + '"' if any(sign in safe for sign in ',"\r\n') else safe
