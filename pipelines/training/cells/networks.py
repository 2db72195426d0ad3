"""Two small encoders of cells that are really different: plain residual (``resnet``), and depthwise (``convnext``)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.nuclei.networks import Residual, conv

WIDTH = 128
"""Numbers in a vector."""
SHARPNESS = 16.0
"""By which cosines become logits."""


class ResNet(nn.Module):
    """Residual blocks of plain 3x3 convolutions (He et al. 2016): (N, 1, 64, 64) in 0..1 to (N, 128)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), blocks: tuple[int, ...] = (0, 1, 2, 2)) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(1, widths[0], stride=2)]
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            if number:
                layers.append(conv(widths[number - 1], width, stride=2))
            layers += [Residual(width) for _ in range(count)]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], WIDTH)

    def forward(self, crops: Tensor) -> Tensor:
        """Not yet of length one."""
        vectors: Tensor = self.last(self.body(crops).mean((2, 3)))
        return vectors


class Separate(nn.Module):
    """Each channel filtered by itself over 5x5 pixels, then all mixed (after ConvNeXt, Liu et al. 2022; batch for layer
    normalisation, which costs nothing when serving)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Conv2d(width, width, 5, padding=2, groups=width), nn.BatchNorm2d(width))
        self.mix = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        mixed: Tensor = self.mix(self.each(x))
        return x + mixed


class ConvNeXt(nn.Module):
    """Patches of 4x4 pixels, then blocks of ``Separate``: (N, 1, 64, 64) in 0..1 to (N, 128)."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128), blocks: tuple[int, ...] = (1, 2, 2)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], 4, 4), nn.BatchNorm2d(widths[0])]
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            if number:
                layers += [nn.BatchNorm2d(widths[number - 1]), nn.Conv2d(widths[number - 1], width, 2, 2)]
            layers += [Separate(width) for _ in range(count)]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], WIDTH)

    def forward(self, crops: Tensor) -> Tensor:
        """Not yet of length one."""
        vectors: Tensor = self.last(self.body(crops).mean((2, 3)))
        return vectors


class Encoder(nn.Module):
    """What is served: (N, 1, 64, 64) in 0..1 to vectors of length one (N, 128), and probabilities (N, classes).

    The classes are directions in the same space (normalised softmax, Wang et al. 2017), so that cells of one class lie
    together, which is what neighbours are asked for.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.directions = nn.Parameter(torch.randn(classes, WIDTH) * WIDTH**-0.5)

    def vectors(self, crops: Tensor) -> Tensor:
        """(N, 128), of length one."""
        return F.normalize(self.network(crops), dim=1)

    def logits(self, vectors: Tensor) -> Tensor:
        """(N, classes)."""
        return SHARPNESS * vectors @ F.normalize(self.directions, dim=1).T

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and probabilities."""
        vectors = self.vectors(crops)
        return vectors, self.logits(vectors).softmax(1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"resnet": ResNet, "convnext": ConvNeXt}
