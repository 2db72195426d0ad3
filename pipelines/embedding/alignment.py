"""Lay a new map over the old one, so that what people know of the old still holds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.float64]
"""(n, 2)."""


@dataclass(frozen=True)
class Alignment:
    """Turn, mirror, scale and shift."""

    turn: NDArray[np.float64]
    """(2, 2), orthogonal."""
    scale: float
    shift: NDArray[np.float64]
    """(2,)."""

    def __call__(self, places: NDArray[Any]) -> Places:
        """Places of the new map as places of the old."""
        result: Places = self.scale * (places.astype(np.float64) @ self.turn) + self.shift
        return result


def aligned(new: NDArray[Any], old: NDArray[Any], scaled: bool = True) -> Alignment:
    """What brings the places of some cells, the anchors, on a new map nearest to those on the old (least squares).

    Orthogonal Procrustes with scale (Schönemann & Carroll 1970). ``scaled=False`` keeps the new map's size. Raises
    ``ValueError`` for fewer than three anchors, or when all lie in one place.
    """
    if new.shape != old.shape or len(new) < 3:
        raise ValueError(f"anchors at {new.shape} and {old.shape}: there must be three or more, the same on both maps")
    middle_new, middle_old = new.mean(axis=0, dtype=np.float64), old.mean(axis=0, dtype=np.float64)
    from_new, from_old = new - middle_new, old - middle_old
    extent = float((from_new**2).sum())
    if extent <= 0:
        raise ValueError("all anchors lie in one place of the new map: it cannot be laid over another")
    left, sizes, right = np.linalg.svd(from_new.T @ from_old)
    turn = left @ right
    scale = float(sizes.sum()) / extent if scaled else 1.0
    return Alignment(turn, scale, middle_old - scale * (middle_new @ turn))


def spread(places: NDArray[Any]) -> float:
    """The root mean square distance of places from their middle."""
    return float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=1).mean()))


def jump(new: NDArray[Any], old: NDArray[Any]) -> float:
    """How far the median anchor has moved, as a share of the old map's ``spread``."""
    return float(np.median(np.linalg.norm(new - old, axis=1))) / spread(old)
