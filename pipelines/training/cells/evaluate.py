"""Judge an encoder with the very code that serves it: classes, neighbours, retrieval."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.crops import Crops
from pipelines.embedding.model import Embedded, Encoder
from pipelines.embedding.neighbours import average_precision, nearest, vote
from pipelines.training.cells.data import CLASSES, SMEARS, Cells

RANKS = 10
APART = "elliptocyte"
"""Its pictures come from another acquisition, so that more than its shape may give it away: told by itself."""
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """The cells of a split, embedded."""

    classes: NDArray[np.int64]
    images: NDArray[np.int64]
    embedded: Embedded


def embedded(cells: Cells, encoder: Encoder, split: str) -> Judged:
    """Embed a split as the pipeline does."""
    mine = cells.of(split)
    return Judged(mine.classes, mine.images, encoder(mine.middles()))


def evaluate(cells: Cells, encoder: Encoder, split: str = "test", base: Judged | None = None) -> Report:
    """Figures of an encoder on a split.

    ``accuracy`` of the named classes, ``knn_accuracy`` of a vote of the ten nearest cells of the training split, and
    of searches among cells of *other images of the same split*, which no training has seen: ``map_at_10`` and
    ``same_class_at``, the share of neighbours of the same class at each rank. For all classes, for the shapes of red
    cells (the hard part: a prediction of any other class is wrong, too), for these without the class that stands
    apart, and for each class. ``base``: the training split, where it is embedded already.
    """
    base, mine = base or embedded(cells, encoder, "train"), embedded(cells, encoder, split)
    shapes = np.isin(mine.classes, [CLASSES.index(name) for name in SMEARS])
    apart = mine.classes == CLASSES.index(APART)
    right = mine.embedded.probabilities.argmax(axis=1) == mine.classes
    voted = vote(nearest(mine.embedded.vectors, base.embedded.vectors, RANKS), base.classes, len(CLASSES))
    known, same, there = voted == mine.classes, retrieved(mine), _there(mine)
    precision = average_precision(same, there)
    alone = encoder(stretched(cells.of(split).middles())).probabilities.argmax(axis=1) == mine.classes

    def figures(some: NDArray[np.bool_]) -> dict[str, Any]:
        sought = some & (there > 0)  # what is in no other image cannot be found there
        return {
            "cells": int(some.sum()),
            "accuracy": _mean(right[some]),
            "knn_accuracy": _mean(known[some]),
            "map_at_10": _mean(precision[sought]),
            "same_class_at": [_mean(same[sought, rank]) for rank in range(RANKS)],
            "accuracy_by_the_crop_alone": _mean(alone[some]),
        }

    by_class = {name: figures(mine.classes == number) for number, name in enumerate(CLASSES)}
    by_class = {name: one for name, one in by_class.items() if one["cells"]}
    return {
        "split": split,
        "all": figures(np.ones(len(right), bool)),
        "red cell shapes": figures(shapes),
        f"red cell shapes without {APART}": figures(shapes & ~apart),
        "balanced_accuracy": round(float(np.mean([one["accuracy"] for one in by_class.values()])), 4),
        "classes": by_class,
    }


def retrieved(mine: Judged) -> NDArray[np.bool_]:
    """Whether the neighbour at each rank is of the cell's own class; neighbours of its own image are not looked at."""
    found = nearest(mine.embedded.vectors, mine.embedded.vectors, RANKS, (mine.images, mine.images))
    same: NDArray[np.bool_] = mine.classes[found] == mine.classes[:, None]
    # Where other images have fewer than ten cells, those of the own come last.
    same &= mine.images[found] != mine.images[:, None]
    return same


def _there(mine: Judged) -> NDArray[np.int64]:
    """How many cells of its class in other images each cell has."""
    of_class = np.bincount(mine.classes, minlength=len(CLASSES))[mine.classes]
    pairs = mine.images * len(CLASSES) + mine.classes
    _, row, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    there: NDArray[np.int64] = of_class - counts[row]
    return there


def stretched(crops: Crops) -> Crops:
    """Crops whose brightness is their own alone, as in files that show one cell each."""
    low, high = np.percentile(crops, (1, 99), axis=(1, 2))
    span = np.maximum(high - low, 8)[:, None, None]
    result: Crops = np.clip((crops - low[:, None, None]) / span * 255, 0, 255).astype(np.uint8)
    return result


def _mean(values: NDArray[Any]) -> float:
    return round(float(values.mean()), 4) if len(values) else 0.0
