"""The data organizer: one job for each content, whatever the gateway does meanwhile."""

import asyncio
import json
import time

import pytest

from contracts.errors import Rejected, Unavailable
from contracts.events import JobCreated
from contracts.hosting import app_of
from contracts.models import State
from contracts.names import AttributeRule
from edge.data_organizer.rules import Laboratory, extension_of, job_id_of
from edge.data_organizer.service import DataOrganizer
from edge.file_watcher.looking import signature_of
from edge.rows import FileState, Sighting, Step
from tests.support.jobs import FakeJobs
from tests.support.waiting import eventually


class FakeTasks:
    """Wants every file whose name does not say otherwise."""

    def __init__(self) -> None:
        self.down = None

    async def match(self, jobs):
        if self.down is not None:
            raise self.down
        return ["unwanted" not in job.input_file.name for job in jobs]


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
def tasks() -> FakeTasks:
    return FakeTasks()


@pytest.fixture
def organizer(journal, jobs, tasks, inbox) -> DataOrganizer:
    return DataOrganizer(
        journal,
        jobs,
        tasks,
        roots=[str(inbox)],
        rules=[AttributeRule("row", "r", "int")],
        laboratory=Laboratory(name="ScienceLab"),
        every=0.05,
    )


def written(inbox, name, content=b"pixels", folder="") -> Sighting:
    path = inbox / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Sighting(str(inbox), folder, name, signature_of(path.stat()))


async def counts(journal, **expected: int) -> None:
    async def so() -> bool:
        return {name: n for name, n in (await journal.counts()).items() if n} == expected

    await eventually(so)


async def test_a_found_file_becomes_a_job_that_is_on_its_way(journal, jobs, organizer, inbox):
    async with organizer.running():
        await journal.sight([written(inbox, "r07.ome.tif", folder="plate 1")])
        await counts(journal, registered=1)
    (job,) = jobs.jobs.values()
    file = job.input_file
    assert job.state is State.SENDING
    assert (file.hostname, file.dir_name) == ("oem", f"{inbox.as_posix()}/plate 1/")
    assert (file.name, file.extension, file.size) == ("r07.ome.tif", ".tif", 6)
    assert file.attributes == {"LabName": "ScienceLab", "row": "7"}
    assert job.id == job_id_of("oem", file.dir_name, file.name, file.sha256)


async def test_a_file_that_no_task_wants_is_done(journal, jobs, organizer, inbox):
    async with organizer.running():
        await journal.sight([written(inbox, "unwanted.tif"), written(inbox, "wanted.tif")])
        await counts(journal, registered=1, done=1)
    (row,) = await journal.page(FileState.DONE, 10)
    assert row.outcome == State.UNMATCHED
    assert jobs.jobs[row.job_id].state is State.UNMATCHED


async def test_while_the_gateway_is_away_files_are_read_and_nothing_is_lost(journal, jobs, organizer, inbox):
    jobs.down = Unavailable("away")
    async with organizer.running():
        await journal.sight([written(inbox, f"{n}.tif", str(n).encode()) for n in range(20)])
        await counts(journal, hashed=20)
        jobs.down = None
        await counts(journal, registered=20)
    assert len(jobs.jobs) == 20


async def test_while_the_task_launcher_is_away_jobs_are_made_but_wait(journal, jobs, tasks, organizer, inbox):
    tasks.down = Unavailable("away")
    async with organizer.running():
        await journal.sight([written(inbox, "a.tif")])
        await eventually(lambda: jobs.jobs)
        await counts(journal, hashed=1)
        tasks.down = None
        await counts(journal, registered=1)
    assert len([fact for fact in jobs.facts if isinstance(fact, JobCreated)]) > 1
    assert len(jobs.jobs) == 1


async def test_a_refused_file_does_not_stop_the_others(journal, jobs, organizer, inbox):
    tell = jobs.report

    async def picky(facts):
        if any(getattr(fact, "input_file", None) and fact.input_file.name == "bad.tif" for fact in facts):
            raise Rejected("that name is not allowed")
        return await tell(facts)

    jobs.report = picky
    async with organizer.running():
        await journal.sight([written(inbox, name) for name in ("a.tif", "bad.tif", "c.tif")])
        await counts(journal, registered=2, done=1)
    (row,) = await journal.page(FileState.DONE, 10)
    assert (row.outcome, row.reason) == ("refused", "that name is not allowed")


async def test_a_job_that_is_further_already_is_not_sent_again(journal, jobs, organizer, inbox):
    """The journal was lost; the gateway remembers."""
    async with organizer.running():
        await journal.sight([written(inbox, "a.tif"), written(inbox, "b.tif"), written(inbox, "c.tif")])
        await counts(journal, registered=3)
    for job, state in zip(list(jobs.jobs.values()), [State.RUNNING, State.COMPLETE, State.SENDING], strict=True):
        jobs.jobs[job.id] = job.evolve(state=state)
    await journal.database.write(lambda connection: connection.execute("UPDATE file SET state = 'hashed'"))
    organizer.desks[1].wake()
    again = DataOrganizer(journal, jobs, FakeTasks(), roots=[str(inbox)])
    async with again.running():
        await counts(journal, sent=1, done=1, registered=1)


