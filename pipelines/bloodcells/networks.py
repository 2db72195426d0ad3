"""A small residual network for 64x64 crops: four halvings, plain convolutions, some 6 million multiplications."""

from typing import cast

import torch
from torch import Tensor, nn

from pipelines.bloodcells.classes import CLASSES
from pipelines.nuclei.networks import Residual, conv


class SmallResNet(nn.Module):
    """Residual blocks (He et al. 2016) where maps are small, strides where they are large.

    Input float32 (N, 1, 64, 64), absorption; output the logits of ``CLASSES``, (N, 15).
    """

    def __init__(self, widths: tuple[int, int, int, int] = (12, 32, 48, 64), dropout: float = 0.2) -> None:
        super().__init__()
        a, b, c, d = widths
        self.body = nn.Sequential(
            *(conv(1, a, stride=2), conv(a, b, stride=2)),
            *(conv(b, c, stride=2), Residual(c)),
            *(conv(c, d, stride=2), Residual(d)),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * d, len(CLASSES)))

    def forward(self, planes: Tensor) -> Tensor:
        """The logits of a batch of planes."""
        maps = self.body(planes)
        # The mean tells how much there is of something, the maximum that there is any: a pale centre, a spike.
        seen = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return cast(Tensor, self.head(seen))
