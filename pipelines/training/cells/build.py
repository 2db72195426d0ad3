"""All steps from images to an encoder with its map and card, in order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.embedding.model import Encoder
from pipelines.nuclei.model import ModelFolder
from pipelines.training.cells.atlas import MOST, add_map, distilled, faithfulness, fitted, transformed
from pipelines.training.cells.card import card
from pipelines.training.cells.data import Cells, collected
from pipelines.training.cells.evaluate import Judged, embedded, evaluate
from pipelines.training.cells.export import export
from pipelines.training.cells.train import Plan, train

LIMITS = """
- Shapes of red cells are what is hard: people agree on 84 of 100, and normal, macrocyte, ovalocyte and stomatocyte
  shade into one another. Other classes differ in their laboratory as well as in their cells, so their figures flatter.
- `elliptocyte` is told apart from the rest of the red cells' shapes: all its pictures come from another acquisition,
  and grey crops hide its colour, not its optics.
- Size is relative to the median cell of the image: an image of macrocytes only looks normal, unless the task gives the
  `window` in pixels.
- Histology, phase contrast and bright-field have one class each: their cells are found again, not told apart.
"""


def build(
    data: Path,
    out: Path,
    plan: Plan,
    commands: str,
    threads: int = 1,
    told: Callable[[str], None] = lambda line: None,
    start: Path | None = None,
) -> Path:
    """Train, export, judge and map; the folder ``out/1`` of the encoder. Crops and checkpoints stay in ``out``, and an
    interrupted build goes on where it was."""
    told("reading images")
    cells = collected(data, out / "crops.npz")
    checkpoint = train(cells, out, plan, threads, told, start)
    return finished(cells, checkpoint, out / "1", data, commands, told)


def finished(
    cells: Cells,
    checkpoint: Path,
    folder: Path,
    data: Path,
    commands: str,
    told: Callable[[str], None] = lambda line: None,
) -> Path:
    """Export a checkpoint to ``folder``, judge it, add its map and its card; ``folder``."""
    export(checkpoint, folder, data)
    encoder = Encoder(ModelFolder(folder))
    base = embedded(cells, encoder, "train")
    reports = [evaluate(cells, encoder, split, base) for split in ("val", "test")]
    told(f"test: {reports[1]['all']}")
    add_own_map(cells, folder, encoder, base, told)
    card(folder, reports, LIMITS, commands)
    return folder


def add_own_map(
    cells: Cells, folder: Path, encoder: Encoder, base: Judged, told: Callable[[str], None] = lambda line: None
) -> Path:
    """The map of the training split, its limits by the validation split, its faithfulness on the test split."""
    near, held_out = (embedded(cells, encoder, split).embedded.vectors for split in ("val", "test"))
    train = base.embedded.vectors
    told("fitting the map")
    order = np.random.default_rng(7).permutation(len(train))
    model, others = fitted(train[order[:MOST]]), train[order[MOST:]]
    told("learning the map")
    projector = distilled(model, (others, transformed(model, others)) if len(others) else None)
    figures = faithfulness(model, projector, held_out)
    told(f"map: {figures}")
    return add_map(folder, model, projector, near, figures)
