"""Judge the shipped models with the very code that serves them; no training library is needed."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from pipelines.model_folder import ModelFolder
from pipelines.nuclei.model import PRECISIONS, Model, shipped
from pipelines.nuclei.segment import segmented
from pipelines.nuclei.tiling import Predict
from pipelines.training.data import Entry, digest, entries, pixels, truth
from pipelines.training.metrics import Match, match, summarise

Report = Mapping[str, Any]
"""Plain values: ``data``, ``split``, ``precisions`` -> precision -> ``groups`` -> group -> the figures."""


def evaluate(
    data: Path,
    split: str,
    precisions: Sequence[str] = PRECISIONS,
    json_file: Path | None = None,
    limit: int | None = None,
    folder: ModelFolder | None = None,
) -> Report:
    """Figures of the shipped model (or that in ``folder``) on a split, for each precision and group.

    Images are normalised, inferred and labelled as in the pipeline, with its default settings. ``limit`` takes
    the first images only. The report is also written to ``json_file``. Raises ``ValueError`` for an unknown
    split and ``BrokenModel`` for damaged model files.
    """
    folder = folder or shipped()
    chosen = entries(data, split)[:limit]
    report = {
        "pipeline": "nuclei",
        "version": folder.metadata["version"],
        "network": folder.metadata["network"],
        "data_sha256": digest(data),
        "split": split,
        "images": len(chosen),
        "precisions": {name: judged(data, chosen, Model(folder, name), name) for name in precisions},
    }
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n")
    return report


def judged(data: Path, chosen: Sequence[Entry], predict: Predict, title: str) -> dict[str, Any]:
    """Figures of one model, however it is run: by group, by subgroup, and the mean time of an image."""
    seconds: list[float] = []
    found = matches(data, chosen, predict, title, seconds)
    return {
        "groups": _by([entry.group for entry in chosen], found),
        "subgroups": _by([entry.subgroup for entry in chosen], found),
        "milliseconds_per_image": 1000 * sum(seconds) / len(chosen),
    }


def matches(
    data: Path, chosen: Sequence[Entry], predict: Predict, title: str, seconds: list[float] | None = None
) -> list[Match]:
    """Each image compared with its truth, in their order; what each took is added to ``seconds``."""
    found: list[Match] = []
    for entry in track(chosen, title, console=Console(stderr=True)):
        image = pixels(data, entry)
        start = time.perf_counter()
        labels = segmented(image, predict).labels
        if seconds is not None:
            seconds.append(time.perf_counter() - start)
        found.append(match(truth(data, entry), labels))
    return found


def _by(names: Sequence[str], found: Sequence[Match]) -> dict[str, Any]:
    return {
        name: asdict(summarise(m for own, m in zip(names, found, strict=True) if own == name))
        for name in sorted(set(names))
    }


def table(report: Report) -> Table:
    """The report for people."""
    result = Table(title=f"nuclei {report['version']} ({report['network']}), split {report['split']}")
    for name in (
        "precision",
        "group",
        "images",
        "nuclei",
        "F1@0.5",
        "pooled",
        "AP@0.5",
        "AP@0.7",
        "AP@0.9",
        "count error",
    ):
        result.add_column(name, justify="left" if name in ("precision", "group") else "right")
    for precision, judgement in report["precisions"].items():
        for group, figures in judgement["groups"].items():
            result.add_row(precision, group, *cells(figures))
    return result


def cells(figures: Mapping[str, Any]) -> list[str]:
    """The figures of a group as text, in the order of the table's columns."""
    precision = figures["average_precision"]
    return [
        str(figures["images"]),
        str(figures["objects"]),
        f"{figures['f1']:.4f}",
        f"{figures['f1_pooled']:.4f}",
        *(f"{precision[at]:.3f}" for at in ("0.50", "0.70", "0.90")),
        f"{100 * figures['count_error']:.1f} %",
    ]
