"""The network that a model is built from: its weights in a file that holds numbers and nothing that could be run."""

import math
from pathlib import Path
from typing import Any, cast

import openvino as ov  # type: ignore[import-untyped]
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pipelines.build.errors import BadSource
from pipelines.nuclei.networks import NETWORKS

FILE = "source/model.safetensors"
"""Where a model's folder has it."""


def save(network: nn.Module, name: str, path: Path) -> None:
    """Write the weights of the network ``name`` in the safetensors format, which holds no code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(weights, path, {"network": name})


def load(path: Path) -> nn.Module:
    """The network with its weights, for inference. Raises ``BadSource`` naming the file, its fault and the remedy."""
    try:
        with safe_open(path, "pt") as file:
            name = (file.metadata() or {}).get("network", "")
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError) as error:
        raise BadSource(f"{path}: no weights can be read ({error}); train the model again, or take another") from error
    if name not in NETWORKS:
        raise BadSource(f"{path}: it is for the network {name!r}; there are: {', '.join(NETWORKS)}")
    network = NETWORKS[name]().eval()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise BadSource(f"{path}: the weights are not those of {name} ({first}); export the model again") from error
    if bad := [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]:
        raise BadSource(f"{path}: {bad[0]} holds NaN or infinity; train the model again")
    return network


def recovered(graph: ov.Model, name: str) -> nn.Module:
    """The network ``name`` with the weights that stand in an OpenVINO model made of it, for want of its checkpoint.

    Batch normalisation was folded into the convolutions by then: each comes back as one that adds the bias and changes
    nothing else. Raises ``BadSource`` where the convolutions are not those of the network, one by one.
    """
    network = NETWORKS[name]().eval()
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]
    found = _convolutions(graph)
    convolutions = [part for part in layers if isinstance(part, nn.Conv2d)]
    if len(found) != len(convolutions):
        raise BadSource(f"{name} has {len(convolutions)} convolutions, the model {len(found)}: it was made of another")
    with torch.no_grad():
        for at, part in enumerate(layers):
            if isinstance(part, nn.Conv2d):
                weights, bias = found.pop(0)
                if weights.numel() != part.weight.numel() or bias.numel() != part.out_channels:
                    raise BadSource(
                        f"convolution {at} of {name} has another shape in the model: it was made of another"
                    )
                part.weight.copy_(weights.reshape(part.weight.shape))
                following = layers[at + 1] if at + 1 < len(layers) else None
                _put_bias(part, following, bias)
    return network


def _put_bias(part: nn.Conv2d, following: nn.Module | None, bias: torch.Tensor) -> None:
    if part.bias is not None:
        part.bias.copy_(bias)
        return
    norm = cast(nn.BatchNorm2d, following)
    norm.weight.fill_(math.sqrt(1 + norm.eps))
    norm.bias.copy_(bias)


def _convolutions(graph: ov.Model) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weights and bias of each, in the order in which they run."""
    found = []
    for op in graph.get_ordered_ops():
        if op.get_type_name() in ("Convolution", "GroupConvolution"):
            (after,) = op.output(0).get_target_inputs()
            bias = after.get_node().input_value(1).get_node()
            found.append((_constant(op.input_value(1).get_node()), _constant(bias).flatten()))
    return found


def _constant(node: Any) -> torch.Tensor:
    if node.get_type_name() != "Constant":
        raise BadSource(f"{node.get_friendly_name()} is no constant: the model is quantised; take that in FP32")
    return torch.from_numpy(node.data.copy())
