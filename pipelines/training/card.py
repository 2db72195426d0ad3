"""The model card: what a shipped model is, what it was made from, how well it does, and where it does not."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.training.evaluate import Report, cells

HEADINGS = (
    "precision",
    "group",
    "images",
    "nuclei",
    "F1@0.5",
    "F1@0.5 pooled",
    "AP@0.5",
    "AP@0.7",
    "AP@0.9",
    "count error",
)

TEXT = """# Nuclei, version {version}

{network}, {parameters:,} parameters, trained from random weights. Input: {input}. Output: {output}.

## Data

{data_name}: {source}; licence {license}. Trained on the split `{split}`; thresholds of the post-processing were
chosen on `val`; the split `test` was only reported on. SHA-256 of index, images and masks together:
`{sha256}`.

## Results

F1 is the mean over the images at an intersection over union above 0.5, "pooled" counts the objects of all
images together; AP is TP / (TP + FP + FN); the count error is the median over the images of
|found - true| / true. Both precisions are run by OpenVINO through the code that serves them.

{tables}

## Other networks trained on the same data

{others}

## Limits

{limits}

## Made with

{commands}

{made_with}. Training plan: {plan}. Exported on {exported}.
"""


def card(folder: Path, reports: Iterable[Report], others: str, limits: str, commands: str) -> Path:
    """Write ``CARD.md`` beside a model's ``metadata.json``, and the figures of the reports into the latter."""
    path = folder / "metadata.json"
    metadata: dict[str, Any] = json.loads(path.read_text())
    reports = list(reports)
    metadata["metrics"] = {report["split"]: figures(report) for report in reports}
    path.write_text(json.dumps(metadata, indent=2) + "\n")
    data = metadata["data"]
    text = TEXT.format(
        **{name: metadata[name] for name in ("version", "network", "parameters", "input", "output", "exported")},
        **{name: data[name] for name in ("source", "license", "split", "sha256")},
        data_name=data["name"],
        tables="\n\n".join(f"Split `{report['split']}`:\n\n{markdown(report)}" for report in reports),
        others=others.strip(),
        limits=limits.strip(),
        commands=commands.strip(),
        made_with=", ".join(f"{name} {number}" for name, number in metadata["made_with"].items()),
        plan=", ".join(f"{name} {value}" for name, value in metadata["training"].items()),
    )
    result = folder / "CARD.md"
    result.write_text(text, encoding="utf-8")
    return result


def figures(report: Report) -> dict[str, Any]:
    """The figures of a report by precision and group, rounded to four places."""
    return {
        precision: {
            group: {name: _rounded(value) for name, value in summary.items()}
            for group, summary in judgement["groups"].items()
        }
        for precision, judgement in report["precisions"].items()
    }


def _rounded(value: float | Mapping[str, float]) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    return round(value, 4)


def markdown(report: Report) -> str:
    """The figures of a report as a Markdown table, groups and then their parts."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|" + "---:|" * (len(HEADINGS) - 2)]
    for precision, judgement in report["precisions"].items():
        for kind in ("groups", "subgroups"):
            for group, summary in judgement[kind].items():
                lines.append("| " + " | ".join([precision, group, *cells(summary)]) + " |")
    return "\n".join(lines)
