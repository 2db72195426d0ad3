"""Vectors of one encoder become those of another, by the simplest way that does it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.embedding.translation import FITS, arrays, best, of_arrays, opened, procrustes, recall, ridge, unit
from pipelines.nuclei.model import BrokenModel, ModelFolder

WIDTH = 24


def turned(vectors: np.ndarray) -> np.ndarray:
    """Another encoder that sees the same: a turn of the space."""
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(WIDTH, WIDTH)))
    return unit(vectors @ turn)


def squeezed(vectors: np.ndarray) -> np.ndarray:
    """One that stretches some directions, and is linear all the same."""
    return unit(vectors @ np.random.default_rng(3).normal(size=(WIDTH, WIDTH)))


def cells(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, WIDTH)))


def test_a_turn_is_found_from_few_anchors() -> None:
    old = cells(60)

    found = procrustes(old, turned(old))

    assert recall(found, cells(400, 1), turned(cells(400, 1))) > 0.99


def test_a_linear_map_is_found_by_least_squares_and_not_by_a_turn() -> None:
    old, fresh = cells(2000), cells(400, 1)

    turn, linear = procrustes(old, squeezed(old)), ridge(old, squeezed(old))

    assert recall(linear, fresh, squeezed(fresh)) > recall(turn, fresh, squeezed(fresh)) + 0.1


@pytest.mark.parametrize(("encoder", "kind"), [(turned, "procrustes"), (squeezed, "ridge")])
def test_the_kind_is_chosen_by_cells_that_were_not_fitted_on(encoder: object, kind: str) -> None:
    count = 30 if kind == "procrustes" else 2000  # with 30 anchors least squares can only guess
    old, held_out = cells(count), cells(300, 1)

    chosen = best(FITS, (old, encoder(old)), (held_out, encoder(held_out)))

    assert chosen.kind == kind


def test_what_comes_out_has_length_one_and_survives_the_disk() -> None:
    old = cells(100)
    made = ridge(old, squeezed(old))

    again = of_arrays(made.kind, [array.copy() for array in arrays(made)])

    assert np.linalg.norm(again(cells(9, 4)), axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(again(cells(9, 4)), made(cells(9, 4)))


@pytest.mark.parametrize("stored", [[], [np.zeros((4, 3)), np.zeros(4)], [np.zeros((4, 3))]])
def test_files_that_do_not_fit_together_are_refused(stored: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"translation|zip"):
        of_arrays("ridge", stored)


def test_a_stored_translation_is_checked_before_it_is_used(tmp_path: Path) -> None:
    made = ridge(cells(100), squeezed(cells(100)))
    for number, array in enumerate(arrays(made)):
        np.save(tmp_path / f"{number}.npy", array)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("*.npy")}
    (tmp_path / "metadata.json").write_text(json.dumps({"kind": "ridge", "files": digests}))

    assert np.array_equal(opened(ModelFolder(tmp_path))(cells(5)), made(cells(5)))
    (tmp_path / "1.npy").write_bytes(b"other")
    with pytest.raises(BrokenModel, match=r"1\.npy is not the file"):
        opened(ModelFolder(tmp_path))
    (tmp_path / "metadata.json").write_text(json.dumps({"files": {"fp32/model.xml": "0"}}))
    with pytest.raises(BrokenModel, match="no translation"):
        opened(ModelFolder(tmp_path))
