"""The ONNX graphs: what compilers take and what they do not."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="building needs the extra [train]: make test-train")
pytest.importorskip("nncf", reason="building needs the extra [train]: make test-train")

import onnx
import torch

from pipelines.build import source
from pipelines.build.errors import BadGraph, BadSource
from pipelines.build.onnx_export import Half, Probabilities, check, convolutions, exported, resizes
from pipelines.build.onnx_int8 import ONNXRUNTIME, TENSORRT, quantised, quantised_inputs
from pipelines.build.openvino_int8 import converted
from pipelines.build.openvino_int8 import convolutions as convolutions_of
from pipelines.build.openvino_int8 import quantised as quantised_by_nncf
from pipelines.build.sensitivity import errors
from pipelines.build.variants import onnxruntime_cpu
from pipelines.nuclei.model import shipped
from pipelines.samples import render_field


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return Probabilities(source.load(shipped().path / source.FILE)).eval()


@pytest.fixture(scope="module")
def graph(network: torch.nn.Module) -> onnx.ModelProto:
    return exported(network)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    fields = [render_field(seed, shape=(128, 128), bits=8, nuclei=8)[0] for seed in range(4)]
    return np.stack([field / np.float32(field.max()) for field in fields]).astype(np.float32)


def test_every_resize_has_constant_scales(graph: onnx.ModelProto) -> None:
    assert [*resizes(graph).values()] == [(1.0, 1.0, 2.0, 2.0)] * 3


def test_a_resize_whose_scales_are_computed_is_refused() -> None:
    class Computed(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            sides = image.shape[2] * 2, image.shape[3] * 2
            return torch.nn.functional.interpolate(image, sides, mode="nearest")

    with pytest.raises(BadGraph, match="scales are not constant; give the layer a scale_factor"):
        exported(Computed())


def test_a_graph_that_is_not_whole_is_refused(graph: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    del broken.graph.node[3]

    with pytest.raises(BadGraph, match="no valid ONNX"):
        check(broken)


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 1, 96, 160)])
def test_batch_height_and_width_are_free(
    graph: onnx.ModelProto, network: torch.nn.Module, shape: tuple[int, ...]
) -> None:
    picture = np.random.default_rng(2).random(shape, np.float32)
    (run,) = onnxruntime_cpu("onnx-fp32", graph).opened(1, 1)

    with torch.no_grad():
        np.testing.assert_allclose(run(picture), network(torch.from_numpy(picture)), atol=1e-4)


def test_half_precision_stands_in_the_types(network: torch.nn.Module) -> None:
    graph = exported(Half(network))

    weights = [one for one in graph.graph.initializer if len(one.dims) == 4]
    assert {one.data_type for one in weights} == {onnx.TensorProto.FLOAT16}
    for end in (graph.graph.input[0], graph.graph.output[0]):
        assert end.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not {one.dtype for one in network.parameters()} - {torch.float32}, "the original stays as it is"


def test_the_form_for_tensorrt_is_symmetric_int8_without_rounded_biases(
    graph: onnx.ModelProto, crops: np.ndarray
) -> None:
    names = convolutions(graph)

    made = quantised(graph, crops, TENSORRT, (names[0], names[-1]))

    assert [*quantised_inputs(made)] == [*names[1:-1]]
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in made.graph.initializer}
    nodes = [one for one in made.graph.node if one.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [constants[one.input[2]] for one in nodes]
    assert {str(zero.dtype) for zero in zeros} == {"int8"}
    assert not any(zero.any() for zero in zeros)
    assert all(constants[name].ndim == 1 for name in _weight_scales(made, nodes))


def test_the_form_for_onnx_runtime_has_weights_of_seven_bits(graph: onnx.ModelProto, crops: np.ndarray) -> None:
    made = quantised(graph, crops, ONNXRUNTIME, convolutions(graph)[-1:])

    weights = [onnx.numpy_helper.to_array(one) for one in made.graph.initializer if one.name.endswith("_quantized")]
    rounded = [one for one in weights if one.dtype == np.int8]
    assert len(rounded) == len(convolutions(graph)) - 1
    assert all(np.abs(one.astype(int)).max() <= 64 for one in rounded)
    assert any(one.dtype == np.int32 for one in weights), "biases"


def test_spared_layers_of_openvino_stay_as_they_are(graph: onnx.ModelProto, crops: np.ndarray) -> None:
    single = converted(graph)
    names = convolutions_of(single)

    made = quantised_by_nncf(single, crops, names[2:])

    weights = {
        op.get_friendly_name(): op.input_value(1).get_node() for op in made.get_ops() if type_of(op) == "Convolution"
    }
    kept = [name for name in names if type_of(weights[name]) == "Constant"]
    assert kept == [*names[2:]]
    with pytest.raises(BadSource, match="no pictures to calibrate with"):
        quantised_by_nncf(single, crops[:0])


def type_of(node: Any) -> str:
    return node.get_type_name()


def _weight_scales(graph: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> list[str]:
    held = {one.name for one in graph.graph.initializer}
    return [node.input[1] for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in held]


def test_a_graph_can_be_written_and_read(graph: onnx.ModelProto) -> None:
    again = onnx.load(io.BytesIO(graph.SerializeToString()))

    assert resizes(again) == resizes(graph)


def test_the_error_of_each_layer_is_found_and_the_network_left_as_it_was(
    network: torch.nn.Module, crops: np.ndarray
) -> None:
    before = {name: weights.clone() for name, weights in network.state_dict().items()}

    found = errors(network, crops[:2])

    assert len(found) == 18
    assert all(0 < error < 1e-3 for error in found)
    assert max(found) > 10 * min(found)
    for name, weights in network.state_dict().items():
        assert torch.equal(weights, before[name])
