"""From a checkpoint to the classifier that ships: OpenVINO in FP32 and INT8, metadata and card."""

import hashlib
import json
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import nncf  # type: ignore[import-untyped]
import numpy as np
import openvino as ov  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from pipelines.bloodcells.classes import CLASSES
from pipelines.bloodcells.networks import SmallResNet
from pipelines.bloodcells.normalise import SIDE, absorption
from pipelines.model_folder import ModelFolder
from pipelines.training.bloodcells.cut import centres, crops, digest_of
from pipelines.training.bloodcells.evaluate import Report, evaluate, rounded

CALIBRATION = 512
"""Cells of the training split from which the ranges of the activations are read."""
SOURCES = {
    "Chula RBC-12": "Chula-PIC-Lab/Chula-RBC-12-Dataset; licence MIT, (c) 2021 Chula PIC Lab",
    "BCCD": "Shenggan/BCCD_Dataset; licence MIT, (c) 2017 shenggan",
    "smear100": "draaslan/blood-cell-detection-dataset; licence MIT, (c) 2020 A. Aslan",
}


class Probabilities(nn.Module):
    """The network with its logits made into probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, cells: Tensor) -> Tensor:
        """(N, 1, 64, 64) to (N, 15)."""
        return cast(Tensor, self.network(cells).softmax(dim=1))


def export(checkpoint: Path, out: Path, data: Path) -> Path:
    """Write ``out/{fp32,int8}/model.{xml,bin}``, ``metadata.json`` and ``CARD.md``; return ``out``.

    The averaged weights are taken. The card reports on the splits val and test; nothing is chosen by the latter.
    """
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    network = SmallResNet()
    network.load_state_dict(state["average"])
    single = converted(Probabilities(network).eval())
    ready = crops(data, "train", checkpoint.parent / "train.npz")
    drawn = np.random.default_rng(state["plan"]["seed"]).choice(
        len(ready.classes), min(CALIBRATION, len(ready.classes)), replace=False
    )
    models = {"fp32": single, "int8": quantised(single, absorption(centres(ready.pixels[np.sort(drawn)])))}
    for name, model in models.items():
        ov.save_model(model, out / name / "model.xml", compress_to_fp16=False)
    described(out, data, state, sum(weight.numel() for weight in network.parameters()))
    reports = [evaluate(data, split, ModelFolder(out), checkpoint.parent / f"{split}.npz") for split in ("val", "test")]
    card(out, reports)
    return out


def converted(network: nn.Module) -> ov.Model:
    """The network by way of ONNX, its batch size free."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which needs no further package, is deprecated
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(2, 1, SIDE, SIDE),),
            path,
            input_names=["cells"],
            output_names=["probabilities"],
            dynamic_axes={"cells": {0: "number"}, "probabilities": {0: "number"}},
            dynamo=False,
            opset_version=17,
        )
        return ov.convert_model(path)


def quantised(model: ov.Model, planes: Any) -> ov.Model:
    """The model in INT8 by NNCF's post-training quantisation, calibrated on (N, 1, 64, 64) planes."""
    dataset = nncf.Dataset(list(planes[:, None]))
    preset = nncf.QuantizationPreset.MIXED
    return cast(ov.Model, nncf.quantize(model, dataset, preset=preset, subset_size=len(planes)))


