"""Low-water marks of disks: decided, measured, and told."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Full
from contracts.meters import text_of
from contracts.room import MB, RealDisk, Room, shortage
from tests.support.small_disk import mounted
from tests.support.tanks import Tank

SIZES = st.integers(0, 10**15)


@given(SIZES, SIZES, SIZES, SIZES)
def test_something_may_begin_if_and_only_if_the_mark_stays_free(tmp_path_factory, free, least, wanted, promised):
    words = shortage(tmp_path_factory.getbasetemp(), free, least, wanted, promised)
    assert bool(words) == (free - promised - wanted < least)


def test_what_is_short_is_said_with_the_disk_and_all_figures(tmp_path):
    with pytest.raises(Full) as caught:
        Room({"input": tmp_path}, 100, Tank(150)).check(70 * MB)
    words = str(caught.value)
    assert (str(tmp_path) in words, "150 MB free" in words, "100 MB" in words, "70 MB more" in words) == (True,) * 4
    assert caught.value.waits == f"waits for room on the disk of {tmp_path}"


def test_what_is_wanted_is_wanted_in_the_first_place_only(tmp_path):
    room = Room({"input": tmp_path / "files", "database": tmp_path / "base"}, 100, Tank(files=1000, base=110))
    room.check(500 * MB)
    short = Room({"input": tmp_path / "files", "database": tmp_path / "base"}, 100, Tank(files=1000, base=90))
    with pytest.raises(Full, match="base has 90 MB free"):
        short.check()


def test_what_was_begun_goes_on_below_the_mark_but_not_to_the_last_byte(tmp_path):
    tank = Tank(60)
    room = Room({"input": tmp_path}, 100, tank)
    room.check(10 * MB, begun=True)
    with pytest.raises(Full):
        room.check(10 * MB)
    tank.free_mb = 30
    with pytest.raises(Full):
        room.check(10 * MB, begun=True)


def test_no_mark_and_no_place_are_no_trouble(tmp_path):
    assert Room({"input": tmp_path}, 0, Tank(0)).trouble == ""
    assert Room({"input": tmp_path / "missing"}, 10**9).trouble == ""


def test_free_bytes_are_figures(tmp_path):
    text = text_of([Room({"input": tmp_path / "a", "database": tmp_path / "b"}, 1, Tank(a=7, b=8))]).decode()
    assert 'cytobus_disk_free_bytes{place="input"} 7e+06' in text
    assert 'cytobus_disk_free_bytes{place="database"} 8e+06' in text


def test_a_real_disk_tells_what_the_system_tells(tmp_path):
    before = shutil.disk_usage(tmp_path)
    assert abs(RealDisk().free(tmp_path) - before.free) < max(before.total // 20, 100 * MB)


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "small", 4000) as folder:
        yield folder


def test_a_small_disk_fills_and_empties(small_disk):
    room = Room({"input": small_disk}, 2)
    room.check(1 * MB)
    with pytest.raises(Full):
        room.check(3 * MB)
    (small_disk / "big").write_bytes(bytes(3 * MB))
    assert "MB must stay free" in room.trouble
    (small_disk / "big").unlink()
    assert room.trouble == ""
