"""A program that adds vectors and says on its standard output, line by line, what was answered; it is killed."""

import sys
from pathlib import Path

import numpy as np

from gateway.vectors.stored import Plan, StoredIndex
from tests.support.cells import vectors

DIMENSION, PIECE, PIECES = 16, 40, 30
DELETED = 7
"""The first so many of each piece but the last are deleted again."""


def kept(piece: int) -> np.ndarray:
    return vectors(PIECE, seed=1000 + piece, dimension=DIMENSION)


def ids(piece: int) -> np.ndarray:
    return np.arange(piece * PIECE, (piece + 1) * PIECE, dtype=np.int64)


def main(folder: Path) -> None:
    index = StoredIndex(folder, DIMENSION, Plan(unit=120))
    print("opened", flush=True)  # noqa: T201
    for piece in range(PIECES):
        index.add(ids(piece), kept(piece))
        print(f"added {piece}", flush=True)  # noqa: T201
        if piece:
            index.delete(ids(piece - 1)[:DELETED])
            print(f"deleted {piece - 1}", flush=True)  # noqa: T201
    index.settle()
    print("settled", flush=True)  # noqa: T201
    index.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
