"""From PyTorch to ONNX, in the form that every compiler takes."""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from torch import Tensor, nn

from pipelines.build.errors import BadGraph

OPSET = 17
"""New enough for quantisation by channel, old enough for every compiler in use."""
TRACED = 64
"""Height and width of the picture with which the network is traced; any will do."""


class Probabilities(nn.Module):
    """A network whose maps are brought to 0..1, so that nobody has to know about logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, 3, H, W)."""
        maps = self.network(image)
        return torch.cat([maps[:, :2].sigmoid(), maps[:, 2:].clamp(0.0, 1.0)], dim=1)


class Half(nn.Module):
    """A network of which all but the two ends is in float16: who compiles it by its types compiles FP16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network).half()

    def forward(self, image: Tensor) -> Tensor:
        """float32 to float32."""
        maps: Tensor = self.network(image.half())
        return maps.float()


def exported(network: nn.Module) -> onnx.ModelProto:
    """The network as ONNX, input ``image`` and output ``maps``, (batch, channels, height, width) with all but the
    channels free. Raises ``BadGraph`` where a compiler could not take it."""
    axes = {0: "batch", 2: "height", 3: "width"}
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which needs no further package, is deprecated
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 1, TRACED, TRACED),),
            path,
            input_names=["image"],
            output_names=["maps"],
            dynamic_axes={"image": axes, "maps": axes},
            dynamo=False,
            opset_version=OPSET,
        )
        graph = onnx.load(path)
    check(graph)
    return graph


def check(model: onnx.ModelProto) -> None:
    """Raises ``BadGraph`` unless the graph is whole and each Resize has constant scales.

    Compilers plan their memory by them; where the scales are computed of the input's shape, some refuse the network.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadGraph(f"the exported network is no valid ONNX: {error}") from error
    for name, scales in resizes(model).items():
        if scales is None:
            raise BadGraph(
                f"{name}: the scales are not constant; give the layer a scale_factor (nn.Upsample), not a size"
            )


def resizes(model: onnx.ModelProto) -> Mapping[str, tuple[float, ...] | None]:
    """The scales of each Resize by its name; None where they are computed when it runs."""
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values = [onnx.numpy_helper.to_array(one.t) for one in node.attribute if one.name == "value"]
            constants |= dict(zip(node.output, values, strict=False))
    found: dict[str, tuple[float, ...] | None] = {}
    for node in model.graph.node:
        if node.op_type == "Resize":
            scales = constants.get(node.input[2]) if len(node.input) == 3 else None
            found[node.name] = None if scales is None or not scales.size else tuple(map(float, scales))
    return found


def convolutions(model: onnx.ModelProto) -> tuple[str, ...]:
    """The names of the convolutions, in the order in which they run."""
    return tuple(node.name for node in model.graph.node if node.op_type == "Conv")
