"""Whether a model can take the place of the one that ships: it is read, its ends are looked at, it is run once."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.backends.errors import BackendError, BadOutput, Mismatch
from pipelines.model_folder import BrokenModel, ModelFolder
from pipelines.nuclei.model import PRECISIONS, Model
from pipelines.plugin import BadInput

CHANNELS = 3
SIDES = ((256, 256), (64, 192))
"""Of the planes on which it is tried; the first is timed."""
NEAR = 1e-3
"""So far maps may lie outside of 0..1 by rounding."""
GROUPS = ("fluo", "histology", "brightfield_grey")
FIGURES = ("f1", "count_error", "images")


def tried(path: Path) -> float:
    """Seconds of one inference on 256 x 256 pixels in FP32. Raises ``BadInput`` naming what is wrong with the model."""
    folder = ModelFolder(path)
    _check_names(folder)
    seconds = []
    for precision in PRECISIONS:
        try:
            model = Model(folder, precision)
            seconds.append(_run(model, precision))
        except BrokenModel as error:
            raise BadInput(f"{precision} is not whole: {error}") from None
        except Mismatch as error:
            raise BadInput(f"{precision}/model.xml is none for this pipeline: {error}") from None
        except BadOutput:
            raise BadInput(
                f"{precision}: the maps are not finite numbers: the weights are damaged or were never trained"
            ) from None
        except (BackendError, RuntimeError) as error:  # the latter is OpenVINO's
            words = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise BadInput(f"OpenVINO cannot run {precision}/model.xml: {words[:300]}") from None
    return seconds[0]


def _check_names(folder: ModelFolder) -> None:
    for precision in PRECISIONS:
        for name in (f"{precision}/model.xml", f"{precision}/model.bin"):
            if name not in folder.metadata["files"]:
                both = " and ".join(PRECISIONS)
                raise BadInput(f"metadata.json does not name {name}: {both} are needed, as tasks choose between them")


def _run(model: Model, precision: str) -> float:
    chance = np.random.default_rng(1)
    for sides in reversed(SIDES):
        plane = chance.random(sides, np.float32)
        maps = model(plane)
        begun = time.perf_counter()
        maps = model(plane)
        seconds = time.perf_counter() - begun
        if maps.shape != (CHANNELS, *sides):
            raise BadInput(f"{precision}: {sides} pixels gave maps of {maps.shape}; {(CHANNELS, *sides)} are needed")
        if maps.min() < -NEAR or maps.max() > 1 + NEAR:
            low, high = float(maps.min()), float(maps.max())
            raise BadInput(f"{precision}: the maps go from {low:.3g} to {high:.3g}; they must lie in 0..1")
    return seconds


def card_of(folder: ModelFolder) -> dict[str, Any]:
    """What a page shows of a model: of its metrics those that matter."""
    said = folder.metadata
    metrics: Mapping[str, Any] = said.get("metrics", {})
    short = {
        split: {
            precision: {
                group: {name: one[name] for name in FIGURES if name in one}
                for group, one in by.items()
                if group in GROUPS
            }
            for precision, by in split_metrics.items()
        }
        for split, split_metrics in metrics.items()
    }
    return {name: said[name] for name in ("network", "parameters", "exported") if name in said} | {"metrics": short}
