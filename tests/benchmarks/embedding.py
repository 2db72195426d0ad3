"""Figures of the space of cells: ``python -m tests.benchmarks.embedding``. One core; ratios within one run, in turns.

Needs the training packages for what it compares with (umap-learn). With the real images (``CYTOBUS_CELLS``, the folder
of ``bloodcells``, ``dsb2018`` and ``brightfield``) points are their cells, else drawn around those of the map.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines.embedding.atlas import Atlas
from pipelines.embedding.crops import SIDE, cell_plane, cut
from pipelines.embedding.features import features, islands
from pipelines.embedding.model import Encoder, shipped
from pipelines.embedding.neighbours import Vectors
from pipelines.embedding.translation import unit
from pipelines.nuclei.model import ModelFolder

BESIDE = Path(__file__).parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("CYTOBUS_CELLS", BESIDE))
ROUNDS = 5
Figures = dict[str, float | str]


def seconds(work: Callable[[], object]) -> float:
    """Of this process's processor time: others' load does not count, waiting for them either."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median seconds of each, taken in turns after one run of each for nothing."""
    first(), second()
    taken = [(seconds(first), seconds(second)) for _ in range(rounds)]
    return statistics.median(one for one, _ in taken), statistics.median(other for _, other in taken)


def encoder(count: int = 1024) -> Figures:
    """Crops a second through the encoder, and over what OpenVINO takes alone for the same network and batch."""
    import openvino as ov

    crops = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE), np.uint8)
    ours = Encoder()
    folder = shipped().path / "fp32"
    settings = {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = ov.Core()
    graph = core.read_model(folder / "model.xml")
    graph.reshape([64, 1, SIDE, SIDE])
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    batches = [np.ascontiguousarray(part[:, None].astype(np.float32) / 255) for part in np.split(crops, count // 64)]

    def alone() -> None:
        for batch in batches:
            request.infer([batch])

    mine, bare = in_turns(lambda: ours(crops), alone)
    return {"cells/s": count / mine, "OpenVINO alone cells/s": count / bare, "ratio": bare / mine}


def classical(side: int = 512) -> Figures:
    """Cells a second through the classical features and the cropping."""
    rng = np.random.default_rng(2)
    plane = np.zeros((side, side), np.float32)
    centres = np.stack(np.meshgrid(*[np.arange(16, side, 32)] * 2, indexing="ij"), -1).reshape(-1, 2)
    y, x = np.indices(plane.shape)
    for cy, cx in centres:
        part = (slice(cy - 16, cy + 16), slice(cx - 16, cx + 16))
        plane[part] += ((y[part] - cy) ** 2 + (x[part] - cx) ** 2) < rng.uniform(60, 150)
    image = (plane * 150 + rng.normal(30, 4, plane.shape)).clip(0, 255).astype(np.uint8)
    seen = cell_plane(image)
    labels = islands(seen)
    measured, cropped = in_turns(
        lambda: features(labels, image.astype(np.float32), seen), lambda: cut(cell_plane(image), centres, 40)
    )
    return {"cells": int(labels.max()), "features cells/s": labels.max() / measured, "crops/s": len(centres) / cropped}


def points(count: int) -> tuple[Vectors, Vectors, str]:
    """Vectors to make a map of, others to place on it, and what they are."""
    if (DATA / "bloodcells").is_dir():
        from pipelines.training.cells.data import collected
        from pipelines.training.cells.evaluate import embedded

        cells, ours = collected(DATA), Encoder()
        train, test = (embedded(cells, ours, split).embedded.vectors for split in ("train", "test"))
        return train[np.random.default_rng(7).permutation(len(train))[:count]], test, "real cells"
    known = Atlas(shipped()).reference
    random = np.random.default_rng(3)
    drawn = known[random.integers(0, len(known), count + 2000)]
    vectors = unit(drawn + random.normal(0, 0.03, drawn.shape))
    return vectors[:count], vectors[count:], "drawn around the map's cells"


def projector(count: int) -> Figures:
    """The projector against umap-learn's own transform, on the same held-out points, both on one core."""
    from pipelines.training.cells.atlas import distilled, faithfulness, fitted, transformed

    train, test, what = points(count)
    model = fitted(train)
    network = distilled(model)
    faithful = faithfulness(model, network, test)
    transformed(model, test[:100])  # it compiles itself first
    umap_seconds = seconds(lambda: transformed(model, test))
    atlas = Atlas(shipped())
    many = np.concatenate([test] * (1 + 20_000 // len(test)))
    atlas.places(many)
    mine = statistics.median(seconds(lambda: atlas.places(many)) for _ in range(ROUNDS)) / len(many)
    one = statistics.median(seconds(lambda: [atlas.places(test[n : n + 1]) for n in range(500)]) for _ in range(ROUNDS))
    loss = faithful["umap"]["trustworthiness"] - faithful["projector"]["trustworthiness"]
    return {
        "points": what,
        "map of": len(train),
        "held out": len(test),
        "cells/s": 1 / mine,
        "one cell alone µs": one / 500 * 1e6,
        "umap-learn transform cells/s": len(test) / umap_seconds,
        "speed-up": umap_seconds / len(test) / mine,
        "trustworthiness, transform": faithful["umap"]["trustworthiness"],
        "trustworthiness, projector": faithful["projector"]["trustworthiness"],
        "trustworthiness lost": loss,
        "neighbours preserved, transform": faithful["umap"]["preservation"],
        "neighbours preserved, projector": faithful["projector"]["preservation"],
        "novelty cells/s": len(test) / seconds(lambda: atlas.novelty(test)),
    }


def translation(other: Path) -> Figures:
    """What is kept of a search, both ways between the shipped encoder and another, by the number of anchors."""
    from pipelines.training.cells.data import Cells, collected
    from pipelines.training.cells.evaluate import embedded
    from pipelines.training.cells.translate import study

    cells = collected(DATA)
    some = np.random.default_rng(7).permutation(len(cells.classes))
    cells = Cells(cells.crops[some], cells.classes[some], cells.splits[some], cells.images[some])
    first = np.flatnonzero(cells.splits == 0)[8000:]  # more anchors are not asked for
    kept = np.setdiff1d(np.arange(len(some)), first)
    cells = Cells(cells.crops[kept], cells.classes[kept], cells.splits[kept], cells.images[kept])
    pairs, test = [], None
    for split in ("train", "val", "test"):
        own, theirs = (embedded(cells, Encoder(ModelFolder(folder)), split) for folder in (shipped().path, other))
        pairs.append((own.embedded.vectors, theirs.embedded.vectors))
        test = own
    assert test is not None
    figures: Figures = {}
    for way, turned in (("to the other", False), ("from the other", True)):
        ours = [(new, old) if turned else (old, new) for old, new in pairs]
        found = study(*ours, test.classes, test.images)
        again = found["again"]
        figures[f"{way}: embedded again"] = f"recall@10 {again['recall_at_10']:.3f}, mAP {again['map_at_10']:.3f}"
        for count, one in found["anchors"].items():
            figures[f"{way}: {count} anchors"] = (
                f"{one['kind']}: recall@10 {one['recall_at_10']:.3f}, kept {one['kept']:.3f}, mAP kept "
                f"{one['map_kept']:.3f}, the very same ten {one['same_neighbours']:.3f}"
            )
        figures[f"{way}: anchors that are enough"] = str(found["enough_anchors"])
    return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.embedding", description=__doc__)
    parser.add_argument("--only", choices=("encoder", "classical", "projector", "translation"))
    parser.add_argument("--cells", type=int, default=10_000, help="cells the map is made of")
    parser.add_argument("--other", type=Path, help="folder of another encoder: the way there and back is learnt")
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], Figures]] = {
        "encoder": encoder,
        "classical": classical,
        "projector": lambda: projector(chosen.cells),
    }
    if chosen.other is not None:
        parts["translation"] = lambda: translation(chosen.other)
    for name, part in parts.items():
        if chosen.only in (None, name):
            table = Table("figure", "value", title=name)
            for title, value in part().items():
                table.add_row(title, value if isinstance(value, str) else f"{value:,.4g}")
            Console().print(table)


if __name__ == "__main__":
    main()
