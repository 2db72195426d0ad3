"""A new map, and the way from one encoder to the next, from cells that jobs have left in tables."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.again import made_by, tables
from pipelines.embedding.alignment import jump
from pipelines.embedding.atlas import Atlas
from pipelines.embedding.crops import SIDE, Crops
from pipelines.embedding.model import Encoder
from pipelines.embedding.neighbours import Vectors
from pipelines.embedding.table import crops_of, read_parquet, vectors_of
from pipelines.embedding.translation import arrays, best, recall
from pipelines.nuclei.model import ModelFolder
from pipelines.training.cells.atlas import add_map, distilled, faithfulness, refitted
from pipelines.training.cells.export import described
from pipelines.training.cells.translate import ALL, study_plain, study_query

LEAST = 100
"""Fewer new cells make no map."""


def refit(folder: Path, model: ModelFolder, out: Path, most: int = 20_000, seed: int = 7) -> dict[str, Any]:
    """Write the encoder of ``model`` to ``out`` with a map of the old reference set and of the cells in the tables.

    A tenth of the new cells is kept out of the map: the limit of novelty and the faithfulness are measured on it. Says
    besides how far the old reference set has ``jumped``, over the spread of the map. Raises ``ValueError`` where there
    are too few cells of this encoder.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: give the new version a folder of its own")
    return refit_with(stored_vectors(folder, model, most, seed), model, out, seed)


def refit_with(vectors: Vectors, model: ModelFolder, out: Path, seed: int = 7) -> dict[str, Any]:
    """The same with these vectors of the encoder, in random order."""
    if len(vectors) < LEAST:
        raise ValueError(f"{len(vectors)} cells; a map needs {LEAST}")
    apart = max(LEAST // 2, len(vectors) // 10)
    old = Atlas(model)
    fresh = refitted(vectors[apart:], old, seed)
    projector = distilled(fresh, seed=seed)
    figures = faithfulness(fresh, projector, vectors[:apart])
    figures["jumped"] = round(jump(fresh.places[: len(old.reference)], old.reference_places), 4)
    shutil.copytree(model.path, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("map", "CARD.md"))
    metadata = json.loads((out / "metadata.json").read_text(encoding="utf-8"))
    described(out, metadata | {"version": out.name, "map_of": str(model.metadata["version"])})
    add_map(out, fresh, projector, vectors[:apart], figures)
    return figures


def stored_vectors(folder: Path, model: ModelFolder, most: int, seed: int) -> Vectors:
    """Vectors of this very encoder in the tables below a folder, at random and ``most`` at most."""
    found = []
    for name in tables(folder):
        table = read_parquet(folder / name, ["cell", "vector"])
        if made_by(table) == model.sha256:
            found.append(vectors_of(table))
    vectors = np.concatenate(found) if found else np.zeros((0, 1), np.float32)
    if len(vectors) < LEAST:
        version = model.metadata["version"]
        raise ValueError(
            f"{folder}: {len(vectors)} cells by version {version} of the encoder; a map needs {LEAST}: process more "
            f"images, or embed the old ones again (cytobus cells re-embed)"
        )
    chosen: Vectors = vectors[np.random.default_rng(seed).permutation(len(vectors))[:most]]
    return chosen


def learn_translation(
    folder: Path, old: ModelFolder, new: ModelFolder, out: Path, most: int = 10_000, seed: int = 7
) -> dict[str, Any]:
    """Embed stored crops by both encoders, choose a translation, and write it to ``out``; its figures.

    Six tenths of the cells are anchors, two choose the kind, two give the figures.
    """
    crops = stored_crops(folder, most, seed)
    pair = Encoder(old)(crops).vectors, Encoder(new)(crops).vectors
    first, second = round(0.6 * len(crops)), round(0.8 * len(crops))
    anchors, held_out, tested = (
        (pair[0][part], pair[1][part]) for part in (slice(first), slice(first, second), slice(second, None))
    )
    chosen = best(ALL, anchors, held_out)
    figures = study_plain(chosen, tested) | {"kind": chosen.kind, "anchors": first}
    figures["kept_as_query"] = study_query(chosen, tested)
    figures["recall_when_chosen"] = round(recall(chosen, *held_out), 4)
    out.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays(chosen)):
        np.save(out / f"{number}.npy", array)
    described(
        out,
        {
            "kind": chosen.kind,
            "from": {"version": str(old.metadata["version"]), "sha256": old.sha256},
            "to": {"version": str(new.metadata["version"]), "sha256": new.sha256},
            "figures": figures,
        },
    )
    return figures


def stored_crops(folder: Path, most: int, seed: int) -> Crops:
    """Crops in the tables below a folder, at random and ``most`` at most. Raises ``ValueError`` where there are fewer
    than 500."""
    found = [crops_of(read_parquet(folder / name, ["crop"])) for name in tables(folder) if _has_crops(folder / name)]
    crops: NDArray[np.uint8] = np.concatenate(found) if found else np.zeros((0, SIDE, SIDE), np.uint8)
    if len(crops) < 500:
        raise ValueError(f"{folder}: {len(crops)} crops of cells; 500 are needed to learn the way between two encoders")
    return crops[np.random.default_rng(seed).permutation(len(crops))[:most]]


def _has_crops(path: Path) -> bool:
    from pyarrow import parquet

    return "crop" in parquet.read_schema(path).names
