"""From the vectors of one encoder to those of another, so that old cells are found from new ones without being embedded
again."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.embedding.neighbours import Vectors, nearest, overlap
from pipelines.nuclei.model import BrokenModel, ModelFolder

KEPT = 0.9
"""Of a search's quality must be kept, or the cells have to be embedded again."""
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Penalties that are tried, per anchor."""
Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Matrix (in, out) and shift (out,)."""


@dataclass(frozen=True)
class Translation:
    """Matrices with a ramp (ReLU) between them; what comes out is brought to length one."""

    kind: str
    layers: tuple[Layer, ...]

    def __call__(self, vectors: Vectors) -> Vectors:
        """Vectors of the old encoder, (n, d), as the new one would have them, of length one."""
        values = vectors.astype(np.float32, copy=False)
        for number, (matrix, shift) in enumerate(self.layers):
            if number:
                values = np.maximum(values, 0)
            values = values @ matrix + shift
        return unit(values)


Fit = Callable[[Vectors, Vectors], Translation]
"""From anchors, embedded by the old and by the new encoder, to a translation."""


def unit(vectors: NDArray[Any]) -> Vectors:
    """Brought to length one; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return result


def procrustes(old: Vectors, new: Vectors) -> Translation:
    """The turn of the space that brings old anchors nearest to new ones (Schönemann 1966). Needs few anchors and keeps
    all angles, so it can only be right when both encoders see the same."""
    middle_old, middle_new = old.mean(axis=0, dtype=np.float64), new.mean(axis=0, dtype=np.float64)
    left, _, right = np.linalg.svd((old - middle_old).T @ (new - middle_new), full_matrices=False)
    turn = left @ right
    return Translation("procrustes", (_layer(turn, middle_new - middle_old @ turn),))


def ridge(old: Vectors, new: Vectors) -> Translation:
    """The linear map of least squares with the penalty that does best on a fifth of the anchors (Hoerl & Kennard
    1970)."""
    fifth = len(old) // 5
    tried = {
        penalty: float(((_ridge(old[fifth:], new[fifth:], penalty)(old[:fifth]) - new[:fifth]) ** 2).sum())
        for penalty in RIDGES
    }
    return _ridge(old, new, min(tried, key=lambda penalty: tried[penalty]))


def _ridge(old: Vectors, new: Vectors, penalty: float) -> Translation:
    middle_old, middle_new = old.mean(axis=0, dtype=np.float64), new.mean(axis=0, dtype=np.float64)
    from_old, from_new = old - middle_old, new - middle_new
    size = from_old.shape[1]
    squares = from_old.T @ from_old + penalty * len(old) / size * np.eye(size)
    matrix = np.linalg.solve(squares, from_old.T @ from_new)
    return Translation("ridge", (_layer(matrix, middle_new - middle_old @ matrix),))


def _layer(matrix: NDArray[Any], shift: NDArray[Any]) -> Layer:
    return matrix.astype(np.float32), shift.astype(np.float32)


def recall(translation: Translation, old: Vectors, new: Vectors, k: int = 10) -> float:
    """Of the k nearest that a new vector has among cells embedded anew, the share found among translated old ones.

    ``old`` and ``new`` are the same cells, each of which is asked in turn; a cell is not its own neighbour.
    """
    own = np.arange(len(new))
    wanted = nearest(new, new, k, (own, own))
    return overlap(nearest(new, translation(old), k, (own, own)), wanted)


def best(fits: Mapping[str, Fit], anchors: tuple[Vectors, Vectors], held_out: tuple[Vectors, Vectors]) -> Translation:
    """The translation, of all kinds, with the best ``recall`` at 10 on cells that it was not fitted on."""
    made = [fit(*anchors) for fit in fits.values()]
    return max(made, key=lambda one: recall(one, *held_out))


FITS: Mapping[str, Fit] = {"procrustes": procrustes, "ridge": ridge}
"""Those that need no training packages; ``pipelines.training.cells.translate`` adds a small network."""


def arrays(translation: Translation) -> list[NDArray[np.float32]]:
    """Matrices and shifts in turn, as they are stored."""
    return [array for layer in translation.layers for array in layer]


def of_arrays(kind: str, stored: Sequence[NDArray[Any]]) -> Translation:
    """Back from ``arrays``. Raises ``ValueError`` where they do not fit together."""
    layers = tuple(zip(stored[::2], stored[1::2], strict=True))
    if not layers:
        raise ValueError("a translation has one matrix at least")
    wide = layers[0][0].shape[0] if layers[0][0].ndim == 2 else 0
    for matrix, shift in layers:
        if matrix.ndim != 2 or matrix.shape != (wide, *shift.shape):
            raise ValueError(f"a translation's matrices do not fit: {[array.shape for array in stored]}")
        wide = matrix.shape[1]
    return Translation(kind, tuple(_layer(matrix, shift) for matrix, shift in layers))


def opened(folder: ModelFolder) -> Translation:
    """The translation that ``cytobus cells translate`` has written. Raises ``BrokenModel`` for any other folder, or if
    its files are not those described."""
    said = folder.metadata
    try:
        names = sorted(said["files"], key=lambda name: int(name.removesuffix(".npy")))
        stored = [np.load(io.BytesIO(folder.read(name)), allow_pickle=False) for name in names]
        return of_arrays(str(said["kind"]), stored)
    except (KeyError, ValueError, TypeError) as error:
        raise BrokenModel(f"{folder.path} holds no translation between encoders ({error}); learn it again") from error
