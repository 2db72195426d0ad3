"""Crops of single cells from the three sets of smears, kept in one file, and augmented batches of them."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.bloodcells.classes import CLASSES
from pipelines.bloodcells.normalise import GREEN, SIDE, absorption

Random = np.random.Generator
SCALES = {"chula_rbc12": 1.0, "bccd": 0.44, "smear100": 0.88}
"""Brings each set to the size that red cells have in the first, by the medians of their boxes: 45, 103, 51 pixels."""
ANY_RED = -1
"""The class of a cell of which only that it is red is known."""
MARGIN = 8
"""Pixels around a crop that are kept with it, so that it can be turned and moved."""
WIDE = SIDE + 2 * MARGIN


@dataclass(frozen=True)
class Crops:
    """Cells of one split: uint8 (N, 80, 80, 3), their classes (N), and the sets they are of (N)."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    sets: NDArray[np.str_]


def crops(data: Path, split: str, kept: Path | None = None) -> Crops:
    """The cells of a split of ``cells.csv``. ``kept`` is a file (npz) from which they are read, if it is of the same
    table, and into which they are written otherwise. Raises ``ValueError`` where there are none."""
    table = (data / "cells.csv").read_bytes()
    digest = hashlib.sha256(table + f"{split} {WIDE} {sorted(SCALES.items())}".encode()).hexdigest()
    if kept is not None and kept.exists():
        with np.load(kept) as found:
            if str(found["digest"]) == digest:
                return Crops(found["pixels"], found["classes"], found["sets"])
    rows = [row for row in csv.DictReader(table.decode().splitlines()) if row["split"] == split]
    if not rows:
        raise ValueError(f"{data}: cells.csv has no cell of split {split!r}; there are train, val, test")
    made = _cut(data, rows)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, digest=digest, pixels=made.pixels, classes=made.classes, sets=made.sets)
    return made


def _cut(data: Path, rows: list[dict[str, str]]) -> Crops:
    pixels = np.empty((len(rows), WIDE, WIDE, 3), np.uint8)
    opened: tuple[tuple[str, str], NDArray[Any], int] | None = None
    for place, row in enumerate(rows):
        scale = SCALES[row["subset"]]
        name, margin = (row["subset"], row["image"]), round(WIDE / 2 / scale)
        if opened is None or opened[0] != name:
            with Image.open(data / name[0] / "images" / name[1]) as picture:
                whole = np.asarray(picture.convert("RGB"))
            # Mirrored beyond the edge: a black border would say that the cell lies there.
            opened = name, np.pad(whole, ((margin, margin), (margin, margin), (0, 0)), "symmetric"), margin
        x, y = round(float(row["cx"])), round(float(row["cy"]))
        window = Image.fromarray(opened[1][y : y + 2 * margin, x : x + 2 * margin])
        pixels[place] = np.asarray(window.resize((WIDE, WIDE), Image.Resampling.BOX) if scale != 1 else window)
    classes = np.array([_class(row["class_name"]) for row in rows], np.int64)
    return Crops(pixels, classes, np.array([row["subset"] for row in rows]))


def _class(name: str) -> int:
    return ANY_RED if name == "rbc" else CLASSES.index({"wbc": "white cell"}.get(name, name))


def centres(wide: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frames themselves, (N, 64, 64, 3)."""
    return wide[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


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


def digest_of(data: Path) -> str:
    """The SHA-256 of the table of cells and of every image that it names, in order."""
    table = (data / "cells.csv").read_bytes()
    total = hashlib.sha256(table)
    rows = csv.DictReader(table.decode().splitlines())
    for subset, image in dict.fromkeys((row["subset"], row["image"]) for row in rows):
        total.update((data / subset / "images" / image).read_bytes())
    return total.hexdigest()
