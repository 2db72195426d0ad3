"""What a network is to learn of a mask, and an endless stream of augmented crops."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from skimage.segmentation import find_boundaries
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.nuclei.normalise import Plane, normalise
from pipelines.training.data import Labels, entries, pixels, truth

Targets = NDArray[np.uint8]
Random = np.random.Generator

INTERIOR, BOUNDARY, DISTANCE, HARD = range(4)
"""Channels of ``Targets``, each 0..255 for 0..1."""
TINY = 80
"""Pixels; micronuclei, mostly."""
SIDE = 256
"""Height and width of a crop, pixels."""
SCALES = (0.7, 1.5)
BLANKS = 0.02
"""Share of crops that show nothing: the network must learn what an empty well looks like."""
SHARES = {"fluo": 1.0, "histology": 0.6, "brightfield_grey": 0.6}
"""How often a group is drawn, beside the size of its subgroup to the power of 3/4."""


def targets(labels: Labels) -> Targets:
    """What is to be learnt of a mask: uint8 (4, H, W), see ``INTERIOR`` and its neighbours.

    The distance is that to the edge of the nucleus over the largest in it. ``HARD`` only weighs the losses: it
    marks where two nuclei are within two pixels of each other, and nuclei of less than ``TINY`` pixels, which
    count as much as large ones but are seen in few pixels.
    """
    inside = labels > 0
    edge = find_boundaries(labels, mode="inner")  # type: ignore[no-untyped-call]
    depth = np.where(inside, ndimage.distance_transform_edt(inside & ~edge) + 1.0, 0.0)
    deepest = np.zeros(int(labels.max()) + 1)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    distance = depth / np.maximum(deepest[labels], 1.0)
    low = ndimage.minimum_filter(np.where(inside, labels, np.iinfo(np.uint16).max), size=5)
    touch = (ndimage.maximum_filter(labels, size=5) > low) & (low > 0)
    areas = np.bincount(labels.ravel())
    tiny = ndimage.maximum_filter(inside & (areas < TINY)[labels], size=3)
    return np.stack([inside * 255, edge * 255, np.rint(distance * 255), (touch | tiny) * 255]).astype(np.uint8)


@dataclass(frozen=True)
class Sample:
    """An image ready to be cropped: plane float32 (H, W), targets uint8 (4, H, W), and how often to draw it."""

    plane: Plane
    targets: Targets
    weight: float


def samples(data: Path, split: str, seen: Callable[[], None]) -> list[Sample]:
    """All images of a split, normalised once and kept in memory; ``seen`` is called after each."""
    chosen = entries(data, split)
    sizes: dict[str, int] = {}
    for entry in chosen:
        sizes[entry.subgroup] = sizes.get(entry.subgroup, 0) + 1
    ready = []
    for entry in chosen:
        weight = SHARES.get(entry.group, 1.0) / sizes[entry.subgroup] ** 0.25
        ready.append(Sample(normalise(pixels(data, entry)), targets(truth(data, entry)), weight))
        seen()
    return ready


def batches(ready: list[Sample], size: int, random: Random) -> Iterator[tuple[Plane, Plane]]:
    """Endless random crops: images (N, 1, 256, 256) and targets (N, 4, 256, 256), float32 in 0..1."""
    weights = np.array([sample.weight for sample in ready])
    weights /= weights.sum()
    while True:
        drawn = [crop(ready[i], random) for i in random.choice(len(ready), size, p=weights)]
        yield np.stack([image for image, _ in drawn])[:, None], np.stack([target for _, target in drawn])


def crop(sample: Sample, random: Random) -> tuple[Plane, Plane]:
    """One augmented crop: image (256, 256) and targets (4, 256, 256)."""
    if random.random() < BLANKS:
        return _blank(random), np.zeros((4, SIDE, SIDE), np.float32)
    scale = np.exp(random.uniform(*np.log(SCALES))) if random.random() < 0.6 else 1.0
    image, target = _window(sample, round(SIDE / scale), random)
    if scale != 1.0:
        image, target = _resized(image[None])[0], _resized(target)
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    image, target = np.rot90(image, turns), np.rot90(target, turns, (1, 2))
    if flip:
        image, target = image[:, ::-1], target[:, :, ::-1]
    return _spoilt(np.ascontiguousarray(image), random), target.astype(np.float32) / np.float32(255)


def _window(sample: Sample, side: int, random: Random) -> tuple[Plane, NDArray[np.float32]]:
    height, width = sample.plane.shape
    top = int(random.integers(max(height - side, 0) + 1))
    left = int(random.integers(max(width - side, 0) + 1))
    rows, columns = slice(top, top + side), slice(left, left + side)
    image, target = sample.plane[rows, columns], sample.targets[:, rows, columns].astype(np.float32)
    missing = [(0, max(side - height, 0)), (0, max(side - width, 0))]
    if any(after for _, after in missing):
        image = np.pad(image, missing, mode="symmetric")
        target = np.pad(target, [(0, 0), *missing], mode="symmetric")
    return image, target


def _resized(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    batch = torch.from_numpy(np.ascontiguousarray(planes))[None]
    result: NDArray[np.float32] = F.interpolate(batch, (SIDE, SIDE), mode="bilinear")[0].numpy()
    return result


def _spoilt(image: Plane, random: Random) -> Plane:
    # The order is that of a microscope: optics, exposure, camera noise.
    if random.random() < 0.25:
        image = ndimage.gaussian_filter(image, random.uniform(0.4, 1.6), truncate=3.0)
    if random.random() < 0.5:
        image = image ** np.float32(random.uniform(0.7, 1.4))
    if random.random() < 0.5:
        image = image * np.float32(random.uniform(0.65, 1.15)) + np.float32(random.uniform(-0.05, 0.1))
    if random.random() < 0.4:
        image = image + random.standard_normal(image.shape, np.float32) * np.float32(random.uniform(0.0, 0.06))
    return np.clip(image, 0.0, 1.0)


def _blank(random: Random) -> Plane:
    slope = np.linspace(0.0, random.uniform(0.0, 0.4), SIDE, dtype=np.float32)
    image = slope[:, None] + np.float32(random.uniform(0.0, 0.3))
    noise = random.standard_normal((SIDE, SIDE), np.float32) * np.float32(random.uniform(0.0, 0.12))
    return np.clip(image + noise, 0.0, 1.0)
