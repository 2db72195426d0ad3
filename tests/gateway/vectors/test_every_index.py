"""What every index of vectors keeps to: in memory, on the disk, in shards, in other processes."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from gateway.vectors.exact import ExactIndex
from gateway.vectors.port import NOBODY, IdSet
from gateway.vectors.sharded import ShardedIndex
from gateway.vectors.stored import Plan, StoredIndex
from tests.support.cells import nearest, recall, vectors

DIMENSION = 32
SMALL = Plan(unit=256)


@contextmanager
def _exact(_folder):
    yield ExactIndex(DIMENSION, room=8)


@contextmanager
def _stored(folder):
    index = StoredIndex(folder / "index", DIMENSION, SMALL)
    yield index
    index.close()


@contextmanager
def _sharded(folder):
    index = ShardedIndex([StoredIndex(folder / str(number), DIMENSION, SMALL) for number in range(3)])
    yield index
    index.close()


KINDS = {"in memory": _exact, "on the disk": _stored, "in shards": _sharded}


@pytest.fixture(params=KINDS)
def index(request, tmp_path):
    with KINDS[request.param](tmp_path) as made:
        yield made


def numbered(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int64)


def test_what_was_added_is_found_and_the_nearest_come_first(index):
    kept, asked = vectors(3000), vectors(50, seed=1)
    for start in range(0, 3000, 500):
        index.add(numbered(500, start), kept[start : start + 500])
    found = index.search(asked, 10)
    assert recall(found.ids, nearest(asked, kept)) > 0.97
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert np.allclose(found.scores[0], [asked[0] @ kept[one] for one in found.ids[0]], atol=2e-3)
    assert index.count() == 3000


def test_a_vector_finds_itself_and_is_given_back(index):
    kept = vectors(400)
    index.add(numbered(400), kept)
    assert (index.search(kept, 1).ids[:, 0] == numbered(400)).mean() > 0.99
    given, known = index.get(np.array([7, 399, 400], np.int64))
    assert known.tolist() == [True, True, False]
    assert np.allclose(given[:2], kept[[7, 399]], atol=1e-3)


def test_where_there_are_fewer_the_rest_is_nobody(index):
    assert index.search(vectors(2), 3).ids.tolist() == [[NOBODY] * 3] * 2
    index.add(numbered(2), vectors(2))
    found = index.search(vectors(1), 3)
    assert sorted(found.ids[0]) == [NOBODY, 0, 1]
    assert found.scores[0][2] == 0


def test_what_was_deleted_is_not_found_and_can_be_added_again(index):
    kept = vectors(1000)
    index.add(numbered(1000), kept)
    assert index.delete(np.array([3, 5, 5000], np.int64)) == 2
    assert index.delete(np.array([3], np.int64)) == 0
    assert index.count() == 998
    assert not {3, 5} & set(index.search(kept[[3, 5]], 50).ids.ravel().tolist())
    index.add(np.array([3], np.int64), kept[[3]])
    assert index.search(kept[[3]], 1).ids[0, 0] == 3


def test_a_vector_that_is_added_again_takes_the_place_of_the_former(index):
    kept = vectors(600)
    index.add(numbered(600), kept)
    index.add(np.array([17], np.int64), -kept[[17]])
    assert index.count() == 600
    assert 17 not in index.search(kept[[17]], 5).ids
    assert index.search(-kept[[17]], 1).ids[0, 0] == 17
    everyone = index.search(kept[[17]], 600).ids[0].tolist()
    assert len(set(everyone) - {NOBODY}) == len([one for one in everyone if one != NOBODY])


@pytest.mark.parametrize("part", [1, 7, 2])
def test_only_what_is_wanted_is_found(index, part):
    kept, asked = vectors(2000), vectors(20, seed=2)
    index.add(numbered(2000), kept)
    wanted = numbered(2000)[::part]
    found = index.search(asked, 10, IdSet.of(wanted))
    assert set(found.ids.ravel().tolist()) <= set(wanted.tolist())
    assert recall(found.ids, wanted[nearest(asked, kept[wanted])]) > 0.97


def test_nobody_is_wanted_and_nobody_is_found(index):
    index.add(numbered(300), vectors(300))
    assert (index.search(vectors(2), 3, IdSet.of(np.zeros(0, np.int64))).ids == NOBODY).all()
    assert (index.search(vectors(2), 3, IdSet.of_ranges([[5000, 6000]])).ids == NOBODY).all()


def test_several_may_add_delete_and_search_at_once(index):
    kept, wrong = vectors(2000), []

    def add(first: int) -> None:
        for start in range(first, first + 500, 50):
            index.add(numbered(50, start), kept[start : start + 50])
            if (index.search(kept[start : start + 50], 1).ids[:, 0] != numbered(50, start)).mean() > 0.05:
                wrong.append(start)
        index.delete(numbered(100, first))

    threads = [threading.Thread(target=add, args=(first,)) for first in range(0, 2000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert index.count() == 1600


def test_sets_of_ids_hold_what_was_put_into_them():
    ids = np.array([0, 3, 8, 70], np.int64)
    some = IdSet.of(ids)
    assert len(some) == 4
    assert some.mask(np.array([3, 4, 70, 71, 9999], np.int64)).tolist() == [True, False, True, False, False]
    assert some.mask(numbered(80, 1)).nonzero()[0].tolist() == [2, 7, 69]
    assert some.mask(numbered(5, 100)).tolist() == [False] * 5
    assert len(IdSet.of_ranges([[0, 10], [5, 12], [20, 21]])) == 13
    assert len(IdSet.of_ranges(np.zeros((0, 2)))) == 0
