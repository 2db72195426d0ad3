"""The edge says how it is: by its journal and its disks, soon after changes, and whether anybody listens or not."""

import asyncio

import pytest

from contracts.edge_status import LONGEST, EdgeStatus
from contracts.errors import Away
from edge import reporting
from edge.reporting import Reporting
from edge.rows import FileState, Sighting, Signature, Step
from tests.support.waiting import eventually


class Listener:
    """A gateway that hears, or does not."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, EdgeStatus]] = []
        self.deaf = False
        self.asked = 0

    async def tell(self, name: str, status: EdgeStatus) -> None:
        self.asked += 1
        if self.deaf:
            raise Away("nobody answers")
        self.heard.append((name, status))


@pytest.fixture
def listener():
    return Listener()


def reporting_of(listener, journal, inbox, **options) -> Reporting:
    places = {"results": inbox.parent, "journal": inbox.parent / "nowhere"}
    more = {"places": places, "host": "scope-1", "version": "1.2", "roots": (str(inbox),)} | options
    return Reporting(listener, journal, lambda: 10**18, **more)


async def sighted(journal, inbox, name: str, hold: str = "") -> int:
    (row,) = await journal.sight([Sighting(str(inbox), "", name, Signature(1, 2, 3), hold=hold)])
    return row.id


async def test_a_report_tells_files_by_folder_disks_troubles_and_what_was_put_aside_last(listener, journal, inbox):
    first = await sighted(journal, inbox, "a.tif")
    await sighted(journal, inbox, "b.tif")
    await sighted(journal, inbox, "c.tif", hold="no image at all")
    await journal.step([Step(first, FileState.FOUND, FileState.SENT)])
    made = reporting_of(listener, journal, inbox, pending=lambda: 7, troubles=lambda: {"sending": "no route"})

    status = await made.status()

    (folder,) = status.folders
    assert (folder.path, folder.waiting, folder.sent, folder.held, folder.done) == (str(inbox), 1, 1, 1, 0)
    assert folder.oldest > 0
    watched, results, nowhere = status.disks
    assert (watched.what, watched.free > 0, watched.total >= watched.free) == ("watched", True, True)
    assert (results.what, nowhere.what, nowhere.free, bool(nowhere.trouble)) == ("results", "journal", 0, True)
    assert (status.version, status.pending, status.at) == ("1.2", 7, 10**18)
    assert [(one.what, one.why) for one in status.troubles] == [("sending", "no route")]
    assert (status.last_error, status.last_error_file) == ("no image at all", f"{inbox.as_posix()}/c.tif")


async def test_what_is_too_long_or_no_unicode_still_makes_a_report_that_can_be_sent(listener, journal, inbox):
    made = reporting_of(listener, journal, inbox, roots=("/\udcff" + "x" * 4000,), troubles=lambda: {"a": "b" * 9000})
    status = await made.status()
    assert len(status.folders[0].path) == LONGEST
    assert len(status.troubles[0].why) == LONGEST
    assert EdgeStatus.model_validate_json(status.model_dump_json(by_alias=True)) == status


async def test_a_folder_that_is_watched_no_longer_is_told_of_while_its_files_are_on_their_way(listener, journal, inbox):
    row = await sighted(journal, inbox, "a.tif")
    made = reporting_of(listener, journal, inbox, roots=())
    assert [one.waiting for one in (await made.status()).folders] == [1]
    await journal.step([Step(row, FileState.FOUND, FileState.DONE)])
    assert (await made.status()).folders == ()


async def test_changes_are_told_soon_and_the_journal_is_counted_only_after_some(listener, journal, inbox, monkeypatch):
    monkeypatch.setattr(reporting, "SOON", 0.01)
    monkeypatch.setattr(reporting, "EVERY", 3600.0)
    counted = []
    tally = journal.tally

    async def counting():
        counted.append(1)
        return await tally()

    monkeypatch.setattr(journal, "tally", counting)
    made = reporting_of(listener, journal, inbox)
    async with made.running():
        await eventually(lambda: _true(len(listener.heard) == 1))
        await made.status()
        assert len(counted) == 1, "nothing has changed"
        await sighted(journal, inbox, "a.tif")
        await eventually(lambda: _true(listener.heard[-1][1].folders[0].waiting == 1))
    assert {name for name, _ in listener.heard} == {"scope-1"}


async def test_a_gateway_that_does_not_listen_is_asked_again_less_and_less_often(listener, journal, inbox, monkeypatch):
    monkeypatch.setattr(reporting, "SOON", 0.001)
    monkeypatch.setattr(reporting, "EVERY", 0.01)
    listener.deaf = True
    async with reporting_of(listener, journal, inbox).running():
        await eventually(lambda: _true(listener.asked > 2))
        listener.deaf = False
        await eventually(lambda: _true(bool(listener.heard)))


async def test_a_report_that_is_never_answered_does_not_keep_the_edge_from_ending(journal, inbox):
    begun = asyncio.Event()

    class Silent:
        async def tell(self, _name: str, _status: EdgeStatus) -> None:
            begun.set()
            await asyncio.Event().wait()

    async with reporting_of(Silent(), journal, inbox).running():
        await begun.wait()


async def test_the_number_of_the_journals_changes_moves_with_each_commit_only(journal, inbox):
    before = await journal.change()
    assert await journal.change() == before
    await sighted(journal, inbox, "a.tif")
    assert await journal.change() != before


async def _true(value: bool) -> bool:
    return value
