"""Crops of all cells of the real images, cut once and kept in one file."""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.embedding.crops import SIDE, Crops, cell_plane, cut, window_of

WIDE = 96
"""Side of the crops that are kept: so much more than the encoder sees that they can be turned and shifted."""
SMEARS = (
    "normal",
    "macrocyte",
    "microcyte",
    "spherocyte",
    "target",
    "stomatocyte",
    "ovalocyte",
    "teardrop",
    "burr",
    "schistocyte",
    "hypochromia",
    "elliptocyte",
)
"""Red cells of chula_rbc12; what is ``uncategorised`` there is left out."""
CLASSES = (
    *SMEARS,
    "rbc",
    "wbc",
    "platelet",
    "nucleus-fluorescence",
    "nucleus-histology",
    "nucleus-brightfield",
    "cell-phase-contrast",
)
"""``rbc`` are red cells of the two sets that do not tell their shape."""
GROUPS = {
    "fluo": "nucleus-fluorescence",
    "histology": "nucleus-histology",
    "brightfield_grey": "nucleus-brightfield",
    "phase_contrast": "cell-phase-contrast",
}
MOST = 24
"""Cells taken of an image with masks, at random: its cells are much alike, and a few images have hundreds."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Cells:
    """Crops, uint8 (n, 96, 96), with for each the number of its class, of its split and of its image."""

    crops: Crops
    classes: NDArray[np.int64]
    splits: NDArray[np.int64]
    images: NDArray[np.int64]

    def of(self, split: str) -> "Cells":
        """Those of one split. Raises ``ValueError`` for a split that does not exist."""
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}; there are: {', '.join(SPLITS)}")
        mine = self.splits == SPLITS.index(split)
        return Cells(self.crops[mine], self.classes[mine], self.splits[mine], self.images[mine])

    def middles(self) -> Crops:
        """What the encoder is to see, uint8 (n, 64, 64)."""
        edge = (WIDE - SIDE) // 2
        return self.crops[:, edge : edge + SIDE, edge : edge + SIDE]


@dataclass(frozen=True)
class _Picture:
    path: Path
    split: str
    centres: NDArray[np.float64]
    names: tuple[str, ...]
    window: float


def collected(data: Path, cache: Path | None = None, seen: Callable[[], None] = lambda: None) -> Cells:
    """The cells of ``bloodcells``, ``dsb2018`` and ``brightfield`` below a folder; kept in ``cache`` and read
    from there when it is there. ``seen`` is called after each image. Raises ``OSError`` where a set is missing."""
    if cache is not None and cache.exists():
        with np.load(cache) as kept:
            return Cells(kept["crops"], kept["classes"], kept["splits"], kept["images"])
    crops, classes, splits, images = [], [], [], []
    for number, picture in enumerate(_pictures(data)):
        with Image.open(picture.path) as opened:
            plane = cell_plane(np.asarray(opened))
        crops.append(cut(plane, picture.centres, picture.window * WIDE / SIDE, WIDE))
        classes += [CLASSES.index(name) for name in picture.names]
        splits += [SPLITS.index(picture.split)] * len(picture.names)
        images += [number] * len(picture.names)
        seen()
    cells = Cells(np.concatenate(crops), np.array(classes), np.array(splits), np.array(images))
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        fresh = cache.with_suffix(".new.npz")
        np.savez_compressed(fresh, crops=cells.crops, classes=cells.classes, splits=cells.splits, images=cells.images)
        fresh.replace(cache)
    return cells


def digest(data: Path) -> str:
    """The SHA-256 of the tables that say which cells there are and how they are split."""
    tables = ("bloodcells/cells.csv", "dsb2018/index.csv", "brightfield/index.csv")
    return hashlib.sha256(b"".join((data / name).read_bytes() for name in tables)).hexdigest()


def _pictures(data: Path) -> Iterator[_Picture]:
    yield from _smears(data / "bloodcells")
    for name in ("dsb2018", "brightfield"):
        yield from _masked(data / name)


def _smears(folder: Path) -> Iterator[_Picture]:
    by_image: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in _rows(folder / "cells.csv"):
        by_image[row["subset"], row["image"]].append(row)
    for (subset, image), rows in by_image.items():
        window = float(SIDE) if subset == "chula_rbc12" else window_of(_red_diameters(rows))
        kept = [row for row in rows if row["class_name"] in CLASSES]
        if kept:
            centres = np.array([(float(row["cy"]), float(row["cx"])) for row in kept])
            names = tuple(row["class_name"] for row in kept)
            yield _Picture(folder / subset / "images" / image, kept[0]["split"], centres, names, window)


def _red_diameters(rows: list[dict[str, str]]) -> list[float]:
    red = [row for row in rows if row["class_name"] == "rbc"] or rows
    # The larger side: cells at the border of the image are cut.
    return [max(float(r["xmax"]) - float(r["xmin"]), float(r["ymax"]) - float(r["ymin"])) for r in red]


def _masked(folder: Path) -> Iterator[_Picture]:
    for number, row in enumerate(_rows(folder / "index.csv")):
        with Image.open(folder / "labels" / f"{row['name']}.png") as opened:
            labels = np.asarray(opened).astype(np.int64)
        areas = np.bincount(labels.ravel())
        names = np.flatnonzero(areas[1:]) + 1
        if len(names):
            y, x = _centres(labels, len(areas))
            window = window_of(np.sqrt(4 / np.pi * areas[names]))
            some = np.random.default_rng(number).permutation(names)[:MOST]
            centres = np.stack([y[some], x[some]], axis=1)
            kinds = (GROUPS[row["group"]],) * len(some)
            yield _Picture(folder / "images" / f"{row['name']}.png", row["split"], centres, kinds, window)


def _centres(labels: NDArray[Any], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = np.indices(labels.shape)
    flat = labels.ravel()
    areas = np.maximum(np.bincount(flat, minlength=count), 1)
    return np.bincount(flat, rows.ravel(), count) / areas, np.bincount(flat, columns.ravel(), count) / areas


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def counted(cells: Cells) -> Mapping[str, Mapping[str, int]]:
    """How many cells of each class each split has."""
    return {
        split: {
            name: int(((cells.classes == number) & (cells.splits == s)).sum()) for number, name in enumerate(CLASSES)
        }
        for s, split in enumerate(SPLITS)
    }
