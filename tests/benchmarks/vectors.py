"""The index of vectors: recall, latency, memory, time to build, and its speed beside FAISS's own."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gateway.vectors.building import exact
from gateway.vectors.stored import Plan, StoredIndex
from tests.benchmarks.cell_vectors import DIMENSION, Cells, crops

ASKED, K, PIECE = 1000, 10, 5000
TURNS = 5
"""So often the two are asked in turn, so that both meet the same disturbances."""


def measured(
    folder: Path, count: int, images: Path, *, kind: str = "auto", threads: int = 1, at_once: bool = False
) -> dict[str, float | str]:
    """Of ``count`` vectors made of real cells below ``images``. Queries are of cells that none of the vectors is of.
    ``at_once``: all are gathered in memory before a segment is made of them, without the merges on the way."""
    import faiss

    faiss.omp_set_num_threads(threads)
    figures: dict[str, float | str] = {}
    real = crops(images)
    chance = np.random.default_rng(1)
    chance.shuffle(real)
    apart = len(real) // 20
    kept, asked = Cells(real[apart:]), Cells(real[apart:])
    asked.only(real[:apart])
    queries = asked.draw(ASKED)
    plan = Plan(kind=kind, threads=threads, **({"unit": count + 1} if at_once else {}))  # type: ignore[arg-type]
    index = StoredIndex(folder / "index", DIMENSION, plan)
    try:
        figures |= _filled(index, kept, count, queries)
        truth, figures["exact search of all, ms/query"] = _truth(index, queries)
        figures |= _asked(index, queries, truth)
        figures |= _beside_faiss(index, queries)
        figures |= _while_added(index, kept, queries, count)
        figures |= _about(index)
        index.close()
        begun = time.perf_counter()
        index = StoredIndex(folder / "index", DIMENSION, plan)
        figures["opened again, s"] = time.perf_counter() - begun
    finally:
        index.close()
        shutil.rmtree(folder / "index", ignore_errors=True)
    return figures


def _filled(index: StoredIndex, cells: Cells, count: int, queries: Any) -> dict[str, float | str]:
    """Add all, each piece answered when it is on the disk; then wait for the merges, then make one segment of all."""
    adding, waited = 0.0, 0.0
    for start in range(0, count, PIECE):
        some = cells.draw(min(PIECE, count - start))
        begun = time.perf_counter()
        index.add(np.arange(start, start + len(some), dtype=np.int64), some)
        adding += time.perf_counter() - begun
        if len(index.view.fresh) > 2:
            begun = time.perf_counter()
            while len(index.view.fresh) > 2:
                time.sleep(0.01)  # vectors are drawn faster than cells are
            waited += time.perf_counter() - begun
    begun = time.perf_counter()
    index.settle()
    settled = time.perf_counter() - begun
    several = len(index.view.segments)
    figures = _latency(lambda query: index.search(query, K), queries[:300], f"{several} segments: ") if several else {}
    begun = time.perf_counter()
    index.optimise()
    return {
        "added, vectors/s (on the disk)": count / adding,
        "waited for segments, s": waited + settled,
        **figures,
        "made one segment, s": time.perf_counter() - begun,
    }


def _truth(index: StoredIndex, queries: Any) -> tuple[Any, float]:
    (segment,) = index.view.segments
    begun = time.perf_counter()
    nobody = np.full(len(queries), -1, np.int64)
    truth = exact(segment.vectors, nobody, queries)
    return np.asarray(segment.ids)[truth], (time.perf_counter() - begun) / len(queries) * 1e3


def _latency(ask: Callable[[Any], Any], queries: Any, what: str = "") -> dict[str, float | str]:
    """As it is felt, and of the thread's own processor time, which others on the machine do not lengthen."""
    taken, worked = [], []
    for query in queries:
        begun, own = time.perf_counter(), time.thread_time()
        ask(query[None])
        taken.append((time.perf_counter() - begun) * 1e3)
        worked.append((time.thread_time() - own) * 1e3)
    return {
        f"{what}p50 ms": float(np.median(taken)),
        f"{what}p99 ms": float(np.percentile(taken, 99)),
        f"{what}p99 ms of processor": float(np.percentile(worked, 99)),
    }


def _asked(index: StoredIndex, queries: Any, truth: Any) -> dict[str, float | str]:
    index.search(queries, K)
    found = index.search(queries, K)
    hits = [len(set(a) & set(b)) / K for a, b in zip(found.ids, truth, strict=True)]
    return {"recall@10": float(np.mean(hits)), **_latency(lambda query: index.search(query, K), queries)}


def _beside_faiss(index: StoredIndex, queries: Any) -> dict[str, float | str]:
    """The same codes in memory, asked by FAISS alone with the same parameters: the same lists, the same number of
    candidates, the same re-ranking."""
    import faiss

    (segment,) = index.view.segments
    folder, card = index.folder / segment.card.name, segment.card
    if card.codes is None or not card.lists:
        return {}
    whole = faiss.read_index(str(folder / "vectors"))
    raw = faiss.IndexRefine(faiss.read_index(str(folder / "codes")), whole)
    factor = max(card.form.candidates, min(8, -(-32 // K)))
    asked = faiss.SearchParametersIVF(nprobe=card.effort)
    parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=asked)
    ours, theirs = [], []
    alone, beside = [], []
    for _ in range(TURNS):
        theirs.append(_seconds(lambda: raw.search(queries, K, params=parameters)))
        ours.append(_seconds(lambda: index.search(queries, K)))
        beside.append(_seconds(lambda: [raw.search(one[None], K, params=parameters) for one in queries[:300]]))
        alone.append(_seconds(lambda: [index.search(one[None], K) for one in queries[:300]]))
    return {
        "queries/s, 1000 at once": len(queries) / min(ours),
        "ratio to FAISS, 1000 at once": float(np.median([b / a for a, b in zip(ours, theirs, strict=True)])),
        "queries/s, one by one": 300 / min(alone),
        "ratio to FAISS, one by one": float(np.median([b / a for a, b in zip(alone, beside, strict=True)])),
    }


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _while_added(index: StoredIndex, cells: Cells, queries: Any, count: int) -> dict[str, float | str]:
    """Latency while 200 cells a second come."""
    stop, fresh = threading.Event(), cells.draw(4000)

    def add() -> None:
        for start in range(0, len(fresh), 20):
            some = fresh[start : start + 20]
            index.add(np.arange(count + start, count + start + len(some), dtype=np.int64), some)
            if stop.wait(0.1):
                return

    adding = threading.Thread(target=add)
    adding.start()
    figures = _latency(lambda query: index.search(query, K), np.concatenate([queries] * 3), "200 added/s: ")
    stop.set()
    adding.join()
    return figures


def _about(index: StoredIndex) -> dict[str, float | str]:
    (segment,) = index.view.segments
    card, told = segment.card, index.about()
    return {
        "vectors": card.count,
        "kind": f"{card.kind}, {card.lists} lists, {card.effort} visited",
        "memory, bytes/vector": told["memory_bytes"] / card.count,
        "disk, bytes/vector": told["disk_bytes"] / card.count,
        "recall@10 among its own": card.recall,
    }
