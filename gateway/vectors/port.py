"""What is asked of an index of vectors: small enough that a vector database could do it instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from contracts.errors import Unavailable

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
NOBODY = -1
"""Stands in results where there are fewer than were asked for."""


class Damaged(Unavailable):
    """What lies on the disk is not what was written there. Its text names the file and the remedy."""


@dataclass(frozen=True)
class Found:
    """The nearest of each query, best first: ``ids`` (queries, k), ``NOBODY`` where there are fewer, and their cosine
    similarities ``scores`` (queries, k), float32."""

    ids: Ids
    scores: Vectors


@dataclass(frozen=True)
class IdSet:
    """Ids as bits: id ``i`` is bit ``i % 8`` of byte ``i // 8``. Ids are therefore small numbers without great gaps."""

    bits: npt.NDArray[np.uint8]

    @classmethod
    def of_ranges(cls, ranges: npt.ArrayLike) -> "IdSet":
        """The ids of half-open ranges (n, 2), which may overlap."""
        pairs = np.asarray(ranges, np.int64).reshape(-1, 2)
        inside = np.zeros(int(pairs[:, 1].max(initial=0)), np.bool_)
        for first, end in pairs:
            inside[first:end] = True
        return cls.of_mask(inside)

    @classmethod
    def of_mask(cls, inside: Mask) -> "IdSet":
        """The places in which a mask is true."""
        return cls(np.packbits(inside, bitorder="little"))

    @classmethod
    def of(cls, ids: Ids) -> "IdSet":
        """These ids."""
        inside = np.zeros(int(ids.max(initial=-1)) + 1, np.bool_)
        inside[ids] = True
        return cls.of_mask(inside)

    def __len__(self) -> int:
        return int(np.bitwise_count(self.bits).sum())

    def mask(self, ids: Ids) -> Mask:
        """Which of these ids, ascending, are in it."""
        if len(ids) and int(ids[-1]) - int(ids[0]) + 1 == len(ids):
            return self._between(int(ids[0]), int(ids[-1]) + 1)
        byte = ids >> 3
        known = byte < len(self.bits)
        found = np.zeros(len(ids), np.bool_)
        found[known] = (self.bits[byte[known]] >> (ids[known] & 7).astype(np.uint8)) & 1
        return found

    def _between(self, first: int, end: int) -> Mask:
        """Those of ids without a gap, which is how most lie."""
        some = np.unpackbits(self.bits[first >> 3 : (end + 7) >> 3], bitorder="little")[first & 7 :]
        found = np.zeros(end - first, np.bool_)
        some = some[: end - first]
        found[: len(some)] = some
        return found


class VectorIndex(Protocol):
    """Keeps L2-normalised vectors by ids, and finds those nearest to others. All of it blocks, and may be called from
    several threads at once. What ``add`` and ``delete`` have returned from survives a crash.

    Raises ``Unavailable`` where it, or a part of it, cannot be reached; ``Full`` without room on the disk.
    """

    @property
    def dimension(self) -> int: ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Keep vectors (n, dimension) under ids (n), no id twice; the vector of an id that is known is replaced."""
        ...

    def search(self, queries: Vectors, k: int, among: IdSet | None = None) -> Found:
        """The ``k`` nearest of each query (n, dimension), of these ids alone if any are given."""
        ...

    def get(self, ids: Ids) -> tuple[Vectors, Mask]:
        """The vectors of ids (n, dimension), as they are kept, and which of them are known; zeros for others."""
        ...

    def delete(self, ids: Ids) -> int:
        """Forget these; how many of them were known."""
        ...

    def count(self) -> int: ...

    def about(self) -> Mapping[str, Any]:
        """Statistics, as plain JSON. ``troubles`` lists what is damaged and what to do about it."""
        ...

    def close(self) -> None: ...


def best(parts: list[Found], k: int) -> Found:
    """The ``k`` best of what was found in several places; an id that two of them tell is told once."""
    if len(parts) == 1 and parts[0].ids.shape[1] == k:
        return parts[0]
    ids, scores = np.concatenate([one.ids for one in parts], 1), np.concatenate([one.scores for one in parts], 1)
    scores = np.where(ids == NOBODY, -np.inf, scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    width = min(k, ids.shape[1])
    found = nothing(len(ids), k)
    found.ids[:, :width], found.scores[:, :width] = ids[:, :width], scores[:, :width]
    for row in np.nonzero(_repeats(found.ids))[0]:
        _, firsts = np.unique(ids[row], return_index=True)
        own = np.sort(firsts[ids[row][firsts] != NOBODY])[:k]
        found.ids[row], found.scores[row] = NOBODY, 0
        found.ids[row, : len(own)], found.scores[row, : len(own)] = ids[row][own], scores[row][own]
    found.scores[found.ids == NOBODY] = 0
    return found


def nothing(queries: int, k: int) -> Found:
    """Nobody was found."""
    return Found(np.full((queries, k), NOBODY, np.int64), np.zeros((queries, k), np.float32))


def _repeats(ids: Ids) -> Mask:
    ordered = np.sort(ids, axis=1)
    found: Mask = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NOBODY)).any(1)
    return found
