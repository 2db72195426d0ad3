"""OpenVINO models: converted from ONNX, and in INT8 by NNCF's post-training quantisation."""

import io
import logging
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import nncf
import onnx
import openvino as ov  # type: ignore[import-untyped]
from nncf.quantization.advanced_parameters import (
    AdvancedQuantizationParameters,
    OverflowFix,
)

from pipelines.build.errors import BadSource
from pipelines.nuclei.normalise import Plane


def converted(graph: onnx.ModelProto) -> ov.Model:
    """The same network for OpenVINO, in FP32, its free sides still free."""
    return ov.convert_model(io.BytesIO(graph.SerializeToString()))


def convolutions(model: ov.Model) -> tuple[str, ...]:
    """The names of the convolutions, in the order in which they run."""
    kinds = ("Convolution", "GroupConvolution")
    return tuple(op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() in kinds)


def quantised(model: ov.Model, crops: Plane, spared: Iterable[str] = ()) -> ov.Model:
    """The model with its convolutions in INT8, but those that are ``spared`` by name; ranges are read from crops,
    (N, 256, 256) in 0..1.

    Weights have 7 bits, so that the 16-bit sums of processors without VNNI never overflow: one file gives the same
    answers on all of them. Sums of layers are not rounded, and biases not corrected: for networks of plain convolutions
    and few channels the one costs accuracy and gains no speed, the other doubles the error or more.
    """
    if not len(crops):
        raise BadSource("no pictures to calibrate with; give some of the split that the network was trained on")
    level = nncf.common.logging.logger.nncf_logger.level
    nncf.set_log_level(logging.ERROR)
    try:
        result = nncf.quantize(
            model,
            nncf.Dataset(list(crops[:, None, None])),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(crops),
            ignored_scope=nncf.IgnoredScope(names=sorted(spared), types=["Add", "Interpolate"], validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE, disable_bias_correction=True
            ),
        )
    finally:
        nncf.set_log_level(level)
    return cast(ov.Model, result)


def saved(model: ov.Model) -> dict[str, bytes]:
    """The two files of a model, ``model.xml`` and ``model.bin``."""
    with TemporaryDirectory() as folder:
        ov.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in ("model.xml", "model.bin")}