def described(out: Path, data: Path, state: dict[str, Any], parameters: int) -> None:
    """Write what is to be known of an exported model, and the SHA-256 of each of its files."""
    names = [f"{kind}/model.{part}" for kind in ("fp32", "int8") for part in ("xml", "bin")]
    metadata = {
        "pipeline": "bloodcells",
        "version": out.name,
        "network": "small-resnet",
        "parameters": parameters,
        "input": "cells: float32 (N, 1, 64, 64), 1 - green / background, see pipelines.bloodcells.normalise",
        "output": "probabilities: float32 (N, 15)",
        "classes": list(CLASSES),
        "exported": date.today().isoformat(),  # noqa: DTZ011 - the day on the calendar of whoever exports
        "training": state["plan"] | {"finished_epochs": state["epoch"]},
        "data": {"name": "bloodcells", "sources": SOURCES, "sha256": digest_of(data), "split": "train"},
        "made_with": {name: version(name) for name in ("torch", "openvino", "nncf")},
        "files": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names},
    }
    (out / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")


TEXT = """# Blood cells, version {version}

{network}, {parameters:,} parameters, trained from random weights. Input: {input}. Output: {output}: {classes}.

It is there so that the stream has something real to say of single cells. It is no medical device, and its classes are
those of research sets that were labelled by few people.

## Data

{sources}

Crops of 64x64 pixels around each labelled cell, the second and third set brought to the size of red cells in the
first (by 0.44 and 0.88). Trained on the split `train`, looked at on `val`, reported on `test`; pictures of one field,
and near duplicates, are in one split. SHA-256 of the table of cells and all images: `{sha256}`.

Of red cells of the second and third set no shape is known: they teach only that they are red.

## Results

F1 of a class is 2 TP / (2 TP + FP + FN); macro-F1 the mean over classes. Both kinds of files are run by OpenVINO, in
float32 where they are not INT8, through the code that serves them.

{tables}

## Limits

- Labels: cells of the first set that were labelled twice agree for some 84 %, so that about 85 % is what can be hoped
  for.
- Elliptocytes come from another microscope than all other classes. Frames are grey and divided by their background,
  but sharpness and noise remain: how well they are told from the rest may be how well microscopes are. So the figures
  are given without them, too.
- White cells and platelets come from the second and third set only, for which the same holds; red cells of those sets
  were shown as red, so what is learnt is not the set alone.
- One magnification: a normal red cell must be some 45 pixels wide. Frames must be centred on one cell.

## Made with

```sh
cytobus train bloodcells --data FOLDER --out my-model --epochs {epochs} --seed {seed}
cytobus evaluate bloodcells --data FOLDER --split test
```

{made_with}. Training plan: {plan}. Exported on {exported}.
"""


def card(folder: Path, reports: list[Report]) -> None:
    """Write ``CARD.md`` beside a model's ``metadata.json``, and the figures into the latter."""
    path = folder / "metadata.json"
    metadata: dict[str, Any] = json.loads(path.read_text())
    metadata["metrics"] = {report["split"]: rounded(report["files"]) for report in reports}
    path.write_text(json.dumps(metadata, indent=2) + "\n")
    names = ("version", "network", "parameters", "input", "output", "exported")
    text = TEXT.format(
        **{name: metadata[name] for name in names},
        classes=", ".join(CLASSES),
        sources="\n".join(f"- {name}: {where}" for name, where in SOURCES.items()),
        sha256=metadata["data"]["sha256"],
        tables="\n\n".join(f"Split `{report['split']}`:\n\n{table(report)}" for report in reports),
        epochs=metadata["training"]["epochs"],
        seed=metadata["training"]["seed"],
        made_with=", ".join(f"{name} {number}" for name, number in metadata["made_with"].items()),
        plan=", ".join(f"{name} {value}" for name, value in metadata["training"].items()),
    )
    (folder / "CARD.md").write_text(text, encoding="utf-8")


def table(report: Report) -> str:
    """A report in Markdown: the whole, then class by class."""
    kinds = list(report["files"])
    lines = ["| | cells |" + "".join(f" {kind} |" for kind in kinds), "|---|---:|" + "---:|" * len(kinds)]
    for name in ("accuracy", "accuracy_without_elliptocytes", "macro_f1", "macro_f1_without_elliptocytes"):
        values = [report["files"][kind][name] for kind in kinds]
        lines.append(f"| {name.replace('_', ' ')} | |" + "".join(f" {value:.3f} |" for value in values))
    values = [report["files"][kind]["red_told_red"] for kind in kinds]
    if None not in values:
        lines.append("| red cells of unknown shape told red | |" + "".join(f" {value:.3f} |" for value in values))
    for name, one in report["files"][kinds[0]]["classes"].items():
        values = [report["files"][kind]["classes"][name]["f1"] for kind in kinds]
        lines.append(f"| F1 {name} | {one['cells']} |" + "".join(f" {value:.3f} |" for value in values))
    return "\n".join(lines)
