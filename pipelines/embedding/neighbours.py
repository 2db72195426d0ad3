"""Neighbours of vectors of length one, and how good they are: classes, precision, overlap, faithfulness of maps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""(n, d)."""
Found = NDArray[np.int64]
"""(queries, k): rows of the base, nearest first."""

BLOCK = 512
"""Queries compared with the whole base at once."""


def nearest(
    queries: Vectors,
    base: Vectors,
    k: int,
    apart: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Found:
    """The ``k`` rows of ``base`` with the largest cosine to each query, exactly; fewer where the base has fewer.

    ``apart``: a label of each query and of each row of the base; rows with the query's own label are not looked at
    (say, cells of the same image), and must leave ``k`` others.
    """
    k = min(k, len(base))
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        cosines = queries[part] @ base.T
        if apart is not None:
            cosines[apart[0][part, None] == apart[1][None]] = -np.inf
        best = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(cosines, best, 1), axis=1, kind="stable")
        found[part] = np.take_along_axis(best, order, 1)
    return found


def vote(found: Found, classes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The commonest class among the neighbours of each query, the nearer the more it counts."""
    weights = 1.0 / (1.0 + np.arange(found.shape[1]))
    votes = np.zeros((len(found), count))
    for rank, weight in enumerate(weights):
        np.add.at(votes, (np.arange(len(found)), classes[found[:, rank]]), 1 + 1e-3 * weight)
    winners: NDArray[np.int64] = votes.argmax(axis=1)
    return winners


def average_precision(same: NDArray[np.bool_], there: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average precision of each query at the rank ``k``, the number of columns of ``same``.

    ``same``: whether the neighbour at each rank is of the query's class; ``there``: how many of that class the base
    has. The mean over the ranks with one of the class of the precision up to there, over min(k, there).
    """
    ranks = np.arange(1, same.shape[1] + 1)
    precisions = np.cumsum(same, axis=1) / ranks
    result: NDArray[np.float64] = (precisions * same).sum(1) / np.maximum(np.minimum(same.shape[1], there), 1)
    return result


def overlap(found: Found, wanted: Found) -> float:
    """The share of the wanted neighbours that were found, in any order: recall@k of a search."""
    hits = (found[:, :, None] == wanted[:, None, :]).any(axis=1)
    return float(hits.mean())


def distances(points: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float32]:
    """Squared Euclidean distances, (n, m)."""
    points, others = points.astype(np.float32), others.astype(np.float32)
    squares = (points**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * points @ others.T
    result: NDArray[np.float32] = np.maximum(squares, 0, out=squares)
    return result


def trustworthiness(vectors: Vectors, places: NDArray[Any], k: int = 15) -> float:
    """How far neighbours on a map are neighbours among the vectors, 0 to 1 (Venna & Kaski 2001).

    1 - 2 / (n k (2n - 3k - 1)) times the sum, over points that are among the k nearest on the map only, of their rank
    among the vectors beyond k. Takes memory of some n squared.
    """
    count = len(vectors)
    if not 0 < k < count / 2:
        raise ValueError(f"{k} neighbours of {count} points: there must be more than twice as many points")
    far = distances(vectors, vectors)
    np.fill_diagonal(far, -1)
    ranks = np.empty((count, count), np.int32)
    np.put_along_axis(ranks, far.argsort(axis=1), np.arange(count, dtype=np.int32)[None], axis=1)
    beyond = np.take_along_axis(ranks, _near(places, k), 1) - k
    penalty = float(beyond[beyond > 0].sum())
    return 1.0 - penalty * 2.0 / (count * k * (2.0 * count - 3.0 * k - 1.0))


def preservation(vectors: Vectors, places: NDArray[Any], k: int = 15) -> float:
    """The share of the k nearest among the vectors that are also among the k nearest on the map, 0 to 1."""
    return overlap(_near(places, k), _near(vectors, k))


def _near(points: NDArray[Any], k: int) -> Found:
    far = distances(points, points)
    np.fill_diagonal(far, np.inf)
    some = np.argpartition(far, k - 1, axis=1)[:, :k]
    found: Found = np.take_along_axis(some, np.take_along_axis(far, some, 1).argsort(axis=1), 1)
    return found
