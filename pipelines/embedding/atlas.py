"""The map of cells: where a vector lies on it at once, by a small network that has learnt a UMAP, and how far from all
that the map was made of."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.blocking import Blocking
from pipelines.backends.openvino import OpenVino, Settings
from pipelines.backends.predictor import Predictor
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from pipelines.embedding.drift import Reach
from pipelines.embedding.model import WIDTH
from pipelines.embedding.neighbours import Vectors
from pipelines.nuclei.model import BrokenModel, ModelFolder

PROJECTOR = ("map/projector.xml", "map/projector.bin")
REFERENCE, PLACES = "map/vectors.npy", "map/places.npy"
FILES = (*PROJECTOR, REFERENCE, PLACES)
BATCHES = (1024, 64, 32, 8, 1)
FEW = 64
IN_ONE_THREAD = 1 << 18
"""Multiplications."""
NEIGHBOURS = 5
"""Novelty is the mean distance to so many of the reference set."""
WANTED = Signature(
    (Tensor("vectors", "float32", (None, WIDTH)),),
    (Tensor("places", "float32", (None, 2)),),
)


class Atlas:
    """The map that is in an encoder's folder. Not to be shared between threads."""

    def __init__(self, folder: ModelFolder) -> None:
        """Raises ``BrokenModel`` if its files are not those described, or do not fit together."""
        said = _described(folder)
        self.folder = folder
        self.reach = Reach(limit=float(said["limit"]), expected=float(said["expected"]))
        self._predict = Predictor(
            Blocking(OpenVino(self._files, Settings(precision="f32"))), ModelRef("cells-map"), WANTED
        )
        self._predict.ready()
        self.reference: Vectors = _array(folder, REFERENCE)
        """What the map is made of, or some of it."""
        self.reference_places: NDArray[np.float32] = _array(folder, PLACES)
        """Where it lies: the anchors of the next map."""
        if (self.reference.shape[1:], len(self.reference)) != ((WIDTH,), len(self.reference_places)):
            shapes = f"{self.reference.shape} and {self.reference_places.shape}"
            raise BrokenModel(f"{folder.path}: the map's vectors and places are {shapes}, not (n, {WIDTH}) and (n, 2)")

    def places(self, vectors: Vectors) -> NDArray[np.float32]:
        """Where vectors of length one, float32 (n, 128), lie: (n, 2), in the units of the map."""
        parts, done = [np.zeros((0, 2), np.float32)], 0
        while done < len(vectors):
            size = next(size for size in BATCHES if size <= len(vectors) - done)
            part = np.ascontiguousarray(vectors[done : done + size], np.float32)
            parts.append(np.array(self._predict({"vectors": part}).outputs["places"]))
            done += size
        return np.concatenate(parts)

    def novelty(self, vectors: Vectors) -> NDArray[np.float32]:
        """How far vectors lie from the reference set: one minus the mean cosine to the five nearest, (n,)."""
        return novelty(vectors, self.reference)

    def _files(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        network, weights = (self.folder.read(name) for name in PROJECTOR)
        return str(self.folder.metadata.get("version", "")), network, weights


def has_map(folder: ModelFolder) -> bool:
    """Whether an encoder's folder describes a map."""
    return "map" in folder.metadata


def novelty(vectors: Vectors, reference: Vectors) -> NDArray[np.float32]:
    """See ``Atlas.novelty``. In blocks, so that memory is bounded."""
    result = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), 1024):
        cosines = products(vectors[start : start + 1024], reference)
        best = -np.partition(-cosines, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        result[start : start + 1024] = 1 - best.mean(axis=1)
    return result


def products(vectors: Vectors, reference: Vectors) -> NDArray[np.float32]:
    """The inner products of all pairs. Of few vectors in parts so small that OpenBLAS computes them in the caller's
    thread: where others work on the same cores, waiting for its other threads takes a hundred times as long."""
    if len(vectors) > FEW:
        found: NDArray[np.float32] = vectors @ reference.T
        return found
    result = np.empty((len(vectors), len(reference)), np.float32)
    step = max(1, IN_ONE_THREAD // max(1, vectors.size))
    for start in range(0, len(reference), step):
        np.matmul(vectors, reference[start : start + step].T, out=result[:, start : start + step])
    return result


def _described(folder: ModelFolder) -> Mapping[str, Any]:
    said = folder.metadata.get("map")
    if not isinstance(said, dict) or not all(isinstance(said.get(name), float) for name in ("limit", "expected")):
        raise BrokenModel(f"{folder.path}: metadata.json must give the map's 'limit' and 'expected'; fit the map again")
    return said


def _array(folder: ModelFolder, name: str) -> NDArray[np.float32]:
    try:
        found: NDArray[np.float32] = np.load(io.BytesIO(folder.read(name)), allow_pickle=False).astype(np.float32)
    except (ValueError, OSError) as error:
        raise BrokenModel(f"{folder.path}: {name} cannot be read ({error}); fit the map again") from error
    if found.ndim != 2 or len(found) < NEIGHBOURS or not np.isfinite(found).all():
        raise BrokenModel(f"{folder.path}: {name} holds {found.shape}, or no finite numbers; fit the map again")
    return found
