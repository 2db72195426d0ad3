"""What the page of instruments makes of what is known of them."""

from contracts.edge_status import Disk, EdgeStatus, Trouble, WatchedFolder
from gateway.dashboard.views.instruments import SECOND, instruments

NOW = 10**18


def report(name: str = "a", *, age: float = 1, behind: float = 0, **told) -> dict:
    status = EdgeStatus(**{"version": "1", "system": "Linux", "at": NOW, "started": NOW - 1} | told)
    at = NOW - int(age * SECOND)
    plain = status.model_dump(mode="json", by_alias=True)
    return {"Name": name, "At": at, "Behind": int(behind * SECOND), "Status": plain}


def only(*reports: dict):
    (one,) = instruments([], reports, [], NOW, "1")
    return one


def warned(*reports: dict) -> list[tuple[str, str]]:
    return [(key.rpartition(".")[2], tone) for key, tone, _ in only(*reports).warnings]


def test_instruments_are_those_that_were_enrolled_that_report_and_whose_files_came():
    edges = [{"Name": "b", "Since": 1, "Seen": 5, "Revoked": None}, {"Name": "d", "Since": 1, "Seen": 2, "Revoked": 3}]
    came = (("b", 9), ("a", 8), ("b", 7))
    jobs = [{"OriginHost": name, "Created": at, "InputFile": {"Name": f"{at}.tif"}} for name, at in came]
    submitted = {"OriginHost": "gateway", "Batch": "b", "Created": 9, "InputFile": {"Name": "by-hand.tif"}}
    found = instruments(edges, [report("c")], [submitted, *jobs], NOW, "1")
    assert [(one.name, one.enrolled, one.revoked, one.file, one.life) for one in found] == [
        ("a", False, False, "8.tif", "unknown"),
        ("b", True, False, "9.tif", "unknown"),
        ("c", False, False, "", "alive"),
        ("d", True, True, "", "unknown"),
    ]


def test_an_instrument_is_alive_late_or_silent_by_its_last_report():
    found = [(one.life, one.tone) for one in map(only, (report(age=60), report(age=300), report(age=3600)))]
    assert found == [("alive", "good"), ("late", "waiting"), ("silent", "bad")]


def test_all_files_that_were_not_handed_over_are_counted_together():
    folders = tuple(WatchedFolder(path=path, waiting=2, held=1, sent=5) for path in ("/a", "/b"))
    assert only(report(folders=folders, pending=3)).waiting == 7


def test_a_well_instrument_warns_of_nothing():
    disks = (Disk(what="watched", path="/in", free=60 * 10**9, total=10**12),)
    assert warned(report(disks=disks, folders=(WatchedFolder(path="/in", waiting=1, oldest=NOW - SECOND),))) == []


def test_a_full_disk_another_version_a_late_clock_and_old_files_are_warned_of():
    def disk(free: int) -> Disk:
        return Disk(what="watched", path="/in", free=free, total=10**12 // 10)

    assert warned(report(disks=(disk(10**9), disk(5 * 10**9), disk(50 * 10**9)))) == [
        ("disk", "bad"), ("disk", "waiting")
    ]  # fmt: skip
    assert warned(report(disks=(Disk(what="watched", path="/n", trouble="gone"),))) == [("away", "bad")]
    assert warned(report(version="2")) == [("version", "waiting")]
    assert warned(report(behind=60)) == [("behind", "waiting")]
    assert warned(report(behind=-60)) == [("ahead", "waiting")]
    assert warned(report(folders=(WatchedFolder(path="/", waiting=1, oldest=NOW - 3600 * SECOND),))) == [
        ("waiting", "waiting")
    ]
    assert warned(report(troubles=(Trouble(what="sending", why="no route"),))) == [("trouble", "bad")]


def test_a_disk_says_how_full_it_is():
    (disk,) = only(report(disks=(Disk(what="results", path="/o", free=25, total=100),))).disks
    assert disk.share == 75
