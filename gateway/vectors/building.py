"""Makes segments: files of ids, vectors and codes, with the recall that they reach."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from contracts.disk import make_folder, room_at, sync_file, sync_folder
from gateway.vectors.checked import described
from gateway.vectors.kinds import FLAT, Kind
from gateway.vectors.manifest import Card
from gateway.vectors.port import Ids, Mask, Vectors
from gateway.vectors.quantised import HEADER, PIECE, Halves, Quantised, build, header, mapped, pieces

ASKED, NEAREST = 200, 10
"""Vectors of its own by which a segment's recall is measured, and how many neighbours of each."""
ROWS = 16_384
"""Vectors in a block with a checksum of its own: so many are lost with one damaged byte, and no more."""
Part = tuple[Ids, Halves, Mask]
"""Ids, ascending, their vectors, and which of them are wanted."""


def made(folder: Path, name: str, parts: Sequence[Part], kind: Kind, target: float) -> Card:
    """A segment of what is wanted of several, in order of ids, in the folder ``name``; it is there as a whole or not at
    all. ``target`` is the recall among ten that its effort must reach, where any does."""
    begun = time.monotonic()
    hidden = folder / f".{name}.part"
    shutil.rmtree(hidden, ignore_errors=True)
    make_folder(hidden)
    with room_at(folder):
        ids = _written(hidden, parts)
        vectors = mapped(hidden / "vectors", len(ids), parts[0][1].shape[1])
        effort, recall = 1, 1.0
        if kind.name != FLAT:
            build(kind, vectors, hidden / "codes")
            opened = Quantised(kind, len(ids), hidden / "vectors", hidden / "codes")
            effort, recall = calibrated(opened, kind, vectors, target)
            del opened
    card = _card(hidden, kind, len(ids), vectors.shape[1]).model_copy(
        update={"name": name, "effort": effort, "recall": recall, "seconds": round(time.monotonic() - begun, 2)}
    )
    sync_folder(hidden)
    with room_at(folder):
        os.replace(hidden, folder / name)
    sync_folder(folder)
    return card


def _written(folder: Path, parts: Sequence[Part]) -> Ids:
    """Ids and vectors of all that is wanted, in order of ids, in their files."""
    ids = np.concatenate([ids[wanted] for ids, _, wanted in parts])
    whose = np.concatenate([np.full(int(wanted.sum()), number) for number, (_, _, wanted) in enumerate(parts)])
    where = np.concatenate([np.nonzero(wanted)[0] for _, _, wanted in parts])
    order = np.argsort(ids, kind="stable")
    ids, whose, where = ids[order], whose[order], where[order]
    ids.astype("<i8").tofile(folder / "ids")
    with (folder / "vectors").open("wb") as file:
        file.write(header(len(ids), parts[0][1].shape[1]))
        for start in range(0, len(ids), PIECE):
            some = slice(start, start + PIECE)
            piece = np.empty((len(ids[some]), parts[0][1].shape[1]), np.float16)
            for number in np.unique(whose[some]):
                mine = whose[some] == number
                piece[mine] = parts[number][1][where[some][mine]]
            piece.tofile(file)
    return ids


def _card(folder: Path, kind: Kind, count: int, dimension: int) -> Card:
    """The files of a segment, all on the disk."""
    blocks = {"ids": 2**20, "vectors": 2 * dimension * ROWS, "codes": 2**22}
    files = {name: described(folder / name, size) for name, size in blocks.items() if (folder / name).exists()}
    for name in files:
        sync_file(folder / name)
    return Card(name="", count=count, kind=kind.name, lists=kind.lists, pieces=kind.pieces, **files)


def rows_of(block: int, size: int, count: int, dimension: int) -> slice:
    """The vectors of which something lies in this block of so many bytes of their file."""
    each = 2 * dimension
    first, end = (block * size - HEADER) // each, -(-((block + 1) * size - HEADER) // each)
    return slice(max(0, first), min(count, end))


def calibrated(index: Quantised, kind: Kind, vectors: Halves, target: float) -> tuple[int, float]:
    """The least effort by which vectors of its own find the ten nearest others, and the part of them that are found."""
    step = max(1, len(vectors) // ASKED)
    places = np.arange(0, len(vectors), step)[:ASKED]
    queries = np.ascontiguousarray(vectors[places], np.float32)
    truth = exact(vectors, places, queries)
    found = (1, 0.0)
    for effort in kind.efforts:
        numbers, _ = index.search(queries, NEAREST + 1, effort, None)
        hits = [len(set(row) & set(others) - {own}) for row, others, own in zip(numbers, truth, places, strict=True)]
        found = effort, round(float(np.mean(hits)) / truth.shape[1], 4)
        if found[1] >= target:
            break
    return found


def exact(vectors: Halves, places: Ids, queries: Vectors) -> Ids:
    """The numbers of the nearest others of each query, which are at ``places`` (-1: nowhere), by looking at all."""
    k = min(NEAREST, len(vectors) - 1)
    numbers, scores = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    for first, piece in _numbered(vectors):
        here = queries @ piece.T
        own = (places >= first) & (places < first + len(piece))
        here[own, places[own] - first] = -np.inf
        numbers = np.concatenate([numbers, np.tile(np.arange(first, first + len(piece)), (len(queries), 1))], 1)
        scores = np.concatenate([scores, here], 1)
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        numbers, scores = np.take_along_axis(numbers, best, 1), np.take_along_axis(scores, best, 1)
    return numbers


def _numbered(vectors: Halves) -> Iterator[tuple[int, Vectors]]:
    for turn, piece in enumerate(pieces(vectors)):
        yield turn * PIECE, piece
