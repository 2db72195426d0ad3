"""When a file is taken: the rule against all that writers may do."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.file_watcher.rules import Hold, Look, Take, Wait, decodable, entered, follow, judge, wanted
from edge.file_watcher.settings import WatchSettings

PATIENT = WatchSettings(folders=())


def look(at=0.0, size=10, writer=False, complete=None) -> Look:
    return Look(at, (size, size, size), writer, complete)


def decide(*looks: Look, arrived=False):
    """The verdict after the last of these looks; ``arrived`` was heard before the first."""
    track = None
    for one in looks:
        track = follow(track, one, arrived=arrived and track is None)
    return judge(track, looks[-1], PATIENT)


@pytest.mark.parametrize(
    ("looks", "arrived", "verdict"),
    [
        ([look(complete=True)], True, Take()),
        ([look(complete=True)], False, Take()),
        ([look()], True, Wait(0.5)),
        ([look(0), look(0.6)], True, Take()),
        ([look(complete=True, writer=True)], True, Wait(1.0)),
        ([look(0, writer=True), look(10_000, writer=True)], False, Wait(1.0)),
        ([look(complete=False)], True, Wait(1.0)),
        ([look(0, complete=False), look(301, complete=False)], True, Take()),
        ([look(0, complete=False), look(301, writer=True)], True, Wait(1.0)),
        ([look(writer=None, complete=True)], True, Take()),
        ([look(writer=None, complete=True)], False, Wait(1.0)),
        ([look(0, writer=None), look(1.9, writer=None)], False, Wait(pytest.approx(0.1))),
        ([look(0, writer=None), look(2, writer=None)], False, Take()),
        ([look(0, writer=None), look(2, size=11, writer=None)], False, Wait(1.0)),
        ([look(size=0)], True, Wait(30.0)),
        ([look(0, size=0), look(30, size=0)], True, Hold("empty")),
        ([look(0, size=0, writer=True), look(30, size=0, writer=True)], False, Wait(1.0)),
    ],
)
def test_verdicts(looks, arrived, verdict):
    assert decide(*looks, arrived=arrived) == verdict


def test_quiet_counts_from_the_last_look_that_saw_a_writer():
    assert decide(look(0, writer=True), look(100, writer=True), look(100.2)) == Wait(pytest.approx(0.3))


@dataclass
class Disk:
    """A file that a script writes: what a look would see of it, with and without a header that promises a size."""

    known_format: bool
    sees_writers: bool
    promised: int
    size: int = 0
    mtime: int = 0
    open: bool = False
    heard: bool = False

    def look(self, at: float) -> Look:
        complete = self.size >= self.promised if self.known_format else None
        writer = self.open if self.sees_writers else None
        return Look(at, (self.size, self.mtime, 0), writer, None if writer else complete)


ACTS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 50)),
    st.tuples(st.just("pause"), st.floats(0.01, 20)),
    st.tuples(st.just("close"), st.just(0)),
    st.tuples(st.just("reopen"), st.just(0)),
    st.tuples(st.just("rename"), st.just(0)),
    st.tuples(st.just("clock step"), st.integers(-(10**12), 10**12)),
)


@settings(deadline=None)
@given(script=st.lists(ACTS, max_size=30), known=st.booleans(), sees=st.booleans())
def test_a_file_is_never_taken_with_a_writer_or_bytes_missing_and_always_in_the_end(script, known, sees):
    script = [*script, ("append", 1), ("close", 0)]
    total = sum(amount for act, amount in script if act == "append")
    disk, now, track = Disk(known, sees, total, open=True), 0.0, None
    left = total
    for act, amount in script:
        if act == "append":
            disk.open = True
            disk.size, disk.mtime, left = disk.size + amount, disk.mtime + 1, left - amount
        elif act == "pause":
            now += amount
        elif act == "clock step":
            disk.mtime += amount
        else:
            disk.heard = disk.heard or act in ("rename", "close")
            disk.open = act == "reopen" or (disk.open and act == "rename")
        seen = disk.look(now)
        track = follow(track, seen, arrived=disk.heard)
        disk.heard = False
        verdict = judge(track, seen, PATIENT)
        assert not (verdict == Take() and left and (seen.writer or seen.complete is False)), (act, seen)
    verdict, looks = Wait(0), 0
    while isinstance(verdict, Wait):
        now += verdict.seconds
        seen = disk.look(now)
        track = follow(track, seen, arrived=False)
        verdict = judge(track, seen, PATIENT)
        looks += 1
        assert looks < 1000
    assert verdict == Take()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("a.tif", True),
        ("no_extension", True),
        ("a b.tif", True),
        (".hidden", False),
        ("~$a.xlsx", False),
        ("a.TMP", False),
        ("a.tif.part", False),
        ("a.tif.filepart", False),
        ("Thumbs.db", False),
        ("backup~", False),
        ("part.tif", True),
    ],
)
def test_which_files_are_wanted(name, answer):
    assert wanted(name, PATIENT) is answer


@pytest.mark.parametrize(
    ("exclude", "name", "answer"),
    [
        ("calib, dark", "my_calibration.tif", False),
        ("calib, dark", "my_Calibration.tif", True),
        ("cal ib", "calib.tif", False),
        ("", "a.tif", True),
        (",,", "a.tif", True),
        ("*.xml", "a.xml", False),
        ("*.xml", "a.xml.tif", True),
    ],
)
def test_the_exclusion_list(exclude, name, answer):
    assert wanted(name, WatchSettings(folders=(), exclude=exclude)) is answer


def test_extensions_and_hidden_names_are_a_matter_of_settings():
    chosen = WatchSettings(folders=(), extensions=("tif", ".ome.tiff"), skip_hidden=False, temporary=())
    assert [wanted(name, chosen) for name in ("a.TIF", "a.ome.tiff", "a.tiff", "a", ".b.tif", "c.tmp.tif")] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]


def test_sub_folders():
    assert entered("plate 1", PATIENT)
    assert not entered(".snapshots", PATIENT)
    assert not entered("plate 1", WatchSettings(folders=(), watch_subfolders=False))


def test_names_that_are_not_unicode():
    assert decodable("Zellfärbung.tif")
    assert not decodable("a\udcff.tif")
