"""The nuclei set: images, their instance masks, and the index that splits them."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint16]


@dataclass(frozen=True)
class Entry:
    """One line of the set's ``index.csv``."""

    name: str
    group: str
    subgroup: str
    split: str


def entries(data: Path, split: str) -> list[Entry]:
    """The images of a split, in the order of the index. Raises ``ValueError`` when there are none."""
    with (data / "index.csv").open(newline="") as file:
        rows = [
            Entry(row["name"], row["group"], row.get("subgroup") or row["group"], row["split"])
            for row in csv.DictReader(file)
        ]
    found = [row for row in rows if row.split == split]
    if not found:
        known = ", ".join(sorted({row.split for row in rows}))
        raise ValueError(f"{data}: no image of split {split!r}; there are: {known}")
    return found


def pixels(data: Path, entry: Entry) -> NDArray[Any]:
    """The image as stored: (H, W) or (H, W, 3)."""
    with Image.open(data / "images" / f"{entry.name}.png") as picture:
        return np.asarray(picture)


def truth(data: Path, entry: Entry) -> Labels:
    """The mask, uint16 (H, W): 0 is background, 1..n are nuclei."""
    with Image.open(data / "labels" / f"{entry.name}.png") as picture:
        return np.asarray(picture).astype(np.uint16)


def digest(data: Path) -> str:
    """The SHA-256 of the index and of every file that it names, in order."""
    total = hashlib.sha256((data / "index.csv").read_bytes())
    with (data / "index.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    for name in names:
        for folder in ("images", "labels"):
            total.update((data / folder / f"{name}.png").read_bytes())
    return total.hexdigest()
