"""An endless stream of augmented batches of cells."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.bloodcells.normalise import GREEN, SIDE, absorption
from pipelines.training.bloodcells.cut import ANY_RED, WIDE, Crops

Random = np.random.Generator


def batches(ready: Crops, size: int, random: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless augmented batches: planes float32 (N, 1, 64, 64) and classes int64 (N).

    Classes are drawn by the root of their number: rare ones are seen more often than they are, common ones still most.
    """
    values, place = np.unique(ready.classes, return_inverse=True)
    weights = 1.0 / np.sqrt(np.bincount(place, minlength=len(values)))[place]
    # Of what is only known to be red there is little to learn.
    weights *= np.where(ready.classes == ANY_RED, 0.3, 1.0)
    weights /= weights.sum()
    green = np.ascontiguousarray(ready.pixels[..., GREEN])
    while True:
        drawn = random.choice(len(weights), size, p=weights)
        frames = turned(torch.from_numpy(green[drawn]), random)
        planes = torch.from_numpy(absorption(frames.numpy()[..., None]))
        yield spoilt(planes, random), torch.from_numpy(ready.classes[drawn])


def turned(wide: Tensor, random: Random) -> Tensor:
    """Planes (N, 80, 80), turned by any angle, mirrored or not, scaled by a twelfth at most and moved by four pixels at
    most: float32 (N, 64, 64)."""
    number = len(wide)
    angle, scale = random.uniform(0, 2 * np.pi, number), random.uniform(0.92, 1.08, number) * WIDE / SIDE
    flip, moved = random.choice((-1.0, 1.0), number), random.uniform(-4, 4, (number, 2)) * 2 / WIDE
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.stack([cos, -sin * flip, moved[:, 0], sin, cos * flip, moved[:, 1]], axis=1).reshape(number, 2, 3)
    grid = F.affine_grid(torch.from_numpy(matrix.astype(np.float32)), [number, 1, SIDE, SIDE], align_corners=False)
    found = F.grid_sample(wide[:, None].float(), grid, padding_mode="reflection", align_corners=False)
    return found[:, 0]


def spoilt(planes: Tensor, random: Random) -> Tensor:
    """Planes (N, 1, 64, 64) under another stain, another focus, another camera."""
    number = len(planes)

    def each(low: float, high: float) -> Tensor:
        return torch.from_numpy(random.uniform(low, high, (number, 1, 1, 1)).astype(np.float32))

    soft = F.avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False)
    planes = planes.lerp(soft, (each(-2.0, 1.0)).clamp(min=0.0))
    planes = planes * each(0.75, 1.3) + each(-0.03, 0.03)
    noise = torch.from_numpy(random.standard_normal(tuple(planes.shape), np.float32))
    return (planes + noise * each(0.0, 0.03)).clamp(-0.5, 1.0)
