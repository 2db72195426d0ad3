"""What a build must know of the nuclei model: its network, pictures to calibrate with, and how good it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pipelines.build import source
from pipelines.build.accuracy import Scores
from pipelines.build.onnx_export import Probabilities
from pipelines.model_folder import ModelFolder
from pipelines.nuclei.normalise import Plane
from pipelines.nuclei.tiling import Predict
from pipelines.training.crops import batches, samples
from pipelines.training.data import digest, entries
from pipelines.training.evaluate import matches

FOREMOST = "fluo"
"""What the model is for; its F1 is held to the limit by itself, beside that of all pictures together."""
EVERY = "all"
ENDS = {
    "input": "float32 (N, 1, H, W), 0..1, nuclei bright; H and W multiples of 16",
    "output": "float32 (N, 3, H, W), 0..1: nucleus, boundary, distance to the edge",
}


class Nuclei:
    """The nuclei model of a folder, with a set of pictures with ground truth."""

    name = "nuclei"

    def __init__(self, folder: ModelFolder, data: Path, most: int | None = None) -> None:
        """``most``: judge by so many pictures of a split at most."""
        self.folder, self.data, self._most = folder, data, most

    def network(self) -> nn.Module:
        """From (N, 1, H, W) in 0..1 to three maps in 0..1. Raises ``BadSource``."""
        return Probabilities(source.load(self.folder.path / source.FILE)).eval()

    def crops(self, count: int, seed: int) -> Plane:
        """Crops of the training split, (count, 256, 256), drawn as for training. Raises ``ValueError``, ``OSError``."""
        ready = samples(self.data, "train", lambda: None)
        images: Plane = next(batches(ready, count, np.random.default_rng(seed)))[0][:, 0]
        return images

    def scores(self, split: str, predict: Predict, title: str) -> Scores:
        """F1 at an overlap of 0.5 of each image, found by the code that serves the model."""
        chosen = entries(self.data, split)[: self._most]
        found = matches(self.data, chosen, predict, title)
        of = {EVERY: found, FOREMOST: [m for m, entry in zip(found, chosen, strict=True) if entry.group == FOREMOST]}
        return {group: np.array([one.f1() for one in some]) for group, some in of.items() if some}

    def images(self, split: str) -> int:
        """How many pictures judge a split."""
        return len(entries(self.data, split)[: self._most])

    def described(self) -> dict[str, Any]:
        """What ``metadata.json`` says of where the model came from."""
        said = self.folder.metadata
        own = {name: said[name] for name in ("network", "parameters", "training") if name in said}
        return own | ENDS | {"data": said["data"] | {"sha256": digest(self.data)}}


MODELS: dict[str, Callable[..., Nuclei]] = {Nuclei.name: Nuclei}
