"""The index on the disk: what it keeps through merges, restarts, full disks and damage."""

import errno
import os
import threading

import numpy as np
import pytest

from contracts.errors import Conflict, Full
from gateway.vectors import stored
from gateway.vectors.kinds import FLAT
from gateway.vectors.port import Damaged, IdSet
from gateway.vectors.stored import Plan, StoredIndex
from tests.support.cells import nearest, recall, vectors
from tests.support.waiting import eventually

DIMENSION = 32
PLAN = Plan(unit=512)


@pytest.fixture
def opened(tmp_path):
    """Opens the index of the test; those that are open at the end are closed."""
    made: list[StoredIndex] = []

    def open_it(plan: Plan = PLAN) -> StoredIndex:
        made.append(StoredIndex(tmp_path / "index", DIMENSION, plan))
        return made[-1]

    yield open_it
    for index in made:
        index.close()


def numbered(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int64)


def filled(index: StoredIndex, count: int, piece: int = 256) -> np.ndarray:
    """With vectors whose ids are 0, 1, 2 …"""
    kept = vectors(count, dimension=DIMENSION)
    for start in range(0, count, piece):
        index.add(numbered(len(kept[start : start + piece]), start), kept[start : start + piece])
    return kept


def file_of(index: StoredIndex, name: str):
    (path,) = index.folder.glob(f"segment-*/{name}")
    return path


