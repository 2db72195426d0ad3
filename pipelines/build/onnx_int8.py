"""INT8 in ONNX by explicit Q/DQ nodes, which say of each tensor how it is rounded."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from pipelines.nuclei.normalise import Plane


@dataclass(frozen=True)
class Form:
    """How tensors are rounded. Weights are int8, by channel, symmetric."""

    activations: QuantType
    symmetric: bool
    """Whether zero is zero: what TensorRT takes."""
    bias: bool
    """Whether biases become int32, which TensorRT does not take."""
    seven_bits: bool
    """Weights of 7 bits: the 16-bit sums of processors without VNNI then never overflow."""


TENSORRT = Form(QuantType.QInt8, symmetric=True, bias=False, seven_bits=False)
ONNXRUNTIME = Form(QuantType.QUInt8, symmetric=False, bias=True, seven_bits=True)


def quantised(graph: onnx.ModelProto, crops: Plane, form: Form, spared: Iterable[str] = ()) -> onnx.ModelProto:
    """The graph with its convolutions in INT8, but those that are ``spared`` by name; ranges are read from crops,
    (N, 256, 256) in 0..1."""
    with TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, before)
        quantize_static(
            before,
            after,
            _Crops(crops),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=form.seven_bits,
            activation_type=form.activations,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(spared),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": form.symmetric,
                "WeightSymmetric": True,
                "QuantizeBias": form.bias,
                "CalibMovingAverage": True,
            },
        )
        return onnx.load(after)


class _Crops(CalibrationDataReader):  # type: ignore[misc]
    """Crops one by one, as the calibrator asks for them."""

    def __init__(self, crops: Plane) -> None:
        self._rest: Iterator[Plane] = iter(np.ascontiguousarray(crops, np.float32))

    def get_next(self) -> dict[str, Plane] | None:
        crop = next(self._rest, None)
        return None if crop is None else {"image": crop[None, None]}


@contextmanager
def _quiet() -> Iterator[None]:
    """It advises at each call to simplify the graph first, which the exporter has done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def quantised_inputs(graph: onnx.ModelProto) -> Sequence[str]:
    """Names of the convolutions whose input and weights both come from a DequantizeLinear."""
    from_dq = {node.output[0] for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    return [node.name for node in graph.graph.node if node.op_type == "Conv" and {*node.input[:2]} <= from_dq]
