"""Which form of index suits how many vectors, as pure functions.

Measured on this kind of vectors (128 numbers, 1 M; ``make bench ARGS="--only vectors"``): an inverted file whose
vectors are kept in 8 bits a number (SQ8) loses nothing that re-ranking does not bring back and costs 1.1 bytes a
number; a product quantiser (PQ) of a byte for four numbers needs a third of that and several times the candidates.
Number of lists: about four times the square root of the vectors (FAISS, "Guidelines to choose an index").
"""

from dataclasses import dataclass
from math import log2, sqrt
from typing import Literal

FLAT, SQ8, PQ, HNSW = "flat", "ivf-sq8", "ivf-pq", "hnsw"
Choice = Literal["auto", "flat", "ivf-sq8", "ivf-pq", "hnsw"]
SMALL = 20_000
"""Up to here looking at every vector takes less than a millisecond or two."""
LEAST = 1000
"""Below there is nothing to learn lists from, whatever is wanted."""
TRAINING = 40
"""Vectors for each list that its centre is learned from."""


@dataclass(frozen=True)
class Kind:
    """A form of index. ``lists``: of an inverted file; ``pieces``: codes of a product quantiser, in bytes."""

    name: str
    lists: int = 0
    pieces: int = 0

    @property
    def candidates(self) -> int:
        """So many times the wanted number are looked at exactly: the coarser the codes, the more."""
        return {FLAT: 1, SQ8: 2, HNSW: 2, PQ: 10}[self.name]

    @property
    def recipe(self) -> str:
        """For FAISS's ``index_factory``; empty where there is nothing to make. ``np``: codes are not also put into an
        order that a search by Hamming distance would use; that takes minutes and is not used.

        Each query is compared with all centres of lists, 0.3 ms for 16 384 of them: a graph over these (``_HNSW32``)
        finds some in a third of that, but with inner products it came to 400 of them and no farther, and a search in
        10 M vectors went to all of these and still missed its recall."""
        centres = f"IVF{self.lists}"
        forms = {FLAT: "", SQ8: f"{centres},SQ8", PQ: f"{centres},PQ{self.pieces}x8np", HNSW: "HNSW32_SQ8"}
        return forms[self.name]

    def bytes_each(self, dimension: int) -> int:
        """Memory a vector: codes, ids, links; vectors themselves stay on the disk."""
        codes = {FLAT: 2 * dimension, SQ8: dimension + 8, PQ: self.pieces + 8, HNSW: dimension + 2 * 32 * 4 + 16}
        return codes[self.name] + 8 + 2  # its id, and whether it is deleted or damaged

    @property
    def efforts(self) -> tuple[int, ...]:
        """What is tried until the recall is as wanted: lists that are visited, or the breadth of a walk in a graph."""
        if self.name == FLAT:
            return (1,)
        most, first = (1024, 32) if self.name == HNSW else (self.lists, 4)
        steps = sorted({round(first * 2 ** (half / 2)) for half in range(40)})
        return (*(step for step in steps if step < most), most)


def choose(count: int, dimension: int, memory_bytes: float, wanted: Choice = "auto") -> Kind:
    """The form for so many vectors, of which all together may take ``memory_bytes``."""
    lists = 2 ** max(6, round(log2(4 * sqrt(max(count, 1)))))
    fine = max((d for d in range(1, dimension // 4 + 1) if dimension % d == 0), default=1)
    if wanted == "flat" or count <= (SMALL if wanted == "auto" else LEAST):
        return Kind(FLAT)
    if wanted == "hnsw":
        return Kind(HNSW)
    whole = Kind(SQ8, lists)
    if wanted == "ivf-sq8" or (wanted == "auto" and whole.bytes_each(dimension) * count <= memory_bytes):
        return whole
    return Kind(PQ, lists, fine)
