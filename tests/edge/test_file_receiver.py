"""The file receiver: results come home whole, under names of their own."""

import hashlib
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from contracts.bus.local import LocalBus
from contracts.errors import Unavailable
from contracts.events import JobCancelled, OutputsDelivered, StepFailed, jobs_in
from contracts.hosting import app_of
from contracts.models import InputFile, Job, OutputFile, PipelineDetails, State
from contracts.room import Room
from edge.file_receiver.rules import names_for, sub_folder_of
from edge.file_receiver.service import FileReceiver, ReceiveSettings
from edge.rows import FileState, Sighting, Signature, Step
from tests.support.jobs import FakeJobs
from tests.support.tanks import Tank
from tests.support.waiting import eventually


class Outputs:
    """The gateway's outputs: (job id, number) -> content."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.asked = 0
        folder.mkdir()

    def put(self, job_id, number, content) -> None:
        (self.folder / f"{job_id}-{number}").write_bytes(content)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/api/v1/transmitFile/{job}/{number}", self._send)])

    async def _send(self, request):
        self.asked += 1
        path = self.folder / "{job}-{number}".format(**request.path_params)
        return FileResponse(path) if path.exists() else Response(status_code=404)


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
def outputs(tmp_path) -> Outputs:
    return Outputs(tmp_path / "gateway-outputs")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "oem-files" / "output"


@pytest.fixture
def receiver(journal, jobs, outputs, output, ask) -> FileReceiver:
    settings = ReceiveSettings(output, poll_seconds=0.05, closing_seconds=0.05, retry_seconds=0.01)
    return FileReceiver(settings, journal, jobs, ask(outputs.app()), time.time_ns)


def delivering(jobs, outputs, job_id, *contents, name="result.tif", origin="/data/input/", host="oem") -> Job:
    files = []
    for number, content in enumerate(contents):
        outputs.put(job_id, number, content)
        own = name if len(contents) == 1 else f"{number}-{name}"
        files.append(OutputFile(name=own, sha256=hashlib.sha256(content).hexdigest(), size=len(content)))
    job = Job(
        id=job_id,
        state=State.DELIVERING,
        origin_host=host,
        origin_dir=origin,
        input_file=InputFile(name="in.tif"),
        pipeline_details=PipelineDetails(output_files=tuple(files)),
    )
    jobs.jobs[job_id] = job
    return job


async def delivered(jobs, *job_ids) -> None:
    await eventually(lambda: all(jobs.jobs[job_id].state is State.DELIVERED for job_id in job_ids))


def contents(folder) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


async def test_outputs_are_put_beside_each_other(jobs, outputs, output, receiver):
    delivering(jobs, outputs, "job-1", b"one", b"two" * 100_000, origin="/data/input/plate 1/")
    async with receiver.running():
        await delivered(jobs, "job-1")
    assert contents(output) == {"plate 1/0-result.tif": b"one", "plate 1/1-result.tif": b"two" * 100_000}
    assert jobs.jobs["job-1"].pipeline_details.output_file_host == "oem"


async def test_the_folder_of_the_input_in_our_journal_counts(journal, jobs, outputs, output, receiver):
    (row,) = await journal.sight([Sighting("/anywhere", "week 3/plate", "in.tif", Signature(1, 1, 1))])
    await journal.hashed(row, "s", "job-1")
    await journal.step([Step(row.id, FileState.HASHED, FileState.SENT)])
    delivering(jobs, outputs, "job-1", b"one")
    async with receiver.running():
        await delivered(jobs, "job-1")
        await eventually_state(journal, row, "done", "delivered")
    assert contents(output) == {"week 3/plate/result.tif": b"one"}


async def eventually_state(journal, row, state, outcome) -> None:
    async def so() -> bool:
        now = await journal.row(row.id)
        return (now.state, now.outcome) == (state, outcome)

    await eventually(so)


async def test_equal_names_of_two_jobs_are_both_kept(jobs, outputs, output, receiver):
    ids = [f"{n}{n}{n}{n}{n}{n}{n}{n}-job" for n in range(4)]
    for job_id in ids:
        delivering(jobs, outputs, job_id, job_id.encode())
    async with receiver.running():
        await delivered(jobs, *ids)
    assert sorted(contents(output).values()) == sorted(job_id.encode() for job_id in ids)


async def test_a_users_file_is_never_overwritten(jobs, outputs, output, receiver):
    output.mkdir(parents=True)
    (output / "result.tif").write_bytes(b"mine")
    delivering(jobs, outputs, "12345678-9", b"one")
    async with receiver.running():
        await delivered(jobs, "12345678-9")
    assert contents(output) == {"result.tif": b"mine", "result.12345678.tif": b"one"}


async def test_an_empty_file_that_held_the_name_for_a_try_that_failed_is_replaced(jobs, outputs, output, receiver):
    """Where there are no hard links the name is held with an empty file first; taking that away may fail as well."""
    output.mkdir(parents=True)
    (output / "result.tif").touch()
    delivering(jobs, outputs, "12345678-9", b"one")
    async with receiver.running():
        await delivered(jobs, "12345678-9")
    assert contents(output) == {"result.tif": b"one"}


async def test_equal_names_within_a_job_are_both_kept(jobs, outputs, output, receiver):
    job = delivering(jobs, outputs, "12345678-9", b"one", b"two")
    files = tuple(file.evolve(name="same.tif") for file in job.pipeline_details.output_files)
    jobs.jobs[job.id] = job.evolve(pipeline_details=PipelineDetails(output_files=files))
    async with receiver.running():
        await delivered(jobs, job.id)
    assert sorted(contents(output).values()) == [b"one", b"two"]


async def test_what_was_put_down_before_a_crash_is_not_fetched_again(journal, jobs, outputs, output, receiver):
    job = delivering(jobs, outputs, "job-1", b"one", b"two")
    async with receiver.running():
        await delivered(jobs, "job-1")
    asked = outputs.asked
    jobs.jobs["job-1"] = job
    (output / ".parts" / "job-1-0").hardlink_to(output / "0-result.tif")  # the crash came before its removal
    again = FileReceiver(
        ReceiveSettings(output, poll_seconds=0.05), journal, jobs, httpx.AsyncClient(base_url="http://x"), time.time_ns
    )
    async with again.running():
        await delivered(jobs, "job-1")
    assert outputs.asked == asked
    assert len(contents(output)) == 2
    assert list((output / ".parts").iterdir()) == []


async def test_jobs_of_other_hosts_are_left_alone(jobs, outputs, output, receiver):
    delivering(jobs, outputs, "other", b"one", host="another")
    delivering(jobs, outputs, "own", b"two")
    async with receiver.running():
        await delivered(jobs, "own")
    assert jobs.jobs["other"].state is State.DELIVERING
    assert list(contents(output).values()) == [b"two"]


@pytest.mark.parametrize("spoil", ["missing", "damaged", "bad name"])
async def test_an_output_that_cannot_be_had_ends_in_quarantine(jobs, outputs, output, receiver, spoil):
    job = delivering(jobs, outputs, "job-1", b"one")
    if spoil == "missing":
        (outputs.folder / "job-1-0").unlink()
    elif spoil == "damaged":
        outputs.put("job-1", 0, b"two")
    else:
        files = (job.pipeline_details.output_files[0].evolve(name="../up.tif"),)
        jobs.jobs[job.id] = job.evolve(pipeline_details=PipelineDetails(output_files=files))
    delivering(jobs, outputs, "fine", b"fine", name="fine.tif")
    async with receiver.running():
        await delivered(jobs, "fine")
        await eventually(lambda: jobs.jobs["job-1"].state is State.QUARANTINED, seconds=20)
    assert len([fact for fact in jobs.facts if isinstance(fact, StepFailed)]) == 5
    assert jobs.jobs["job-1"].reason
    assert list(contents(output).values()) == [b"fine"]


async def test_while_the_gateway_is_away_nothing_is_said(jobs, outputs, output, receiver):
    delivering(jobs, outputs, "job-1", b"one")
    jobs.down = Unavailable("away")
    async with receiver.running():
        await eventually(lambda: receiver.desks[0].trouble)
        jobs.down = None
        await delivered(jobs, "job-1")
    assert [type(fact) for fact in jobs.facts] == [OutputsDelivered]


async def test_an_output_folder_that_cannot_be_used_is_trouble_and_no_fact(jobs, outputs, output, receiver):
    output.parent.mkdir(parents=True)
    output.write_text("a file is in the way")
    delivering(jobs, outputs, "job-1", b"one")
    async with receiver.running():
        await eventually(lambda: any("cannot be used" in desk.trouble for desk in receiver.desks))
        assert jobs.facts == []
        output.unlink()
        await delivered(jobs, "job-1")
        assert not any(desk.trouble for desk in receiver.desks)


async def test_an_announcement_wakes_it(journal, jobs, outputs, output, ask):
    bus = LocalBus()
    settings = ReceiveSettings(output, poll_seconds=1000, closing_seconds=1000)
    receiver = FileReceiver(settings, journal, jobs, ask(outputs.app()), time.time_ns, bus=bus)
    async with receiver.running():
        await eventually(lambda: jobs.facts == [])
        delivering(jobs, outputs, "job-1", b"one")
        await bus.publish(jobs_in(State.DELIVERING, "oem"), b"job-1")
        await delivered(jobs, "job-1")


@pytest.mark.parametrize("end", [State.FAILED, State.UNMATCHED, State.COMPLETE, State.QUARANTINED, State.CANCELLED])
async def test_rows_of_jobs_that_ended_without_outputs_are_closed(journal, jobs, receiver, end):
    (row,) = await journal.sight([Sighting("/in", "", "a.tif", Signature(1, 1, 1))])
    await journal.hashed(row, "s", "job-1")
    await journal.step([Step(row.id, FileState.HASHED, FileState.SENT)])
    async with receiver.running():
        jobs.jobs["job-1"] = Job(id="job-1", state=end, origin_host="oem", reason="why", last_updated=time.time_ns())
        await eventually_state(journal, row, "done", str(end))


async def test_results_of_a_job_that_is_cancelled_meanwhile_close_its_row_as_cancelled(
    journal, jobs, outputs, receiver, output
):
    (row,) = await journal.sight([Sighting("/in", "", "a.tif", Signature(1, 1, 1))])
    await journal.hashed(row, "s", "job-1")
    await journal.step([Step(row.id, FileState.HASHED, FileState.SENT)])
    delivering(jobs, outputs, "job-1", b"one")
    send = jobs.report

    async def cancelled_first(facts):
        jobs.report = send
        await send([JobCancelled(job_id="job-1", by="operator")])
        return await send(facts)

    jobs.report = cancelled_first
    async with receiver.running():
        await eventually_state(journal, row, "done", "cancelled")
    assert jobs.jobs["job-1"].state is State.CANCELLED


async def test_a_retry_is_answered(receiver, ask):
    assert (await ask(app_of(receiver)).post("/api/v1/retry")).status_code == 200


@pytest.mark.parametrize(
    ("origin", "sub"),
    [
        ("/data/input/", ""),
        ("/data/input", ""),
        ("/data/input/t0/", "t0"),
        ("/input/x/input/t0/u", "t0/u"),
        ("/data/run1/", "data/run1"),
        ("C:\\lab\\oem-files\\input\\t0\\", "input/t0"),
        ("C:/lab/input/t0/", "t0"),
        ("C:/lab/t0/", "lab/t0"),
        ("/data/input/../../etc/", "etc"),
        ("", ""),
    ],
)
def test_the_sub_folder_of_a_job_that_is_not_in_the_journal(origin, sub):
    assert sub_folder_of(origin) == sub


def test_names_for_an_output():
    names = names_for("a.ome.tif", "12345678-9", 0)
    assert [next(names) for _ in range(3)] == ["a.ome.tif", "a.ome.12345678.tif", "a.ome.12345678-9-0.tif"]


async def test_below_its_mark_the_edge_fetches_nothing_says_so_and_goes_on_by_itself(
    journal, jobs, outputs, output, ask
):
    tank = Tank(99)
    settings = ReceiveSettings(output, poll_seconds=0.05)
    room = Room({"results": output}, 100, tank)
    receiver = FileReceiver(settings, journal, jobs, ask(outputs.app()), time.time_ns, room=room)
    delivering(jobs, outputs, "job-1", b"a result")
    async with receiver.running():
        await eventually(lambda: jobs.jobs["job-1"].reason == f"waits for room on the disk of {output}")
        assert "99 MB free" in receiver.desks[0].trouble
        assert outputs.asked == 0
        tank.free_mb = 200
        await delivered(jobs, "job-1")
    assert jobs.jobs["job-1"].failures == 0
    assert contents(output) == {"result.tif": b"a result"}
    assert len([fact for fact in jobs.facts if fact.kind == "job-waits"]) == 1


async def test_a_result_too_large_for_the_disk_waits_and_smaller_ones_do_not(journal, jobs, outputs, output, ask):
    tank = Tank(100.1)
    room = Room({"results": output}, 100, tank)
    settings = ReceiveSettings(output, poll_seconds=0.05)
    receiver = FileReceiver(settings, journal, jobs, ask(outputs.app()), time.time_ns, room=room)
    delivering(jobs, outputs, "large", bytes(200_000), name="large.tif")
    delivering(jobs, outputs, "small", bytes(1000), name="small.tif")
    async with receiver.running():
        await delivered(jobs, "small")
        assert jobs.jobs["large"].state is State.DELIVERING
        tank.free_mb = 200
        await delivered(jobs, "large")
    assert jobs.jobs["large"].failures == 0
