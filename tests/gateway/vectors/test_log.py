"""The write-ahead log: a crash takes nothing that was answered, and damage is no crash."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.vectors.log import Log, Record, mended, replayed
from gateway.vectors.port import Damaged
from tests.support.cells import vectors

DIMENSION = 8


def written(path, count: int = 4) -> list[tuple[int, Record]]:
    """Records, and where each ends."""
    log, found = Log(path, DIMENSION), []
    for number in range(count):
        ids = np.arange(number, 2 * number + 1, dtype=np.int64)
        record = Record(ids, None if number == 2 else vectors(len(ids), number, DIMENSION))
        log.append(record)
        found.append((log.length, record))
    log.close()
    return found


def same(found: Record, told: Record) -> bool:
    if not np.array_equal(found.ids, told.ids) or (found.vectors is None) != (told.vectors is None):
        return False
    return found.vectors is None or np.allclose(found.vectors, told.vectors, atol=1e-3)


def test_records_come_back_in_their_order(tmp_path):
    told = [record for _, record in written(tmp_path / "log")]
    assert all(same(*both) for both in zip(replayed(tmp_path / "log", DIMENSION), told, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_log_that_breaks_off_anywhere_holds_what_was_whole_and_goes_on(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        told = written(path)
        length = data.draw(st.integers(0, told[-1][0]))
        with path.open("r+b") as file:
            file.truncate(length)
        torn = mended(path, DIMENSION)
        whole = [record for end, record in told if end <= length]
        assert torn == length - max([end for end, _ in told if end <= length], default=22 if length >= 22 else 0)
        log = Log(path, DIMENSION)
        log.append(Record(np.array([77], np.int64)))
        log.close()
        found = list(replayed(path, DIMENSION))
        assert all(same(*both) for both in zip(found, [*whole, Record(np.array([77], np.int64))], strict=True))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_bit_that_turned_before_the_last_record_is_told_with_file_and_place(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        told = written(path)
        place = data.draw(st.integers(0, told[-2][0] - 1))
        content = bytearray(path.read_bytes())
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        with pytest.raises(Damaged, match=str(path)):
            list(replayed(path, DIMENSION))
        assert path.read_bytes() == bytes(content), "nothing is cut off"


def test_a_log_of_another_length_of_vectors_is_refused(tmp_path):
    written(tmp_path / "log")
    with pytest.raises(Damaged, match="no log of vectors of 9 numbers"):
        mended(tmp_path / "log", 9)
