"""The smallest honest index: all vectors in memory, each compared. What was added dies with the process."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.vectors.port import Found, Ids, IdSet, Mask, Vectors, nothing


class ExactIndex:
    """Implements ``VectorIndex`` but for surviving. It is the part of ``StoredIndex`` that still changes, too."""

    def __init__(self, dimension: int, room: int = 1024) -> None:
        """``room``: so many vectors have a place from the beginning."""
        self._dimension, self._lock = dimension, threading.Lock()
        self._vectors, self._ids = np.zeros((room, dimension), np.float32), np.zeros(room, np.int64)
        self._alive = np.zeros(room, np.bool_)
        self._used = 0
        self._place: dict[int, int] = {}

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def used(self) -> int:
        """Places that are taken, by what was replaced or deleted too."""
        return self._used

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Keep vectors; see ``VectorIndex``."""
        with self._lock:
            self._grow(self._used + len(ids))
            first, end = self._used, self._used + len(ids)
            self._vectors[first:end], self._ids[first:end], self._alive[first:end] = vectors, ids, True
            for place, one in enumerate(ids.tolist(), first):
                if (before := self._place.get(one)) is not None:
                    self._alive[before] = False
                self._place[one] = place
            self._used = end

    def _grow(self, wanted: int) -> None:
        if wanted > len(self._ids):
            more = max(wanted, 2 * len(self._ids)) - len(self._ids)
            self._vectors = np.concatenate([self._vectors, np.zeros((more, self._dimension), np.float32)])
            self._ids = np.concatenate([self._ids, np.zeros(more, np.int64)])
            self._alive = np.concatenate([self._alive, np.zeros(more, np.bool_)])

    def search(self, queries: Vectors, k: int, among: IdSet | None = None) -> Found:
        """Exact; see ``VectorIndex``."""
        with self._lock:
            used, vectors, ids = self._used, self._vectors, self._ids
            wanted = self._alive[:used].copy()
        if among is not None:
            wanted &= _unordered(among, ids[:used])
        found = nothing(len(queries), k)
        if not wanted.any():
            return found
        if wanted.all():
            vectors, ids = vectors[:used], ids[:used]
        else:
            vectors, ids = vectors[:used][wanted], ids[:used][wanted]
        nearest(queries @ vectors.T, ids, found)
        return found

    def get(self, ids: Ids) -> tuple[Vectors, Mask]:
        """See ``VectorIndex``."""
        found, known = np.zeros((len(ids), self._dimension), np.float32), np.zeros(len(ids), np.bool_)
        with self._lock:
            for row, one in enumerate(ids.tolist()):
                if (place := self._place.get(one)) is not None:
                    found[row], known[row] = self._vectors[place], True
        return found, known

    def delete(self, ids: Ids) -> int:
        """See ``VectorIndex``."""
        with self._lock:
            places = [place for one in ids.tolist() if (place := self._place.pop(one, None)) is not None]
            self._alive[places] = False
            return len(places)

    def count(self) -> int:
        return len(self._place)

    def about(self) -> Mapping[str, Any]:
        """Statistics."""
        return {"count": self.count(), "troubles": []}

    def close(self) -> None:
        """Nothing is left behind."""

    def everything(self) -> tuple[Ids, Vectors]:
        """All ids, ascending, and their vectors."""
        with self._lock:
            ids = np.array(sorted(self._place), np.int64)
            return ids, self._vectors[[self._place[one] for one in ids.tolist()]]


def nearest(scores: Vectors, ids: Ids, found: Found) -> None:
    """Put the best of scores (queries, n), those of ``ids`` (n), into ``found``."""
    k = min(found.ids.shape[1], len(ids))
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < len(ids) else np.tile(np.arange(k), (len(scores), 1))
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable"), 1)
    found.ids[:, :k], found.scores[:, :k] = ids[best], np.take_along_axis(scores, best, 1)


def _unordered(among: IdSet, ids: Ids) -> Mask:
    order = np.argsort(ids, kind="stable")
    found = np.empty(len(ids), np.bool_)
    found[order] = among.mask(ids[order])
    return found
