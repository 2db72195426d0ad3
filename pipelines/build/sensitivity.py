"""Which layers suffer from 8 bits: each is rounded by itself in PyTorch, and the error of the outputs is looked at.

It needs no compiler, so that one order serves all of them; and it takes seconds, where building each takes minutes.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipelines.nuclei.normalise import Plane

LEVELS = 63
"""Of a weight of 7 bits, on each side of zero."""


def errors(network: nn.Module, crops: Plane) -> list[float]:
    """The mean squared error of the outputs with only one convolution rounded, for each in the order in which they run;
    pictures are (N, H, W) crops in 0..1."""
    pictures = torch.from_numpy(crops[:, None].copy())
    layers: list[nn.Conv2d] = []
    ranges: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def seen(layer: nn.Module, given: tuple[Tensor]) -> None:
        layers.append(cast(nn.Conv2d, layer))
        ranges[layer] = given[0].amin().clamp(max=0), given[0].amax()

    with torch.inference_mode():
        wanted = _hooked([one for one in network.modules() if isinstance(one, nn.Conv2d)], seen, network, pictures)
        return [float((_with_rounded(network, one, ranges[one], pictures) - wanted).square().mean()) for one in layers]


def _hooked(layers: list[nn.Conv2d], hook: Callable[..., Any], network: nn.Module, pictures: Tensor) -> Tensor:
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        return cast(Tensor, network(pictures))
    finally:
        for handle in handles:
            handle.remove()


def _with_rounded(network: nn.Module, layer: nn.Conv2d, span: tuple[Tensor, Tensor], pictures: Tensor) -> Tensor:
    low, high = span
    step = (high - low) / 255

    def rounded(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        return (((given[0] - low) / step).round().clamp(0, 255) * step + low,)

    weights = layer.weight.data
    scale = weights.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / LEVELS
    layer.weight.data = (weights / scale).round() * scale
    try:
        return _hooked([layer], rounded, network, pictures)
    finally:
        layer.weight.data = weights
