"""FAISS, and nothing else of ours knows it: making, opening and asking quantised indexes. Cosine similarity throughout.

FAISS (Douze et al., "The Faiss library", 2024) numbers the vectors of an index from 0; so do our segments.
"""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from contracts.errors import Unavailable
from gateway.vectors.kinds import FLAT, HNSW, PQ, TRAINING, Kind
from gateway.vectors.port import Damaged, Mask, Vectors

if TYPE_CHECKING:
    from types import ModuleType

Halves = npt.NDArray[np.float16]
PIECE = 65_536
"""Vectors that are read and turned into codes together."""
HEADER = 81
"""Bytes before the vectors in FAISS's file of a half-precision index; see ``header``."""
PQ_TRAINING = 25_600
"""Vectors from which a product quantiser learns: a hundred for each of its 256 codes."""


def faiss() -> "ModuleType":
    """The library. Raises ``Unavailable`` where it is not installed."""
    try:
        import faiss as found
    except ImportError:
        raise Unavailable(
            "finding similar cells needs FAISS, which is not installed: pip install 'cytobus[cells]', then restart"
        ) from None
    return found


def threads(count: int) -> None:
    """So many threads work on what this thread asks for."""
    faiss().omp_set_num_threads(count)


def header(count: int, dimension: int) -> bytes:
    """What FAISS's file of ``count`` vectors in half precision begins with; the vectors follow, row by row."""
    lib = faiss()
    form = lib.IndexScalarQuantizer(dimension, lib.ScalarQuantizer.QT_fp16, lib.METRIC_INNER_PRODUCT)
    form.is_trained = True
    written = bytearray(lib.serialize_index(form).tobytes())
    if len(written) != HEADER:
        raise Unavailable(f"this FAISS ({lib.__version__}) writes another form of file: install cytobus's own version")
    struct.pack_into("<q", written, 8, count)
    struct.pack_into("<q", written, HEADER - 8, count * dimension * 2)
    return bytes(written)


def build(kind: Kind, vectors: Halves, path: Path) -> None:
    """Write the codes of vectors (n, dimension) to a new file. Takes minutes for millions, and their codes' memory."""
    lib = faiss()
    index = lib.index_factory(vectors.shape[1], kind.recipe, lib.METRIC_INNER_PRODUCT)
    if kind.name != HNSW:
        index.cp.niter, index.cp.max_points_per_centroid = 8, TRAINING
        index.cp.min_points_per_centroid = 1
        if kind.name == PQ:
            index.pq.cp.niter, index.pq.cp.min_points_per_centroid = 8, 1
    wanted = max(TRAINING * kind.lists, PQ_TRAINING)
    step = max(1, len(vectors) // wanted)
    index.train(np.ascontiguousarray(vectors[::step][:wanted], np.float32))
    for piece in pieces(vectors):
        index.add(piece)
    lib.write_index(index, str(path))


def pieces(vectors: Halves) -> Iterator[Vectors]:
    """Some at a time, in full precision."""
    for start in range(0, len(vectors), PIECE):
        yield np.ascontiguousarray(vectors[start : start + PIECE], np.float32)


class Quantised:
    """A file of codes and the file of the very vectors, both mapped into memory: candidates by the first, the best of
    them by the second."""

    def __init__(self, kind: Kind, count: int, vectors: Path, codes: Path | None) -> None:
        """Raises ``Damaged`` for files that FAISS cannot read."""
        lib = faiss()
        self._lib, self._kind, self._count = lib, kind, count
        try:
            self._whole = lib.read_index(str(vectors), lib.IO_FLAG_MMAP_IFC)
            self._codes = self._index = self._whole
            if codes is not None:
                flag = lib.IO_FLAG_MMAP_IFC if kind.name == HNSW else lib.IO_FLAG_MMAP
                self._codes = lib.read_index(str(codes), flag | lib.IO_FLAG_READ_ONLY)
                if kind.name != HNSW:
                    # Otherwise each search starts 32 threads that read lists ahead: thrice the time of a search.
                    lib.downcast_InvertedLists(self._codes.invlists).prefetch_nthread = 0
                self._index = lib.IndexRefine(self._codes, self._whole)
        except RuntimeError as error:
            raise Damaged(f"{vectors.parent} cannot be read by FAISS: {error}") from None
        if self._whole.ntotal != count or self._codes.ntotal != count:
            raise Damaged(f"{vectors.parent} holds {self._codes.ntotal} vectors, not {count}")
        self._plain: dict[tuple[int, int], Any] = {}

    def search(
        self, queries: Vectors, k: int, effort: int, selector: Any = None
    ) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Numbers and similarities, best first; -1 where there are fewer. ``selector``: none but ``only`` these."""
        if self._kind.name == FLAT:
            parameters = None if selector is None else self._lib.SearchParameters(sel=selector)
        elif selector is None:
            parameters = self._plain.get((k, effort)) or self._plain.setdefault((k, effort), self._asked(k, effort))
        else:
            parameters = self._asked(k, effort, selector)
        scores, found = self._index.search(queries, k, params=parameters)
        return found, scores

    def only(self, wanted: Mask) -> Any:
        """What makes a search find only these (count)."""
        return self._lib.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))

    def _asked(self, k: int, effort: int, selector: Any = None) -> Any:
        form: Callable[..., Any] = (
            self._lib.SearchParametersHNSW if self._kind.name == HNSW else self._lib.SearchParametersIVF
        )
        more = {"sel": selector} if selector is not None else {}
        width = max(effort, k * self._kind.candidates)
        codes = form(efSearch=width, **more) if self._kind.name == HNSW else form(nprobe=effort, **more)
        factor = max(self._kind.candidates, min(8, -(-32 // k)))
        return self._lib.IndexRefineSearchParameters(k_factor=factor, base_index_params=codes)


def mapped(vectors: Path, count: int, dimension: int) -> Halves:
    """The very vectors (count, dimension), mapped into memory. Raises ``Damaged`` where there are not as many."""
    wanted = HEADER + 2 * count * dimension
    try:
        size = os.stat(vectors).st_size
    except OSError as error:
        raise Damaged(f"{vectors} is not there ({error.strerror})") from None
    if size != wanted:
        raise Damaged(f"{vectors} has {size} bytes, not the {wanted} that were written")
    whole: Any = np.memmap(vectors, np.uint8, "r", offset=HEADER)
    halves: Halves = np.ndarray((count, dimension), np.float16, buffer=whole)
    return halves
