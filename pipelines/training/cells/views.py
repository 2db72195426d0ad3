"""The same cell, seen again: turned, shifted, nearer or farther, by another lamp and camera."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.embedding.crops import SIDE
from pipelines.training.cells.data import WIDE


@dataclass(frozen=True)
class Seen:
    """How different two views of one cell may be."""

    scale: float = 1.08
    """Size tells macrocytes from microcytes, so it changes little."""
    shift: float = 3.0
    """Pixels."""
    gamma: float = 1.3
    gain: float = 0.2
    alone: float = 0.25
    """Share of the views whose brightness is that of the crop alone, as in files that show one cell."""
    blur: float = 0.2
    noise: float = 0.03


GENTLE = Seen()
STRONG = Seen(scale=1.15, shift=5.0, gamma=1.6, gain=0.35, alone=0.3, blur=0.35, noise=0.05)


def view(crops: Tensor, how: Seen, random: torch.Generator) -> Tensor:
    """One view of each: uint8 (N, 96, 96) to float32 (N, 1, 64, 64) in 0..1."""
    wide = crops[:, None].float() / 255
    seen = lit(
        F.grid_sample(wide, _places(len(crops), how, random), padding_mode="reflection", align_corners=False),
        how,
        random,
    )
    return seen.clamp(0, 1)


def _places(count: int, how: Seen, random: torch.Generator) -> Tensor:
    angle = torch.rand(count, generator=random) * (2 * math.pi)
    size = _spread(count, math.log(how.scale), random).exp() * (SIDE / WIDE)
    flip = torch.where(torch.rand(count, generator=random) < 0.5, -1.0, 1.0)
    shifts = (torch.rand(count, 2, generator=random) * 2 - 1) * (2 * how.shift / WIDE)
    cosine, sine = angle.cos() * size, angle.sin() * size
    turned = torch.stack([torch.stack([cosine * flip, -sine], 1), torch.stack([sine * flip, cosine], 1)], 1)
    return F.affine_grid(torch.cat([turned, shifts[:, :, None]], 2), [count, 1, SIDE, SIDE], align_corners=False)


def lit(crops: Tensor, how: Seen, random: torch.Generator) -> Tensor:
    """Other optics, exposure and camera noise, in the order of a microscope: (N, 1, H, W), in 0..1 or near."""
    count = len(crops)
    soft = F.avg_pool2d(F.pad(crops, (1, 1, 1, 1), mode="replicate"), 3, 1)
    crops = torch.where(_chosen(count, how.blur, random), soft, crops)
    low, high = crops.amin((2, 3), keepdim=True), crops.amax((2, 3), keepdim=True)
    crops = torch.where(_chosen(count, how.alone, random), (crops - low) / (high - low).clamp(min=0.05), crops)
    crops = crops.clamp(1e-4, 1) ** _spread(count, math.log(how.gamma), random).exp()[:, None, None, None]
    gain = 1 + _spread(count, how.gain, random)[:, None, None, None]
    offset = _spread(count, how.gain / 2, random)[:, None, None, None]
    noise = torch.randn(crops.shape, generator=random) * (torch.rand(count, 1, 1, 1, generator=random) * how.noise)
    return crops * gain + offset + noise


def _spread(count: int, most: float, random: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=random) * 2 - 1) * most


def _chosen(count: int, share: float, random: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=random) < share
