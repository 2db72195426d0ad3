"""Judge the blood-cell classifier with the code that serves it; no training library is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
from numpy.typing import NDArray

from pipelines.backends.tensors import ModelRef
from pipelines.bloodcells.classes import APART, CLASSES, RED
from pipelines.bloodcells.classifier import BloodCells
from pipelines.model_folder import ModelFolder
from pipelines.training.bloodcells.cut import ANY_RED, centres, crops

Report = Mapping[str, Any]
"""Plain values: ``split`` and, under ``files``, for ``fp32`` and ``int8`` the figures of ``figures``."""
BATCH = 32


def evaluate(data: Path, split: str, folder: ModelFolder | None = None, kept: Path | None = None) -> Report:
    """Figures of the shipped model (or that in ``folder``) on a split. Raises ``ValueError`` and ``BrokenModel``."""
    cells = crops(data, split, kept)
    frames = centres(cells.pixels)
    judged = {}
    for files in ("fp32", "int8"):
        probabilities = probabilities_of(BloodCells(folder, files), frames)
        judged[files] = figures(probabilities, cells.classes)
    return {"pipeline": "bloodcells", "split": split, "cells": len(cells.classes), "files": judged}


def probabilities_of(model: BloodCells, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of each class (N, 15), by OpenVINO in float32."""
    _, network, weights = model.source(ModelRef(model.name))
    core = ov.Core()
    compiled = core.compile_model(core.read_model(network, weights), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    parts = [
        np.array(compiled([model.prepare(frames[start : start + BATCH])])[0]) for start in range(0, len(frames), BATCH)
    ]
    return np.concatenate(parts)


def figures(probabilities: NDArray[np.float32], classes: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy and F1, of all cells whose class is known and without those told apart; and by class.

    ``red_told_red``: of cells of which only that is known, the share that is given some red class.
    """
    found, known = probabilities.argmax(axis=1), classes != ANY_RED
    apart = CLASSES.index(APART)
    here = [number for number in range(len(CLASSES)) if (classes == number).any()]
    by_class = {CLASSES[number]: _of_class(found[known], classes[known], number) for number in here}
    f1 = {name: one["f1"] for name, one in by_class.items()}
    others = known & (classes != apart)
    red = found[~known] < len(RED)
    return {
        "accuracy": float((found[known] == classes[known]).mean()),
        "accuracy_without_elliptocytes": float((found[others] == classes[others]).mean()),
        "macro_f1": float(np.mean(list(f1.values()))),
        "macro_f1_without_elliptocytes": float(np.mean([value for name, value in f1.items() if name != APART])),
        "red_told_red": float(red.mean()) if len(red) else None,
        "classes": by_class,
    }


def _of_class(found: NDArray[np.int64], classes: NDArray[np.int64], number: int) -> dict[str, float]:
    right = int(((found == number) & (classes == number)).sum())
    said, there = int((found == number).sum()), int((classes == number).sum())
    precision, recall = right / said if said else 0.0, right / there
    return {"cells": there, "precision": precision, "recall": recall, "f1": 2 * right / (said + there)}


def rounded(value: Any) -> Any:
    """The same with four places."""
    if isinstance(value, Mapping):
        return {name: rounded(part) for name, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value
