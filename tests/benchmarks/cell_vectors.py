"""Vectors with the statistics of real cells, as many as are wanted, made of real crops.

Each is a crop of a real cell (a nucleus of a labelled image, a marked blood cell), turned, mirrored, shifted and lit a
little differently, seen through the principal components of such crops: what an encoder would say of another cell of
the same kind, without one. They are clustered, unevenly dense and of low dimension, as embeddings are and random
numbers are not.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIMENSION = 128
SIDE, SEEN = 48, 32
"""Pixels that are cut out, and those that are looked at after a shift."""
STEP = 2
"""Every so many pixels are kept."""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def crops(folder: Path, most: int = 60_000) -> Bytes:
    """Grey crops (n, 48, 48) of cells of ``dsb2018`` and ``bloodcells`` below a folder of real images."""
    found: list[Bytes] = []
    for image, centres in (*_nuclei(folder / "dsb2018"), *_blood(folder / "bloodcells")):
        found += _cut(image, centres)
        if len(found) >= most:
            break
    if not found:
        raise ValueError(f"{folder} holds no dsb2018 and no bloodcells: name the folder that does")
    return np.stack(found[:most])


def _grey(path: Path) -> npt.NDArray[np.float32]:
    from pipelines.images import read_image

    pixels = read_image(path).pixels
    grey: npt.NDArray[np.float32] = (pixels[..., :3].mean(-1) if pixels.ndim == 3 else pixels).astype(np.float32)
    low, high = np.percentile(grey, (1, 99.8))
    return np.clip((grey - low) / max(float(high - low), 1e-6) * 255, 0, 255)


def _nuclei(folder: Path) -> Iterator[tuple[Any, Any]]:
    from pipelines.images import read_image

    for path in sorted((folder / "images").glob("*")):
        labels = folder / "labels" / f"{path.stem}.png"
        if labels.is_file():
            numbers = read_image(labels).pixels
            rows, columns = np.nonzero(numbers)
            which = numbers[rows, columns]
            count = np.bincount(which)
            there = np.nonzero(count)[0]
            centres = np.stack([np.bincount(which, axis)[there] / count[there] for axis in (rows, columns)], 1)
            yield _grey(path), centres


def _blood(folder: Path) -> Iterator[tuple[Any, Any]]:
    if not (folder / "cells.csv").is_file():
        return
    by_image: dict[Path, list[tuple[float, float]]] = {}
    with (folder / "cells.csv").open() as file:
        for row in csv.DictReader(file):
            path = folder / row["subset"] / "images" / row["image"]
            by_image.setdefault(path, []).append((float(row["cy"]), float(row["cx"])))
    for path, centres in by_image.items():
        if path.is_file():
            yield _grey(path), np.array(centres)


def _cut(image: Any, centres: Any) -> list[Bytes]:
    padded = np.pad(image, SIDE // 2, mode="reflect") if min(image.shape) > SIDE else np.pad(image, SIDE // 2)
    corners = np.round(centres).astype(int)
    return [padded[y : y + SIDE, x : x + SIDE].astype(np.uint8) for y, x in corners]


class Cells:
    """Draws vectors of cells. The same seed draws the same ones."""

    def __init__(self, real: Bytes, seed: int = 7) -> None:
        self._real, self._chance = real, np.random.default_rng(seed)
        sample = self._looks(min(20_000, 4 * len(real)))
        self._mean = sample.mean(0)
        _, values, axes = np.linalg.svd(sample[:8000] - self._mean, full_matrices=False)
        # Half whitened: encoders neither leave all to the first components nor make all alike.
        self._axes = (axes[:DIMENSION] / np.sqrt(values[:DIMENSION])[:, None]).T.astype(np.float32)

    def only(self, real: Bytes) -> None:
        """Cells that are drawn from now on are these, seen as before."""
        self._real = real

    def draw(self, count: int, piece: int = 20_000) -> Floats:
        """So many L2-normalised vectors (count, 128)."""
        made = np.empty((count, DIMENSION), np.float32)
        for start in range(0, count, piece):
            some = (self._looks(min(piece, count - start)) - self._mean) @ self._axes
            made[start : start + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
        return made

    def _looks(self, count: int) -> Floats:
        """Crops (count, 256), each looked at in another way."""
        chance = self._chance
        which = chance.integers(len(self._real), size=count)
        looks = np.empty((count, (SEEN // STEP) ** 2), np.float32)
        ways = chance.integers([0, 0, 0], [8, 9, 9], size=(count, 3))
        for way in range(8):
            for shift in range(81):
                dy, dx = divmod(shift, 9)
                mine = np.nonzero((ways[:, 0] == way) & (ways[:, 1] == dy) & (ways[:, 2] == dx))[0]
                seen = self._real[which[mine], dy + 4 : dy + 4 + SEEN : STEP, dx + 4 : dx + 4 + SEEN : STEP]
                seen = np.rot90(seen[:, :, ::-1] if way >= 4 else seen, way % 4, axes=(1, 2))
                looks[mine] = seen.reshape(len(mine), looks.shape[1])
        light = chance.normal(1.0, 0.1, size=(count, 1)).astype(np.float32)
        return looks * light + chance.normal(0, 3.0, size=looks.shape).astype(np.float32)
