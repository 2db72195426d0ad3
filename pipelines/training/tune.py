"""Choose the settings of the post-processing: every combination of a few, on images not trained on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from pipelines.model_folder import ModelFolder
from pipelines.nuclei.model import Model, shipped
from pipelines.nuclei.normalise import normalise
from pipelines.nuclei.tiling import Maps, tiled
from pipelines.nuclei.watershed import Settings, segment
from pipelines.training.data import Labels, entries, pixels, truth
from pipelines.training.metrics import Match, match

CHOICES: Mapping[str, Sequence[float]] = {
    "threshold": (0.4, 0.5, 0.6),
    "core": (0.4, 0.5, 0.6),
    "smooth": (1, 2),
    "certain": (0.7, 0.75, 0.8),
}
"""By name of the setting; what is left out keeps its default."""


def tune(data: Path, split: str = "val", folder: ModelFolder | None = None) -> list[tuple[float, Settings]]:
    """All combinations of ``CHOICES`` with their scores, the best first; FP32 is run, each image once.

    The score of an image is the mean of F1 at an overlap of 0.5 and of AP averaged over 0.5 to 0.9, so that
    finding nuclei and drawing them well both count; that of a combination is the mean over the images.
    """
    model = Model(folder or shipped())
    seen = [(truth(data, entry), tiled(normalise(pixels(data, entry)), model)) for entry in entries(data, split)]
    return sorted(_scored(seen, combinations()), key=lambda pair: -pair[0])


def combinations() -> Iterator[Settings]:
    """The settings to be compared."""
    for values in product(*CHOICES.values()):
        yield replace(Settings(), **dict(zip(CHOICES, values, strict=True)))  # type: ignore[arg-type]


def score(result: Match) -> float:
    """How good one image is, 0 to 1."""
    return (result.f1() + float(np.mean([result.precision(at) for at in range(len(result.hits))]))) / 2


def _scored(seen: Sequence[tuple[Labels, Maps]], settings: Iterable[Settings]) -> Iterator[tuple[float, Settings]]:
    for one in settings:
        yield float(np.mean([score(match(labels, segment(maps, one))) for labels, maps in seen])), one
