"""Embed stored cells again, by another encoder: tables in, tables out, and nothing else read than the crops in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.embedding.atlas import Atlas
from pipelines.embedding.model import Encoder
from pipelines.embedding.table import BadTable, crops_of, lists, read_parquet, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

PATTERN = "*_cells.parquet"


@dataclass(frozen=True)
class Done:
    """What became of one table."""

    table: Path
    """Relative to the folder."""
    cells: int
    trouble: str = ""
    """Why it was left out; empty: it is done, or was before."""


def tables(folder: Path) -> list[Path]:
    """All tables of cells below a folder, in order, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob(PATTERN))


def embed_again(folder: Path, out: Path, encoder: Encoder, atlas: Atlas | None) -> Iterator[Done]:
    """Write every table below ``folder`` to the same place below ``out``, its cells embedded by ``encoder``.

    What jobs have delivered is never changed. A table that lies in ``out`` already, by the same encoder, is not made
    again, so an interrupted run goes on where it was. A table without crops, or none at all, is told and left out.
    """
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out}: give another folder, so that the tables as they were delivered stay")
    for name in tables(folder):
        try:
            if (count := _done(out / name, encoder)) is None:
                fresh = embedded_again(read_parquet(folder / name), encoder, atlas)
                _written(out / name, fresh)
                count = fresh.num_rows
        except BadTable as error:
            yield Done(name, 0, str(error))
        else:
            yield Done(name, count)


def embedded_again(table: "pa.Table", encoder: Encoder, atlas: Atlas | None) -> "pa.Table":
    """The table with vectors, classes and places of another encoder; all else as it was. Raises ``BadTable`` if it has
    no crops."""
    import pyarrow as pa

    if "crop" not in table.column_names:
        raise BadTable("has no crops (the task said crops=false): only the images can be embedded again, by a new job")
    made = encoder(crops_of(table))
    best = made.probabilities.argmax(axis=1)
    count = table.num_rows
    places = atlas.places(made.vectors) if atlas else np.full((count, 2), np.nan, np.float32)
    columns = {
        "class": pa.array([encoder.classes[number] for number in best], pa.string()).dictionary_encode(),
        "probability": pa.array(made.probabilities.max(axis=1, initial=0.0)),
        "map_x": pa.array(places[:, 0]),
        "map_y": pa.array(places[:, 1]),
        "novelty": pa.array(atlas.novelty(made.vectors) if atlas else np.full(count, np.nan, np.float32)),
        "model_version": pa.array([encoder.version] * count, pa.string()).dictionary_encode(),
        "probabilities": lists(made.probabilities),
        "vector": lists(made.vectors),
    }
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    told = {"model_version": encoder.version, "model_sha256": encoder.folder.sha256}
    return table.replace_schema_metadata({"classes": "\n".join(encoder.classes), **told})


def novelties(folder: Path, model: str) -> Iterator[list[float]]:
    """How far the cells of each table lie from all that the map knows, of tables that a model (by its digest) has made;
    the tables in the order in which they were written."""
    for name in sorted(tables(folder), key=lambda name: (folder / name).stat().st_mtime_ns):
        table = read_parquet(folder / name, ["novelty"])
        if made_by(table) == model:
            yield table.column("novelty").to_pylist()


def made_by(table: "pa.Table") -> str:
    """The digest of the encoder that has made a table."""
    return str((table.schema.metadata or {}).get(b"model_sha256", b"").decode())


def _done(path: Path, encoder: Encoder) -> int | None:
    """How many cells a finished table has; None where there is none of this encoder."""
    if not path.exists():
        return None
    table = read_parquet(path, ["cell"])
    return table.num_rows if made_by(table) == encoder.folder.sha256 else None


def _written(path: Path, table: "pa.Table") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".part")
    write_parquet(fresh, table)
    fresh.replace(path)
