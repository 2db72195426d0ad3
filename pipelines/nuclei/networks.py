"""Two small networks for nuclei: plain convolutions (DenseUNet) and inverted residuals (M2UNet)."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

REDUCTION = 16
"""Height and width of the input must be multiples of this."""
MAPS = 3
"""Output channels: nucleus (logit), boundary (logit), distance to the edge (1 in the middle, 0 outside)."""


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU6; keeps the size divided by the stride."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input is led (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        return nn.functional.relu6(x + self.body(x))


class Inverted(nn.Module):
    """Widen, filter each channel by itself, narrow (MobileNetV2, Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, widen: int = 6) -> None:
        super().__init__()
        hidden = inputs * widen
        self.led_around = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            conv(inputs, hidden, 1) if widen > 1 else nn.Identity(),
            conv(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return cast(Tensor, x + self.body(x) if self.led_around else self.body(x))


class Head(nn.Module):
    """From features at half resolution to three maps at full resolution: four pixels from each (Shi et al. 2016).

    No layer then works at full resolution, where time goes into moving memory.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.last = nn.Conv2d(width, 4 * MAPS, 3, padding=1)
        self.spread = nn.PixelShuffle(2)

    def forward(self, features: Tensor) -> Tensor:
        """(N, width, H/2, W/2) to (N, 3, H, W)."""
        return cast(Tensor, self.spread(self.last(features)))


class DenseUNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) with added, not stacked, skips; plain 3x3 convolutions throughout.

    Input (N, 1, H, W) float32 in 0..1, sides multiples of 16; output (N, 3, H, W), see ``MAPS``. Most of
    the work is done at half resolution and below, all resizing by constant factors.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(conv(1, a, stride=2), conv(a, a))
        self.quarter = nn.Sequential(conv(a, b, stride=2), Residual(b))
        self.eighth = nn.Sequential(conv(b, c, stride=2), Residual(c))
        self.deep = nn.Sequential(conv(c, d, stride=2), Residual(d))
        self.to_eighth, self.at_eighth = _up(d, c), conv(c, c)
        self.to_quarter, self.at_quarter = _up(c, b), conv(b, b)
        self.to_half, self.at_half = _up(b, a), conv(a, a)
        self.head = Head(a)

    def forward(self, image: Tensor) -> Tensor:
        """The three maps of a batch of images."""
        half = self.stem(image)
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        x = self.at_eighth(self.to_eighth(self.deep(eighth)) + eighth)
        x = self.at_quarter(self.to_quarter(x) + quarter)
        x = self.at_half(self.to_half(x) + half)
        return cast(Tensor, self.head(x))


class M2UNet(nn.Module):
    """M2U-Net (Laibacher et al. 2019): a MobileNetV2 encoder and a narrow decoder; about 0.5 M parameters.

    Input and output as those of ``DenseUNet``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, 16, stride=2), Inverted(16, 16, widen=1))
        self.quarter = nn.Sequential(Inverted(16, 24, 2, widen=2), Inverted(24, 24, widen=3))
        self.eighth = nn.Sequential(Inverted(24, 32, 2, widen=4), Inverted(32, 32, widen=4), Inverted(32, 32, widen=4))
        self.deep = nn.Sequential(Inverted(32, 96, 2), Inverted(96, 96), Inverted(96, 96))
        self.doubled = nn.Upsample(scale_factor=2, mode="nearest")
        self.at_eighth = Inverted(96 + 32, 48, widen=2)
        self.at_quarter = Inverted(48 + 24, 32, widen=2)
        self.at_half = Inverted(32 + 16, 16, widen=2)
        self.head = Head(16)

    def forward(self, image: Tensor) -> Tensor:
        """The three maps of a batch of images."""
        half = self.stem(image)
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        x = self.at_eighth(torch.cat([self.doubled(self.deep(eighth)), eighth], 1))
        x = self.at_quarter(torch.cat([self.doubled(x), quarter], 1))
        x = self.at_half(torch.cat([self.doubled(x), half], 1))
        return cast(Tensor, self.head(x))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    # Narrowing before doubling costs a quarter of doing it after.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.Upsample(scale_factor=2, mode="nearest"),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {"dense-unet": DenseUNet, "m2unet": M2UNet}
