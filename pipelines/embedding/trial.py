"""Whether an encoder can take the place of the one that ships: it is read, its ends are looked at, it is run once."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.backends.errors import BackendError, BadOutput, Mismatch
from pipelines.embedding.atlas import FILES as MAP_FILES
from pipelines.embedding.atlas import Atlas, has_map
from pipelines.embedding.crops import SIDE
from pipelines.embedding.model import FILES, Embedded, Encoder, shipped
from pipelines.nuclei.model import BrokenModel, ModelFolder
from pipelines.plugin import BadInput

__all__ = ["card_of", "shipped", "tried"]

NEAR = 1e-2
"""So far lengths and sums may be from 1 by rounding."""
FIGURES = ("cells", "accuracy", "knn_accuracy", "map_at_10")
TRIALS = 9
"""Crops: a batch of eight and one alone, which must give the same."""


def tried(path: Path) -> float:
    """Seconds of one crop. Raises ``BadInput`` naming what is wrong with the encoder, or with its map."""
    folder = ModelFolder(path)
    try:
        _check_names(folder)
        encoder = Encoder(folder)
        seconds, embedded = _run(encoder)
        _judge(embedded)
        if has_map(folder):
            _try_map(folder, embedded)
    except BrokenModel as error:
        raise BadInput(f"it is not whole: {error}") from None
    except Mismatch as error:
        raise BadInput(f"it is no encoder of cells: {error}") from None
    except BadOutput as error:
        raise BadInput(f"its numbers are not finite: the weights are damaged or were never trained ({error})") from None
    except (BackendError, RuntimeError) as error:  # the latter is OpenVINO's
        words = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BadInput(f"OpenVINO cannot run it: {words[:300]}") from None
    return seconds


def _check_names(folder: ModelFolder) -> None:
    named = folder.metadata.get("files", {})
    for name in (*FILES, *(MAP_FILES if has_map(folder) else ())):
        if name not in named:
            raise BadInput(f"metadata.json does not name {name}; export the encoder again")


def _run(encoder: Encoder) -> tuple[float, Embedded]:
    crops = np.random.default_rng(1).integers(0, 256, (TRIALS, SIDE, SIDE), np.uint8)
    embedded = encoder(crops)
    begun = time.perf_counter()
    alone = encoder(crops[:1])
    seconds = time.perf_counter() - begun
    apart = float(np.abs(alone.vectors - embedded.vectors[:1]).max())
    if apart > NEAR:
        raise BadInput(f"a crop has another vector alone than in a batch (by {apart:.3g}): batches must not mix")
    return seconds, embedded


def _judge(embedded: Embedded) -> None:
    lengths = np.linalg.norm(embedded.vectors, axis=1)
    if np.abs(lengths - 1).max() > NEAR:
        raise BadInput(f"vectors are {lengths.min():.3g} to {lengths.max():.3g} long; they must be of length 1")
    sums, least = embedded.probabilities.sum(axis=1), float(embedded.probabilities.min())
    if np.abs(sums - 1).max() > NEAR or least < -NEAR:
        raise BadInput(f"probabilities add up to {sums.min():.3g} to {sums.max():.3g} (least {least:.3g}), not to 1")


def _try_map(folder: ModelFolder, embedded: Embedded) -> None:
    atlas = Atlas(folder)
    atlas.places(embedded.vectors)
    atlas.novelty(embedded.vectors)


def card_of(folder: ModelFolder) -> dict[str, Any]:
    """What a page shows of an encoder: of its metrics those that matter."""
    said = folder.metadata
    short = {name: said[name] for name in ("network", "objective", "parameters", "exported") if name in said}
    groups = said.get("metrics", {}).get("test", {})
    short["metrics"] = {
        group: {name: one[name] for name in FIGURES if name in one}
        for group, one in groups.items()
        if isinstance(one, dict)
    }
    if has_map(folder):
        short["map"] = said["map"].get("faithfulness", {})
    return short
