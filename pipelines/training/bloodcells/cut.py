"""Crops of single cells from the three sets of smears, kept in one file."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.bloodcells.classes import CLASSES
from pipelines.bloodcells.normalise import SIDE

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


def digest_of(data: Path) -> str:
    """The SHA-256 of the table of cells and of every image that it names, in order."""
    table = (data / "cells.csv").read_bytes()
    total = hashlib.sha256(table)
    rows = csv.DictReader(table.decode().splitlines())
    for subset, image in dict.fromkeys((row["subset"], row["image"]) for row in rows):
        total.update((data / subset / "images" / image).read_bytes())
    return total.hexdigest()
