"""One index of several: each keeps a part of the vectors, all are asked at once."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from gateway.vectors.port import Found, Ids, IdSet, Mask, VectorIndex, Vectors, best

STRIPE = 4096
"""Ids that follow each other lie in one shard so far: an image's cells are added and deleted together."""
T = TypeVar("T")


class ShardedIndex:
    """Implements ``VectorIndex``. The order of the shards is part of where vectors are: it must stay, and a shard more
    means that vectors are added anew. A shard that is away makes every search fail: part of an answer is none."""

    def __init__(self, shards: Sequence[VectorIndex]) -> None:
        if not shards or len({one.dimension for one in shards}) != 1:
            raise ValueError("shards must keep vectors of one length, and there must be one at least")
        self._shards = tuple(shards)
        self._threads = ThreadPoolExecutor(4 * len(shards), "shard")

    @property
    def dimension(self) -> int:
        return self._shards[0].dimension

    def _of(self, ids: Ids) -> Ids:
        """Which shard keeps each id."""
        return (ids // STRIPE) % len(self._shards)

    def _all(self, work: Callable[[int, VectorIndex], T]) -> list[T]:
        """Asks all at once. The first error of any is raised after all have answered."""
        futures = [self._threads.submit(work, number, shard) for number, shard in enumerate(self._shards)]
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See ``VectorIndex``. When it raises, some may be kept: adding all again changes that."""
        whose = self._of(ids)

        def work(number: int, shard: VectorIndex) -> None:
            mine = whose == number
            if mine.any():
                shard.add(ids[mine], vectors[mine])

        self._all(work)

    def search(self, queries: Vectors, k: int, among: IdSet | None = None) -> Found:
        """See ``VectorIndex``."""
        return best(self._all(lambda _, shard: shard.search(queries, k, among)), k)

    def get(self, ids: Ids) -> tuple[Vectors, Mask]:
        """See ``VectorIndex``."""
        whose = self._of(ids)
        found, known = np.zeros((len(ids), self.dimension), np.float32), np.zeros(len(ids), np.bool_)

        def work(number: int, shard: VectorIndex) -> None:
            mine = whose == number
            if mine.any():
                found[mine], known[mine] = shard.get(ids[mine])

        self._all(work)
        return found, known

    def delete(self, ids: Ids) -> int:
        """See ``VectorIndex``."""
        whose = self._of(ids)
        return sum(self._all(lambda number, shard: shard.delete(ids[whose == number])))

    def count(self) -> int:
        return sum(self._all(lambda _, shard: shard.count()))

    def about(self) -> Mapping[str, Any]:
        """Of each shard, in their order, and together."""
        told = self._all(lambda _, shard: shard.about())
        troubles = [words for one in told for words in one["troubles"]]
        sums = {name: sum(int(one.get(name, 0)) for one in told) for name in ("count", "disk_bytes", "memory_bytes")}
        return {**sums, "shards": [dict(one) for one in told], "troubles": troubles}

    def close(self) -> None:
        """Close all."""
        self._all(lambda _, shard: shard.close())
        self._threads.shutdown()