def flip(path, place: int) -> None:
    """One bit of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 4]))


@pytest.mark.parametrize("kind", ["flat", "ivf-sq8", "ivf-pq", "hnsw"])
def test_every_kind_of_segment_finds_what_it_promises(opened, kind):
    index = opened(Plan(unit=2000, kind=kind, recall=0.95))
    kept, asked = filled(index, 6000), vectors(100, seed=3, dimension=DIMENSION)
    index.optimise()
    (segment,) = index.about()["segments"]
    assert segment["kind"] == kind
    assert segment["recall"] >= 0.95
    assert recall(index.search(asked, 10).ids, nearest(asked, kept)) >= 0.93
    only = numbered(6000)[1::7]
    assert recall(index.search(asked, 10, IdSet.of(only)).ids, only[nearest(asked, kept[only])]) >= 0.9


def test_what_was_kept_is_there_after_a_restart_wherever_it_lay(opened):
    index = opened()
    kept = filled(index, 1700)
    index.settle()
    index.delete(numbered(10, 5))
    index.delete(numbered(1, 1699))
    index.close()
    again = opened()
    assert again.count() == 1689
    given, known = again.get(numbered(1700))
    assert np.nonzero(~known)[0].tolist() == [*range(5, 15), 1699]
    assert np.allclose(given[known], kept[known], atol=1e-3)


def test_deletions_survive_a_merge_that_they_came_into(opened, monkeypatch):
    index = opened()
    kept = filled(index, 1536)
    index.settle()
    began, go_on, made = threading.Event(), threading.Event(), index.keeper.made

    def slow(parts):
        began.set()
        go_on.wait(60)
        return made(parts)

    monkeypatch.setattr(index.keeper, "made", slow)
    merging = threading.Thread(target=index.optimise)
    merging.start()
    assert began.wait(60)
    index.delete(numbered(3, 100))
    index.add(numbered(1, 200), -kept[[200]])
    go_on.set()
    merging.join()
    index.settle()
    index.close()
    again = opened()
    assert again.count() == 1533
    assert not set(range(100, 103)) & set(again.search(kept[100:103], 20).ids.ravel().tolist())
    assert again.search(-kept[[200]], 1).ids[0, 0] == 200
    assert 200 not in again.search(kept[[200]], 5).ids


async def test_searching_goes_on_while_segments_are_made_and_merged(opened):
    index, stop, wrong = opened(Plan(unit=256)), threading.Event(), []
    kept = filled(index, 1024)

    def search() -> None:
        while not stop.is_set():
            if (index.search(kept[:1000:50], 1).ids[:, 0] != numbered(1000)[::50]).any():
                wrong.append(index.about())

    searching = threading.Thread(target=search)
    searching.start()
    more = vectors(6000, seed=9, dimension=DIMENSION)
    for start in range(0, 6000, 200):
        index.add(numbered(200, 10_000 + start), more[start : start + 200])
    index.settle()
    stop.set()
    searching.join()
    assert wrong == []
    assert index.count() == 7024
    assert len(index.view.segments) < 10
    on_disk = {path.name for path in index.folder.glob("segment-*")}
    await eventually(lambda: {path.name for path in index.folder.glob("segment-*")} <= on_disk)
    assert on_disk == {segment.card.name for segment in index.view.segments}


def test_a_folder_is_for_one_process_and_one_length_of_vectors(opened, tmp_path):
    index = opened()
    with pytest.raises(Conflict, match="in use by another process"):
        StoredIndex(index.folder, DIMENSION)
    index.close()
    with pytest.raises(Conflict, match="vectors of 32 numbers, not of 64"):
        StoredIndex(index.folder, 64)


def test_damaged_codes_are_done_without_and_made_anew_of_the_vectors(opened):
    index = opened(Plan(unit=3000, kind="ivf-sq8"))
    kept = filled(index, 3000, 3000)
    index.settle()
    index.close()
    flip(file_of(index, "codes"), 50_000)
    again = opened(Plan(unit=3000, kind="ivf-sq8"))
    assert recall(again.search(kept[:50], 10).ids, nearest(kept[:50], kept)) > 0.98, "though each is looked at"
    again.settle()
    (segment,) = again.view.segments
    assert (segment.kind.name, segment.worn, again.troubles()) == ("ivf-sq8", "", [])
    assert segment.card.name != index.view.segments[0].card.name


def test_damaged_vectors_are_told_and_not_found_and_the_others_are(opened, monkeypatch):
    monkeypatch.setattr("gateway.vectors.building.ROWS", 100)
    index = opened()
    kept = filled(index, 512)
    index.settle()
    index.close()
    flip(file_of(index, "vectors"), 81 + 2 * DIMENSION * 150)
    again = opened()
    again.settle()
    (words,) = again.troubles()
    assert "vectors is damaged" in words
    assert "embed their cells again" in words
    lost = set(numbered(512).tolist()) - set(again.search(kept[[150]], 512).ids[0].tolist())
    assert 150 in lost
    assert 90 <= len(lost) <= 110
    assert again.search(kept[[400]], 1).ids[0, 0] == 400
    again.add(np.array(sorted(lost), np.int64), kept[sorted(lost)])
    assert again.troubles() == [], "they were embedded again"
    assert again.search(kept[[150]], 1).ids[0, 0] == 150


def test_a_segment_whose_ids_are_damaged_is_told_and_the_rest_is_found(opened):
    index = opened()
    kept = filled(index, 512)
    index.settle()
    damaged = file_of(index, "ids")
    filled_more = vectors(100, seed=5, dimension=DIMENSION)
    index.add(numbered(100, 9000), filled_more)
    index.close()
    flip(damaged, 100)
    again = opened()
    (words,) = again.troubles()
    assert str(damaged) in words
    assert "512 vectors are not found" in words
    assert again.search(filled_more[[3]], 1).ids[0, 0] == 9003
    again.optimise()
    again.close()
    flip(damaged, 100)  # put back from a copy
    mended = opened()
    assert mended.count() == 612
    assert mended.search(kept[[3]], 1).ids[0, 0] == 3


@pytest.mark.parametrize("place", [30, 200, -20])
def test_a_damaged_manifest_is_told_and_nothing_is_written_over(opened, place):
    index = opened()
    filled(index, 600)
    index.settle()
    index.close()
    path = index.folder / "manifest.json"
    flip(path, place % path.stat().st_size)
    before = sorted(path.name for path in index.folder.rglob("*"))
    with pytest.raises(Damaged, match=r"manifest\.json .* put it back from a copy"):
        opened()
    assert sorted(path.name for path in index.folder.rglob("*")) == before


def test_a_missing_manifest_is_not_taken_for_a_new_index(opened):
    index = opened()
    filled(index, 600)
    index.settle()
    index.close()
    (index.folder / "manifest.json").unlink()
    with pytest.raises(Damaged, match="is missing"):
        opened()


def test_without_room_nothing_is_kept_and_afterwards_everything_goes_on(opened, monkeypatch):
    index = opened()
    kept = filled(index, 100)
    real = os.write

    def full(file: int, content: bytes) -> int:
        real(file, bytes(content)[: len(content) // 2])
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("gateway.vectors.log.os.write", full)
    with pytest.raises(Full, match="no room left"):
        index.add(numbered(5, 500), kept[:5])
    monkeypatch.undo()
    index.add(numbered(5, 600), kept[:5])
    index.close()
    again = opened()
    assert again.get(np.array([500, 600], np.int64))[1].tolist() == [False, True]


def test_a_segment_that_cannot_be_written_is_tried_again_and_told_meanwhile(opened, monkeypatch):
    monkeypatch.setattr("gateway.vectors.keeping.AGAIN", 0.01)
    index = opened()
    made, tries = index.keeper.made, []

    def failing(parts):
        tries.append(index.troubles())
        if len(tries) < 4:
            raise OSError(errno.ENOSPC, "no space left on device")
        return made(parts)

    monkeypatch.setattr(index.keeper, "made", failing)
    filled(index, 512)
    while len(tries) < 4 or len(index.view.segments) < 1:
        with_trouble = index.troubles()
        assert not with_trouble or "no space left" in with_trouble[0]
    index.settle()
    assert index.troubles() == []
    assert any("no space left" in words for told in tries for words in told)


def test_who_adds_faster_than_segments_are_made_waits_and_is_told(opened, monkeypatch):
    monkeypatch.setattr(stored, "PATIENCE", 0.05)
    index, go_on = opened(), threading.Event()
    made = index.keeper.made
    monkeypatch.setattr(index.keeper, "made", lambda parts: go_on.wait(60) and made(parts))
    with pytest.raises(stored.Unavailable, match="add them again later"):
        filled(index, 512 * 8)
    go_on.set()
    index.settle()
    index.add(numbered(1, 10**6), vectors(1, dimension=DIMENSION))


def test_deleting_everything_leaves_nothing_behind(opened):
    index = opened()
    filled(index, 1024)
    index.settle()
    index.delete(numbered(1024))
    index.optimise()
    assert (index.count(), index.view.segments, list(index.folder.glob("segment-*"))) == (0, (), [])


def test_small_indexes_are_flat(opened):
    index = opened()
    filled(index, 600)
    index.settle()
    assert {segment.kind.name for segment in index.view.segments} == {FLAT}
