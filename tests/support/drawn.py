"""A set of drawn images with ground truth, laid out as real ones are."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.draw import disk


def drawn_set(folder: Path, splits: Sequence[str]) -> Path:
    """One image of six bright discs for each of these splits, in their order."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    random = np.random.default_rng(0)
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "group", "subgroup", "split"])
        for number, split in enumerate(splits):
            labels = np.zeros((100, 120), np.uint16)
            for nucleus, (row, column) in enumerate(random.integers(12, 88, (6, 2)), 1):
                labels[disk((row, column), 9)] = nucleus
            scene = ndimage.gaussian_filter((labels > 0) * 120.0, 1) + random.normal(10, 2, labels.shape)
            Image.fromarray(scene.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number}.png")
            Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
            writer.writerow([number, "fluo", "drawn", split])
    return folder
