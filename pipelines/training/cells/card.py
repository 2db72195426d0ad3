"""The card of an encoder: what it is, what it was made from, how well it does, and where it does not."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.training.cells.evaluate import Report

TEXT = """# Cells, version {version}

{network} ({objective}), {parameters:,} parameters, trained from random weights. Input: {input}. Output: {output}.
Crops are grey, scaled by their image's percentiles and turned to bright on dark, so neither colour nor exposure reaches
the encoder.

## Data

{sources}

Trained on the split `{split}` (images, not cells, are split); `val` set the limit of novelty; `test` was only reported
on. SHA-256 of the tables of cells together: `{sha256}`.

## Results

All figures are of the exported model, run by OpenVINO in f32 through the code that serves it. *accuracy*: the most
probable of {classes} classes. *k-NN*: vote of the ten nearest cells of the training split. *mAP@10* and *same class at
rank 1 / 10*: a search among the cells of other images of the same split, none of which was trained on. *crop alone*:
accuracy when each crop is scaled by its own brightness instead of its image's.

{tables}
{map}
## Limits

{limits}

## Made with

{commands}

{made_with}. Training plan: {plan}. Exported on {exported}.
"""
MAP = """
## Map

UMAP of {cells:,} cells of the training split ({neighbours} neighbours, least distance {least_apart}), learnt by a
network of {width} units a layer. On {held_out_cells:,} cells of the test split, {k} neighbours:

| | trustworthiness | neighbours preserved |
|---|---:|---:|
| umap-learn's own transform | {umap[trustworthiness]:.4f} | {umap[preservation]:.4f} |
| the projector | {projector[trustworthiness]:.4f} | {projector[preservation]:.4f} |

The two put the median cell {apart:.1%} of the map's spread apart. Novelty beyond {limit:.4f} is expected of
{expected:.0%} of the cells of new images of these kinds.
"""


def card(folder: Path, reports: Sequence[Report], limits: str, commands: str) -> Path:
    """Write ``CARD.md`` beside an encoder's ``metadata.json``, and the figures of the reports into the latter."""
    path = folder / "metadata.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    said["metrics"] = {report["split"]: _short(report) for report in reports}
    path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    text = TEXT.format(
        **{name: said[name] for name in ("version", "network", "objective", "input", "output", "exported")},
        parameters=said["parameters"],
        classes=len(said["classes"]),
        sources="\n".join(f"- {one['name']}: {one['source']}; {one['license']}" for one in said["data"]["sets"]),
        split=said["data"]["split"],
        sha256=said["data"]["sha256"],
        tables="\n\n".join(f"Split `{report['split']}`:\n\n{markdown(report)}" for report in reports),
        map=_map(said["map"]) if "map" in said else "",
        limits=limits.strip(),
        commands=commands.strip(),
        made_with=", ".join(f"{name} {number}" for name, number in said["made_with"].items()),
        plan=", ".join(f"{name} {value}" for name, value in said["training"].items()),
    )
    result = folder / "CARD.md"
    result.write_text(text, encoding="utf-8")
    return result


def _short(report: Report) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name not in ("split", "classes")}


def _map(said: Mapping[str, Any]) -> str:
    figures = said["faithfulness"]
    return MAP.format(**said, **figures, apart=figures["median_apart_over_spread"])


def markdown(report: Report) -> str:
    """The figures of a report as a Markdown table: groups, then classes."""
    lines = [
        "| | cells | accuracy | k-NN | mAP@10 | same class at rank 1 / 10 | crop alone |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    groups = {name: one for name, one in report.items() if isinstance(one, Mapping) and name != "classes"}
    for name, one in {**groups, **report["classes"]}.items():
        first, last = one["same_class_at"][0], one["same_class_at"][-1]
        lines.append(
            f"| {name} | {one['cells']} | {one['accuracy']:.3f} | {one['knn_accuracy']:.3f} | {one['map_at_10']:.3f} "
            f"| {first:.3f} / {last:.3f} | {one['accuracy_by_the_crop_alone']:.3f} |"
        )
    lines.append(f"\nMean accuracy of the classes (balanced): {report['balanced_accuracy']:.3f}.")
    return "\n".join(lines)
