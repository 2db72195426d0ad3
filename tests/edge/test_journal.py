"""The journal: what it has answered is kept, whatever happens."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contracts.errors import Conflict, Unavailable
from edge.journal import Journal
from edge.rows import NEVER, SECOND, FileState, Sighting, Signature, Step

ROOT = "/lab/input"


def sighting(name="a.tif", size=1, *, folder="", hold="", retry=False) -> Sighting:
    return Sighting(ROOT, folder, name, Signature(size, 1, 1), hold, retry)


async def test_a_file_seen_again_unchanged_is_known(journal):
    (first,) = await journal.sight([sighting()])
    (again,) = await journal.sight([sighting()])
    assert first == again
    assert first.state == FileState.FOUND


async def test_new_content_gets_a_row_of_its_own_once_the_first_has_a_job(journal):
    (first,) = await journal.sight([sighting(size=1)])
    await journal.hashed(first, "a" * 64, "job-1")
    (second,) = await journal.sight([sighting(size=2)])
    assert second.id != first.id
    assert (await journal.counts())["hashed"] == 1


async def test_a_file_that_changes_before_it_was_read_keeps_its_row(journal):
    (first,) = await journal.sight([sighting(size=1)])
    (second,) = await journal.sight([sighting(size=2)])
    assert second.id == first.id
    assert second.size == 2


async def test_the_digest_of_an_older_version_is_not_taken(journal):
    (old,) = await journal.sight([sighting(size=1)])
    await journal.sight([sighting(size=2)])
    row = await journal.hashed(old, "a" * 64, "job-1")
    assert (row.state, row.sha256) == (FileState.FOUND, "")


async def test_the_same_content_again_makes_no_second_job(journal):
    (first,) = await journal.sight([sighting(size=1)])
    await journal.hashed(first, "a" * 64, "job-1")
    for touch in range(2, 6):
        (again,) = await journal.sight([Sighting(ROOT, "", "a.tif", Signature(1, touch, touch))])
        done = await journal.hashed(again, "a" * 64, "job-1")
        assert (done.state, done.outcome) == (FileState.DONE, "duplicate")
    assert (await journal.counts())["done"] == 1, "touching a file again and again must not fill the journal"
    assert (await journal.of_job("job-1")).id == first.id


async def test_a_held_file_waits_for_a_change_or_its_time(journal):
    (empty,) = await journal.sight([sighting(hold="empty")])
    assert empty.not_before == NEVER
    for tries in range(1, 12):  # the pause doubles, spread by chance, up to ten minutes
        before = time.time_ns()
        (unreadable,) = await journal.sight([sighting("b", hold="unreadable", retry=True)])
        assert unreadable.tries == tries
        pause = (unreadable.not_before - before) / SECOND
        assert 1 <= pause <= 2 + min(2.0 ** (tries + 1), 600)
    assert await journal.waiting(FileState.HELD, 10) == []
    (taken,) = await journal.sight([sighting(size=5)])
    assert (taken.id, taken.state) == (empty.id, FileState.FOUND)


async def test_a_pause_that_was_set_by_a_wrong_clock_is_not_waited_for(tmp_path):
    ahead = [3600 * 10**9]
    journal = Journal(tmp_path / "journal.db", lambda: time.time_ns() + ahead[0])
    async with journal.running():
        (row,) = await journal.sight([sighting("b", hold="unreadable", retry=True)])
        await journal.sight([sighting("a", hold="empty")])
        assert await journal.waiting(FileState.HELD, 10) == []
        ahead[0] = 0
        assert [one.id for one in await journal.waiting(FileState.HELD, 10)] == [row.id]


async def test_a_step_is_taken_once(journal):
    (row,) = await journal.sight([sighting()])
    step = Step(row.id, FileState.FOUND, FileState.HASHED, job_id="j", sha256="s")
    assert [await journal.step([step]), await journal.step([step])] == [1, 0]


async def test_listeners_hear_of_the_states_that_rows_come_into(journal):
    heard = []
    journal.listen(FileState.FOUND, lambda: heard.append("found"))
    journal.listen(FileState.SENT, lambda: heard.append("sent"))
    await journal.sight([sighting(), sighting("b")])
    assert heard == ["found"]


@pytest.mark.parametrize(
    "name", ["caf\u00e9.tif", "cafe\u0301.tif", "a\nb.tif", "a b.tif", "\udcff.tif", "'; --", "😀"]
)
async def test_names_are_kept_as_they_are(journal, name):
    (row,) = await journal.sight([sighting(name)])
    found = await journal.latest(ROOT, "", [name, "other"])
    assert found == {name: row}
    assert row.name == name or "\\udcff" in row.name


async def test_thousands_of_writers_share_commits(journal):
    started = time.monotonic()
    await asyncio.gather(*(journal.sight([sighting(str(n))]) for n in range(2000)))
    assert (await journal.counts())["found"] == 2000
    assert time.monotonic() - started < 5


async def test_one_writers_error_is_its_own(journal):
    def wrong(connection):
        connection.execute("INSERT INTO note VALUES ('half', 'done')")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    results = await asyncio.gather(
        journal.note("a", "1"), journal.database.write(wrong), journal.note("b", "2"), return_exceptions=True
    )
    assert isinstance(results[1], Unavailable)
    assert [await journal.noted(name) for name in ("a", "b", "half")] == ["1", "2", ""]


async def test_outputs_belong_to_the_job_that_came_first(journal):
    assert await journal.reserve_output("/out/a.tif", "job-1", "s")
    assert await journal.reserve_output("/out/a.tif", "job-1", "s")
    assert not await journal.reserve_output("/out/a.tif", "job-2", "s")
    assert await journal.outputs_of(["/out/a.tif", "/out/b.tif"]) == {"/out/a.tif": "job-1"}


async def test_a_damaged_journal_is_put_aside(tmp_path):
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database at all" * 1000)
    journal = Journal(path, time.time_ns)
    async with journal.running():
        await journal.sight([sighting()])
        assert journal.put_aside.endswith("journal.db.damaged-1")
    again = Journal(path, time.time_ns)
    async with again.running():
        assert again.put_aside == ""
        assert (await again.counts())["found"] == 1


async def test_a_newer_journal_is_left_alone(tmp_path):
    path = tmp_path / "journal.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(Conflict, match="version 99"):
        async with Journal(path, time.time_ns).running():
            pass


WRITER = """
import asyncio, sys, time
from pathlib import Path
from edge.journal import Journal
from edge.rows import FileState, Sighting, Signature, Step