async def test_a_file_that_changes_before_it_is_read_goes_back_to_the_watcher(journal, organizer, inbox):
    sighting = written(inbox, "a.tif")
    written(inbox, "a.tif", b"other pixels")
    async with organizer.running():
        await journal.sight([sighting])
        await counts(journal, held=1)
    assert await journal.waiting(FileState.HELD, 1), "it has to be looked at again at once"


async def test_a_file_that_is_gone_before_it_is_read(journal, organizer, inbox):
    sighting = written(inbox, "a.tif")
    (inbox / "a.tif").unlink()
    async with organizer.running():
        await journal.sight([sighting])
        await counts(journal, done=1)
    assert (await journal.page(FileState.DONE, 1))[0].outcome == "gone"


# -- notifyNewFile


def told(inbox, name, host="oem") -> bytes:
    file = {"Hostname": host, "DirName": f"{inbox}/", "Name": name, "Extension": ".tif", "Attributes": None}
    return json.dumps({"InputFile": file}).encode()


async def test_the_contracts_answers_to_a_new_file(journal, jobs, tasks, organizer, inbox, tmp_path, ask):
    client = ask(app_of(organizer))
    written(inbox, "a.tif")
    written(inbox, "unwanted.tif")
    (tmp_path / "secret.txt").write_text("not for you")
    (inbox / "link.tif").symlink_to(tmp_path / "secret.txt")

    async def answer(body: bytes) -> int:
        return (await client.post("/api/v1/notifyNewFile", content=body)).status_code

    assert await answer(told(inbox, "a.tif")) == 200
    assert await answer(told(inbox, "a.tif")) == 200, "still on its way"
    assert await answer(told(inbox, "unwanted.tif")) == 204
    assert await answer(told(inbox, "unwanted.tif")) == 208
    assert await answer(told(inbox, "missing.tif")) == 400
    assert await answer(told(inbox, "../../secret.txt")) == 400
    assert await answer(told(inbox, "link.tif")) == 400
    assert await answer(told(inbox, "no\0path.tif")) == 400
    assert await answer(told(inbox, "a" * 300)) == 400
    assert await answer(told(inbox, "a.tif", host="gateway")) == 400
    assert await answer(b"{") == 500
    assert len(jobs.jobs) == 2
    tasks.down = Unavailable("away")
    written(inbox, "later.tif")
    assert await answer(told(inbox, "later.tif")) == 400
    await counts(journal, registered=1, done=1, hashed=1)
    assert (await client.post("/api/v1/retry")).status_code == 200


def test_extensions():
    names = ["a.tif", "a.ome.tif", "a", "a.", ".hidden"]
    assert [extension_of(name) for name in names] == [".tif", ".tif", "", ".", ".hidden"]


async def test_a_thousand_files_are_registered_in_little_time(journal, jobs, organizer, inbox):
    sightings = [written(inbox, f"{n}.tif", str(n).encode()) for n in range(1000)]
    started = time.monotonic()
    async with organizer.running():
        await journal.sight(sightings)
        await asyncio.wait_for(counts(journal, registered=1000), 30)
    assert time.monotonic() - started < 20


async def test_the_same_file_again_is_a_new_job_only_when_the_gateway_has_forgotten_the_old(
    journal, jobs, organizer, inbox
):
    async with organizer.running():
        (row,) = await journal.sight([written(inbox, "a.tif")])
        await counts(journal, registered=1)
        await journal.step([Step(row.id, FileState.REGISTERED, FileState.SENT)])
        (job,) = jobs.jobs.values()
        jobs.jobs[job.id] = job.evolve(state=State.COMPLETE)

        (inbox / "a.tif").unlink()
        await journal.sight([written(inbox, "a.tif")])
        await counts(journal, sent=1, done=1)
        assert jobs.jobs[job.id].state is State.COMPLETE, "the same file again was a new job"

        jobs.jobs.clear()
        (inbox / "a.tif").unlink()
        await journal.sight([written(inbox, "a.tif")])
        await counts(journal, sent=1, registered=1)
    assert jobs.jobs[job.id].state is State.SENDING


async def test_a_restored_gateway_is_told_again_what_it_has_forgotten_once(journal, jobs, organizer, inbox):
    places = {
        "on-its-way.tif": (FileState.SENT, ""),
        "back.tif": (FileState.DONE, "delivered"),
        "unwanted.tif": (FileState.DONE, "unmatched"),
        "failed.tif": (FileState.DONE, "failed"),
    }
    for name, (state, outcome) in places.items():
        sighting = written(inbox, name, name.encode())
        (row,) = await journal.sight([sighting])
        row = await journal.hashed(row, "ab" * 32, f"job-of-{name}")
        await journal.step([Step(row.id, FileState.HASHED, state, outcome)])
    async with organizer.running():
        assert await organizer._restored(1) == []  # noqa: SLF001 - what its desk asks
        jobs.restored = "another life"

        async def told() -> bool:
            rows = await journal.page(FileState.REGISTERED, 10)
            return [row.name for row in rows] == ["on-its-way.tif", "failed.tif"]

        await eventually(told)
    assert set(jobs.jobs) == {f"job-of-{name}" for name in places if name != "back.tif"}
    assert jobs.jobs["job-of-unwanted.tif"].state is State.UNMATCHED
    later = DataOrganizer(journal, jobs, FakeTasks(), roots=[str(inbox)])
    assert await later._restored(1) == []  # noqa: SLF001 - it is remembered beyond a restart
