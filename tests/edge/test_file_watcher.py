"""The file watcher on real files, with real writers."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest

from contracts.hosting import app_of
from edge.file_watcher.looking import Blocked, look_at
from edge.file_watcher.service import FileWatcher
from edge.file_watcher.settings import WatchSettings
from edge.journal import Journal
from edge.rows import SECOND, FileState
from tests.edge.pictures import png, tiff
from tests.support.waiting import eventually

QUICK = {"settle_seconds": 0.3, "quick_seconds": 0.05, "recheck_seconds": 0.1, "poll_seconds": 0.1}


@asynccontextmanager
async def watching(journal, *folders, clock=time.time_ns, **changes):
    watcher = FileWatcher(WatchSettings(folders=folders, **(QUICK | changes)), journal, clock)
    async with watcher.running():
        await eventually(lambda: watcher.rescans)
        yield watcher


async def names(journal, state=FileState.FOUND) -> list[str]:
    return sorted(f"{row.folder}/{row.name}".lstrip("/") for row in await journal.page(state, 100_000))


async def taken(journal, *expected: str, state=FileState.FOUND, seconds: float = 10) -> None:
    """Wait until exactly these files are in the journal in this state."""

    async def all_there() -> bool:
        return await names(journal, state) == sorted(expected)

    await eventually(all_there, seconds)


async def only(journal, watcher, *expected: str) -> None:
    """After another look through everything, these files are there and no others."""
    await taken(journal, *expected)
    before = watcher.rescans
    watcher.rescan()
    await eventually(lambda: watcher.rescans > before)
    assert await names(journal) == sorted(expected)


async def sole(journal, state=FileState.FOUND):
    (row,) = await journal.page(state, 10)
    return row


async def test_a_file_renamed_into_place_is_taken_within_a_moment(journal, inbox):
    async with watching(journal, inbox):
        delays = []
        for number in range(10):
            (inbox / "a.part").write_bytes(png(number))
            started = time.monotonic()
            os.rename(inbox / "a.part", inbox / f"{number}.png")
            await taken(journal, *(f"{n}.png" for n in range(number + 1)))
            delays.append(time.monotonic() - started)
        assert sorted(delays)[5] < 0.1


async def test_files_that_were_there_before_the_start_are_taken(journal, inbox):
    (inbox / "deep" / "er").mkdir(parents=True)
    (inbox / "deep" / "er" / "a.png").write_bytes(png())
    async with watching(journal, inbox):
        await taken(journal, "deep/er/a.png")


async def test_known_sub_folders_are_watched(journal, inbox):
    (inbox / "deep" / "er").mkdir(parents=True)
    async with watching(journal, inbox):
        (inbox / "deep" / "er" / "a.png").write_bytes(png())
        await taken(journal, "deep/er/a.png", seconds=5)


async def test_files_in_a_tree_made_at_once_are_taken(journal, inbox):
    async with watching(journal, inbox):
        (inbox / "x" / "y" / "z").mkdir(parents=True)
        (inbox / "x" / "y" / "z" / "a.png").write_bytes(png())
        (inbox / "x" / "b.png").write_bytes(png())
        await taken(journal, "x/b.png", "x/y/z/a.png")


async def test_a_tree_moved_into_place_is_taken(journal, inbox, tmp_path):
    (tmp_path / "plate" / "well").mkdir(parents=True)
    (tmp_path / "plate" / "well" / "a.png").write_bytes(png())
    async with watching(journal, inbox):
        os.rename(tmp_path / "plate", inbox / "plate")
        await taken(journal, "plate/well/a.png")


async def test_without_sub_folders_only_the_folder_itself_counts(journal, inbox):
    async with watching(journal, inbox, watch_subfolders=False) as watcher:
        (inbox / "sub").mkdir()
        (inbox / "sub" / "a.png").write_bytes(png())
        (inbox / "b.png").write_bytes(png())
        await only(journal, watcher, "b.png")


async def test_a_burst_of_a_thousand_files(journal, inbox):
    content = png()
    async with watching(journal, inbox):
        for number in range(1000):
            (inbox / f"{number}.png").write_bytes(content)
        await taken(journal, *(f"{number}.png" for number in range(1000)), seconds=20)


async def test_with_all_events_lost_the_rescan_finds_everything(journal, inbox):
    async with watching(journal, inbox, rescan_seconds=0.2) as watcher:
        await asyncio.to_thread(watcher.hints.unwatch, str(inbox))
        (inbox / "sub").mkdir()
        for number in range(20):
            (inbox / "sub" / f"{number}.png").write_bytes(png())
        await taken(journal, *(f"sub/{number}.png" for number in range(20)))


# -- writers

WRITER = """
import sys, time, pathlib
path, source, pieces, pause, how = sys.argv[1:6]
data = pathlib.Path(source).read_bytes()
size = -(-len(data) // int(pieces))
file = open(path, "wb", buffering=0)
for start in range(0, len(data), size):
    if how == "reopen" and start:
        file = open(path, "ab", buffering=0)
    file.write(data[start:start + size])
    if how == "reopen":
        file.close()
    if start + size < len(data):
        time.sleep(float(pause))
file.close()
"""


def write_slowly(tmp_path, target, content, *, pieces=4, pause=0.6, how="keep open") -> subprocess.Popen:
    source = tmp_path / f"source-{target.name}"
    source.write_bytes(content)
    return subprocess.Popen([sys.executable, "-c", WRITER, target, source, str(pieces), str(pause), how])


@pytest.mark.parametrize(
    ("name", "content", "how"),
    [
        ("a.tif", tiff(), "keep open"),
        ("a.png", png(1), "keep open"),
        ("notes.txt", b"word " * 1000, "keep open"),
        ("b.tif", tiff(), "reopen"),
        ("b.png", png(1), "reopen"),
    ],
)
async def test_a_slow_writer_is_waited_for(journal, inbox, tmp_path, name, content, how):
    """Its pauses are longer than the settle time; the rescans in between must not be taken in either."""
    async with watching(journal, inbox, rescan_seconds=0.2):
        writer = write_slowly(tmp_path, inbox / name, content, how=how)
        await taken(journal, name)
        assert (await sole(journal)).size == len(content)
        assert await asyncio.to_thread(writer.wait) == 0


async def test_in_poll_mode_a_file_has_to_settle(journal, inbox, tmp_path):
    async with watching(journal, inbox, poll=True, settle_seconds=0.5):
        writer = write_slowly(tmp_path, inbox / "a.txt", b"word " * 1000, pieces=8, pause=0.1, how="reopen")
        picture = write_slowly(tmp_path, inbox / "b.png", png(2), pieces=3, pause=0.8, how="reopen")
        await taken(journal, "a.txt", "b.png")
        sizes = {row.name: row.size for row in await journal.page(FileState.FOUND, 10)}
        assert sizes == {"a.txt": 5000, "b.png": len(png(2))}
        assert [await asyncio.to_thread(one.wait) for one in (writer, picture)] == [0, 0]


async def test_a_file_whose_writer_died_is_taken_as_it_is_in_the_end(journal, inbox):
    async with watching(journal, inbox, truncated_after_seconds=0.5):
        (inbox / "a.tif").write_bytes(tiff()[:-100])
        await taken(journal, "a.tif")


async def test_new_content_under_an_old_name_is_taken_again(journal, inbox):
    async with watching(journal, inbox):
        (inbox / "a.png").write_bytes(png(1))
        await taken(journal, "a.png")
        await journal.hashed(await sole(journal), "1" * 64, "job-1")
        (inbox / "a.png").write_bytes(png(2, width=9))
        await taken(journal, "a.png")
        assert (await sole(journal)).size == len(png(2, width=9))


async def test_a_file_renamed_or_deleted_while_it_is_pending(journal, inbox):
    async with watching(journal, inbox) as watcher:
        for name in ("a.png", "b.png"):
            (inbox / name).write_bytes(png()[:-5])
        await eventually(lambda: len(watcher.pending) == 2)
        os.rename(inbox / "a.png", inbox / "c.png")
        (inbox / "c.png").write_bytes(png())
        (inbox / "b.png").unlink()
        await taken(journal, "c.png")
        await eventually(lambda: not len(watcher.pending))
        assert await names(journal, FileState.HELD) == []


# -- files that are no files, or not yet

UNUSUAL = ["caf\u00e9.png", "cafe\u0301.png", "two  words .png", "new\nline.png", "no_extension", "😀.png", "-rf", "'"]


async def test_unusual_names(journal, inbox):
    async with watching(journal, inbox):
        for name in UNUSUAL:
            (inbox / name).write_bytes(png())
        await taken(journal, *UNUSUAL)


async def test_hidden_temporary_and_excluded_files_are_left_alone(journal, inbox):
    async with watching(journal, inbox, exclude="calib,*.xml", extensions=("png", "xml")) as watcher:
        (inbox / ".git").mkdir()
        for name in (".a.png", "~$b.png", "c.png.part", "calib1.png", "d.xml", "e.txt", ".git/f.png", "yes.PNG"):
            (inbox / name).write_bytes(png())
        await only(journal, watcher, "yes.PNG")


async def test_an_empty_file_is_held_until_it_is_written(journal, inbox):
    async with watching(journal, inbox, empty_after_seconds=0.2):
        (inbox / "a.png").touch()
        await taken(journal, "a.png", state=FileState.HELD)
        assert (await sole(journal, FileState.HELD)).reason == "empty"
        (inbox / "a.png").write_bytes(png())
        await taken(journal, "a.png")
        assert await names(journal, FileState.HELD) == []


async def test_a_held_file_that_is_deleted_is_forgotten(journal, inbox):
    async with watching(journal, inbox, empty_after_seconds=0.1, rescan_seconds=0.2):
        (inbox / "a.png").touch()
        await taken(journal, "a.png", state=FileState.HELD)
        (inbox / "a.png").unlink()
        await taken(journal, state=FileState.HELD)


async def test_a_name_that_is_not_unicode_is_held(journal, inbox):
    async with watching(journal, inbox):
        (inbox / os.fsdecode(b"a\xff.png")).write_bytes(png())
        await taken(journal, "a\\udcff.png", state=FileState.HELD)
        assert "not valid Unicode" in (await sole(journal, FileState.HELD)).reason


@pytest.fixture
def ordinary_user():
    """Root may read everything; some tests are about those who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_an_unreadable_file_is_blocked_for_a_while(inbox, request):
    (inbox / "a.png").write_bytes(png())
    (inbox / "a.png").chmod(0)
    for folder in [inbox, *inbox.parents][:-1]:
        folder.chmod(folder.stat().st_mode | 0o011)
    request.getfixturevalue("ordinary_user")
    look = look_at((str(inbox), "", "a.png"), WatchSettings(folders=()), (str(inbox),))
    assert isinstance(look, Blocked)
    assert (look.reason, look.retry) == ("unreadable: Permission denied", True)


async def test_what_could_not_be_read_is_looked_at_again_after_a_while(tmp_path, inbox):
    now = [time.time_ns()]
    journal = Journal(tmp_path / "journal.db", lambda: now[0])
    async with journal.running(), watching(journal, inbox, clock=lambda: now[0], rescan_seconds=0.1) as watcher:
        (inbox / "a.png").write_bytes(png())
        await taken(journal, "a.png")
        await journal.put_back(await sole(journal), "unreadable: I/O error", retry=True)
        before = watcher.rescans
        await eventually(lambda: watcher.rescans > before + 1)
        await taken(journal, "a.png", state=FileState.HELD)
        now[0] += 10 * SECOND
        await taken(journal, "a.png")
        await journal.put_back(await sole(journal), "it changed while it was read", retry=False)
        await taken(journal, "a.png")


async def test_links_are_not_followed(journal, inbox, tmp_path):
    (tmp_path / "outside.png").write_bytes(png())
    async with watching(journal, inbox) as watcher:
        (inbox / "a.png").write_bytes(png())
        (inbox / "same.png").symlink_to("a.png")
        (inbox / "out.png").symlink_to(tmp_path / "outside.png")
        (inbox / "up").symlink_to(tmp_path)
        (inbox / "round").symlink_to(inbox)
        await taken(journal, "out.png", "up", state=FileState.HELD)
        await only(journal, watcher, "a.png")
        assert "leaves the watched folder" in (await journal.page(FileState.HELD, 1))[0].reason


async def test_what_is_no_file_is_left_alone(journal, inbox):
    async with watching(journal, inbox) as watcher:
        os.mkfifo(inbox / "pipe.png")
        (inbox / "folder.png").mkdir()
        (inbox / "a.png").write_bytes(png())
        await only(journal, watcher, "a.png")
        assert await names(journal, FileState.HELD) == []


async def test_deep_trees(journal, inbox):
    folder = inbox.joinpath(*(str(number) for number in range(60)))
    async with watching(journal, inbox):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(png())
        await taken(journal, "/".join([*(str(number) for number in range(60)), "a.png"]))


async def test_a_folder_that_goes_away_is_reported_and_comes_back_by_itself(journal, inbox, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    async with watching(journal, inbox, other) as watcher:
        condition = next(one for one in watcher.desks if one.name == str(inbox))
        os.rename(inbox, tmp_path / "away")
        watcher.rescan()
        await eventually(lambda: "cannot be reached" in condition.trouble)
        (other / "a.png").write_bytes(png())
        await taken(journal, "a.png")
        inbox.mkdir()
        (inbox / "b.png").write_bytes(png())
        await taken(journal, "a.png", "b.png")
        assert condition.trouble == ""
        (inbox / "c.png").write_bytes(png())
        await taken(journal, "a.png", "b.png", "c.png", seconds=5)


async def test_a_folder_that_is_deleted_and_made_again(journal, inbox):
    async with watching(journal, inbox):
        shutil.rmtree(inbox)
        inbox.mkdir()
        (inbox / "a.png").write_bytes(png())
        await taken(journal, "a.png")


async def test_nested_folders_are_watched_once(journal, inbox):
    (inbox / "sub").mkdir()
    async with watching(journal, inbox, inbox / "sub", inbox) as watcher:
        assert watcher.roots == (str(inbox),)
        (inbox / "sub" / "a.png").write_bytes(png())
        await only(journal, watcher, "sub/a.png")


async def test_the_list_of_files(journal, inbox, ask):
    async with watching(journal, inbox) as watcher:
        (inbox / "a.png").write_bytes(png())
        await taken(journal, "a.png")
        client = ask(app_of(watcher))
        answer = (await client.get("/api/v1/files", params={"state": "found", "limit": 1})).json()
        assert [file["path"] for file in answer["files"]] == [(inbox / "a.png").as_posix()]
        assert answer["counts"]["found"] == 1
        assert (await client.get("/api/v1/files", params={"after": answer["next"], "state": "found"})).json()[
            "files"
        ] == []
        for wrong in ("state=nonsense", "limit=x", f"after={2**63}", f"after={'9' * 40}", "after=-1"):
            assert (await client.get(f"/api/v1/files?{wrong}")).status_code == 400, wrong
        assert (await client.get("/api/v1/health")).json()["state"] == "ok"


async def test_without_room_for_events_folders_are_polled(journal, inbox, monkeypatch):
    def no_room():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("edge.file_watcher.events.Observer", no_room)
    async with watching(journal, inbox) as watcher:
        assert "polled" in watcher.hints.condition.trouble
        (inbox / "a.png").write_bytes(png())
        await taken(journal, "a.png")


async def test_a_file_that_cannot_be_looked_at_does_not_stop_the_others(journal, inbox, monkeypatch):
    look = look_at

    def odd(place, *rest):
        if place[2] == "odd.png":
            raise ValueError("odd")
        return look(place, *rest)

    monkeypatch.setattr("edge.file_watcher.judging.look_at", odd)
    async with watching(journal, inbox):
        for name in ("odd.png", "a.png"):
            (inbox / name).write_bytes(png())
        await taken(journal, "a.png")
        await taken(journal, "odd.png", state=FileState.HELD)