async def main():
    journal = Journal(Path(sys.argv[1]), time.time_ns)
    async with journal.running():
        async def write(worker):
            for number in range(100_000):
                (row,) = await journal.sight([Sighting("/r", str(worker), str(number), Signature(1, 1, 1))])
                sys.stdout.write(f"found {row.id}\\n")
                sys.stdout.flush()
                await journal.step([Step(row.id, FileState.FOUND, FileState.HASHED, job_id=f"job-{row.id}")])
                sys.stdout.write(f"hashed {row.id}\\n")
                sys.stdout.flush()
        await asyncio.gather(*(write(worker) for worker in range(8)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path):
    path, dice = tmp_path / "journal.db", random.Random(20240229)
    acknowledged: dict[int, str] = {}
    for round_ in range(4):
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else is to go on meanwhile
            [sys.executable, "-c", WRITER.replace('"/r"', f'"/r{round_}"'), str(path)], stdout=-1
        )
        for _ in range(dice.randrange(20, 400)):
            state, row_id = process.stdout.readline().split()
            acknowledged[int(row_id)] = state.decode()
        process.send_signal(signal.SIGKILL)
        for line in process.stdout.read().splitlines():
            if len(words := line.split()) == 2 and line.endswith(words[1]):
                acknowledged.setdefault(int(words[1]), "found")
        process.wait()
        process.stdout.close()
    journal = Journal(path, time.time_ns)
    async with journal.running():
        assert journal.put_aside == ""
        kept = {
            row.id: row for state in (FileState.FOUND, FileState.HASHED) for row in await journal.page(state, 10**6)
        }
    assert len(acknowledged) > 50
    lost = [key for key, state in acknowledged.items() if key not in kept]
    behind = [key for key, state in acknowledged.items() if state == "hashed" and kept[key].state != "hashed"]
    assert (lost, behind) == ([], [])


class JournalMachine(RuleBasedStateMachine):
    """The journal against a dict: place -> the last version's (signature, state)."""

    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.journal = Journal(Path(self.folder.name) / "j.db", lambda: 10**18)
        self.context = self.journal.running()
        self.run(self.context.__aenter__())
        self.last: dict[str, tuple[int, str]] = {}
        self.jobs: dict[str, int] = {}

    def run(self, work):
        return self.runner.run(work)

    async def row(self, name):
        return (await self.journal.latest(ROOT, "", [name])).get(name)

    @rule(name=names, size=st.integers(0, 3))
    def sight(self, name, size):
        self.run(self.journal.sight([sighting(name, size)]))
        known = self.last.get(name)
        if known is None or known[0] != size or known[1] == "held":
            self.last[name] = (size, "found")

    @rule(name=names, size=st.integers(0, 3))
    def hold(self, name, size):
        self.run(self.journal.sight([sighting(name, size, hold="why")]))
        known = self.last.get(name)
        if known is None or known[0] != size or known[1] == "held":
            self.last[name] = (size, "held")

    @rule(name=names)
    def read(self, name):
        row = self.run(self.row(name))
        if row is None or row.state != "found":
            return
        job = f"{name}{row.size}"
        self.run(self.journal.hashed(row, "s", job))
        known = job in self.jobs
        self.jobs.setdefault(job, row.id)
        self.last[name] = (row.size, "done" if known else "hashed")

    @rule(name=names, was=st.sampled_from(list(FileState)), state=st.sampled_from(["registered", "sent", "done"]))
    def step(self, name, was, state):
        row = self.run(self.row(name))
        if row is None or not row.job_id or row.outcome:
            return
        self.run(self.journal.step([Step(row.id, was, FileState(state))]))
        if row.state == was:
            self.last[name] = (row.size, state)

    @rule()
    def crash(self):
        self.run(self.context.__aexit__(None, None, None))
        self.context = self.journal.running()
        self.run(self.context.__aenter__())

    @invariant()
    def same(self):
        found = self.run(self.journal.latest(ROOT, "", ["a", "b", "c"]))
        assert {name: (row.size, row.state) for name, row in found.items()} == self.last

    def teardown(self):
        self.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
