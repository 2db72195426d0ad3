"""Crash points one after the other; the whole enumeration is ``python -m tests.faults.points``."""

import pytest

from tests.faults.control import Action, why_not
from tests.faults.points import STRETCHES, Enumeration
from tests.faults.way import plain

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"faults are not injected: {why_not()}")


@pytest.mark.parametrize(("path", "shown"), [
    ("edge/output/way-00001-sim.dat", "edge/output/FILE-sim.dat"),
    ("gateway/input/.uploads/" + "0a" * 20 + ".note", "gateway/input/.uploads/ID.note"),
    ("gateway/output/.01234567-89ab-cdef-0123-456789abcdef~1.part", "gateway/output/.JOB~1.part"),
    ("gateway/archive/way-00001_archive_1763722222123456789_input.dat", "gateway/archive/FILE_archive_TIME_input.dat"),
    ("gateway.db-wal", "gateway.db-wal"),
])  # fmt: skip
def test_points_of_different_files_have_one_name(path, shown):
    assert plain(path, "way-00001") == shown


@pytest.mark.system
def test_a_file_survives_crashes_where_its_bytes_arrive(tmp_path):
    survived = Enumeration(tmp_path / "a", STRETCHES["gateway-files"], Action.KILL_AFTER, seed=3, step=8, most=1).run()
    assert survived.many == 1
    assert all("gateway/input/" in point for _, point in survived.points)


@pytest.mark.system
def test_a_file_survives_a_power_cut_where_its_results_arrive(tmp_path):
    edge = Enumeration(tmp_path / "a", STRETCHES["edge-files"], Action.KILL_BEFORE, seed=4, most=1, powerless=True)
    assert edge.run().many == 1
