"""The encoder of the pipeline ``cells`` as the stream asks it: each frame is the small image of one cell."""

from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.tensors import Arrays, ModelRef
from pipelines.embedding.atlas import Atlas, has_map
from pipelines.embedding.crops import SIDE
from pipelines.embedding.frames import crops_of
from pipelines.embedding.model import FILES, WIDTH, classes_of, shipped, signature
from pipelines.embedding.neighbours import Vectors
from pipelines.nuclei.model import BrokenModel, ModelFolder
from pipelines.stream.port import Findings
from pipelines.stream.rules import padded

AT_ONCE = (1, 8, 32)
"""Vectors that are placed together: sizes for which the map's network is compiled."""


class StreamedCells:
    """Class, vector and place on the map of each frame, the same as ``pipelines.embedding.pipeline`` gives to an image
    of that size (``cells`` = whole)."""

    name, vector, side, precision = "cells", WIDTH, SIDE, "f32"
    measures = ("novelty",)

    def __init__(self, folder: ModelFolder | None = None) -> None:
        """The shipped model unless a folder is named. Raises ``BrokenModel`` where its description cannot be read."""
        self.folder = folder or shipped()
        self.classes = classes_of(self.folder)
        self.wanted = signature(self.classes)
        self.map_of = str(self.folder.metadata.get("version", "")) if has_map(self.folder) else ""

    def source(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        """Raises ``BrokenModel`` if the files are not those that were described when it was exported."""
        version = str(self.folder.metadata.get("version", ""))
        if ref.version not in ("", version):
            raise BrokenModel(f"{ref} is not at {self.folder.path}, which has version {version}; name that, or none")
        network, weights = (self.folder.read(name) for name in FILES)
        return version, network, weights

    def warm(self) -> None:
        """Raises ``BrokenModel`` if the map's files are not those that were described."""
        if self.map_of:
            for size in AT_ONCE:
                self._atlas.places(np.zeros((size, WIDTH), np.float32))

    def prepare(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """Crops in 0..1, cells bright, (N, 1, 64, 64): each frame is scaled by itself, as a small image is."""
        return crops_of(frames)[:, None].astype(np.float32) * np.float32(1 / 255)

    def read(self, outputs: Arrays) -> Findings:
        """The most probable class of each frame, its vector, and how its place and novelty are found."""
        found, vectors = outputs["probabilities"], np.array(outputs["vectors"], np.float32)
        labels = found.argmax(axis=1)
        best: NDArray[np.float32] = found[np.arange(len(found)), labels]
        if not self.map_of:
            return Findings(labels, best, vectors)
        features = {"novelty": partial(self._atlas.novelty, vectors)}
        return Findings(labels, best, vectors, partial(self.places, vectors), features)

    def places(self, vectors: Vectors) -> NDArray[np.float32]:
        """Where vectors lie, float32 (N, 2): in one go, as asking takes longer than placing some more."""
        missing = max(0, padded(len(vectors), AT_ONCE) - len(vectors))
        return self._atlas.places(np.concatenate([vectors, np.zeros((missing, WIDTH), np.float32)]))[: len(vectors)]

    @cached_property
    def _atlas(self) -> Atlas:
        """Of the thread that asks the model, and of no other."""
        return Atlas(self.folder)
