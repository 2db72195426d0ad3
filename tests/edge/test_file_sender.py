"""The file sender against the real file receiver of the gateway."""

import hashlib
import json
import socket
import time

import httpx
import pytest

from contracts.desk import LONGEST_AWAY
from contracts.errors import Away, Unavailable
from contracts.events import JobCancelled, JobReleased
from contracts.hosting import app_of
from contracts.limits import Limited, Limits
from contracts.models import InputFile, Job, State
from contracts.room import Room
from edge.data_organizer.rules import input_file, job_id_of
from edge.data_organizer.service import DataOrganizer
from edge.file_sender.service import FileSender
from edge.file_watcher.looking import signature_of
from edge.rows import FileState, Sighting, Step
from gateway.file_receiver.admission import Admission
from gateway.file_receiver.service import FileReceiver
from tests.support.jobs import FakeJobs
from tests.support.serving import listening
from tests.support.small_disk import mounted
from tests.support.tanks import Tank
from tests.support.waiting import eventually


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
async def gateway(jobs, tmp_path):
    receiver = FileReceiver(jobs, tmp_path / "gateway", "gateway")
    async with receiver.running():
        yield app_of(receiver)


@pytest.fixture
def sender(journal, jobs, gateway, ask, inbox) -> FileSender:
    return FileSender(journal, jobs, ask(gateway), time.time_ns, roots=[str(inbox)], every=0.05, recall_seconds=0.05)


async def registered(journal, jobs, inbox, name, content=b"pixels", folder=""):
    """A file whose job waits to be sent."""
    path = inbox / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    (row,) = await journal.sight([Sighting(str(inbox), folder, name, signature_of(path.stat()))])
    sha256 = hashlib.sha256(content).hexdigest()
    row = await journal.hashed(row, sha256, job_id_of("oem", str(path.parent), name, sha256))
    file = input_file(row, "oem", {})
    job = Job(id=row.job_id, input_file=file, origin_host="oem", origin_dir=file.dir_name)
    jobs.jobs[job.id] = job.evolve(state=State.SENDING)
    await journal.step([Step(row.id, FileState.HASHED, FileState.REGISTERED)])
    return row


async def hashed(journal, inbox, name, content=b"pixels"):
    """A file that was read, and whose job is not registered yet."""
    (inbox / name).write_bytes(content)
    (row,) = await journal.sight([Sighting(str(inbox), "", name, signature_of((inbox / name).stat()))])
    sha256 = hashlib.sha256(content).hexdigest()
    return await journal.hashed(row, sha256, job_id_of("oem", str(inbox), name, sha256))


async def in_state(journal, row, state, outcome="") -> None:
    async def so() -> bool:
        now = await journal.row(row.id)
        return (now.state, now.outcome) == (state, outcome)

    await eventually(so)


async def test_files_reach_the_gateway(journal, jobs, sender, inbox, tmp_path):
    rows = [await registered(journal, jobs, inbox, f"{n}.tif", bytes([n]) * 100_000, "plate 1") for n in range(10)]
    async with sender.running():
        for row in rows:
            await in_state(journal, row, "sent")
    for n, row in enumerate(rows):
        assert jobs.jobs[row.job_id].state is State.RECEIVED
        assert (tmp_path / "gateway" / "plate 1" / f"{n}.tif").read_bytes() == bytes([n]) * 100_000


async def test_a_file_that_is_gone_fails_its_job_with_a_reason(journal, jobs, sender, inbox):
    row = await registered(journal, jobs, inbox, "a.tif")
    (inbox / "a.tif").unlink()
    async with sender.running():
        await in_state(journal, row, "done", "gone")
    job = jobs.jobs[row.job_id]
    assert job.state is State.FAILED
    assert "a.tif" in job.reason


async def test_a_file_that_was_changed_fails_its_job_with_a_reason(journal, jobs, sender, inbox):
    row = await registered(journal, jobs, inbox, "a.tif", b"one")
    (inbox / "a.tif").write_bytes(b"two")
    other = await registered(journal, jobs, inbox, "b.tif")
    async with sender.running():
        await in_state(journal, row, "done", "changed")
        await in_state(journal, other, "sent")
    assert jobs.jobs[row.job_id].state is State.FAILED


async def test_a_job_that_the_gateway_does_not_know_is_registered_again(journal, jobs, sender, inbox):
    row = await registered(journal, jobs, inbox, "a.tif")
    jobs.jobs.clear()
    async with sender.running():
        await in_state(journal, row, "hashed")


async def test_a_refusal_is_believed_the_second_time(journal, jobs, gateway, inbox):
    class Damaging(httpx.AsyncBaseTransport):
        inner = httpx.ASGITransport(gateway)
        bad = 1

        async def handle_async_request(self, request):
            if self.bad:
                self.bad -= 1
                request.headers["Upload-Metadata"] = "filename IQ=="  # not what was asked
            return await self.inner.handle_async_request(request)

    line = Damaging()
    row = await registered(journal, jobs, inbox, "a.tif")
    async with httpx.AsyncClient(transport=line, base_url="http://gateway") as client:
        sender = FileSender(journal, jobs, client, time.time_ns, every=0.05)
        async with sender.running():
            await in_state(journal, row, "hashed")
            assert jobs.jobs[row.job_id].state is State.SENDING
            line.bad = 9
            await journal.step([Step(row.id, FileState.HASHED, FileState.REGISTERED)])
            await in_state(journal, row, "done", "refused")
    assert "jobid" in jobs.jobs[row.job_id].reason


async def test_a_gateway_that_is_away_is_waited_for(journal, jobs, gateway, inbox):
    class Door(httpx.AsyncBaseTransport):
        inner = httpx.ASGITransport(gateway)
        closed = True
        knocks = 0

        async def handle_async_request(self, request):
            self.knocks += 1
            if self.closed:
                raise httpx.ConnectError("nobody there")
            return await self.inner.handle_async_request(request)

    door = Door()
    rows = [await registered(journal, jobs, inbox, f"{n}.tif", bytes([n])) for n in range(20)]
    async with httpx.AsyncClient(transport=door, base_url="http://gateway") as client:
        sender = FileSender(journal, jobs, client, time.time_ns, every=0.05)
        async with sender.running():
            await eventually(lambda: sender.desks[0].trouble)
            await eventually(lambda: door.knocks >= 4)
            assert (await journal.counts())["registered"] == 20
            door.closed = False
            for row in rows:
                await in_state(journal, row, "sent")
            assert sender.desks[0].trouble == ""


async def test_when_the_gateway_is_back_all_that_waited_is_registered_and_sent_within_moments(journal, inbox, tmp_path):
    """However long it was away: over a real line, whose far end is shut and opened."""
    jobs = FakeJobs()
    receiver = FileReceiver(jobs, tmp_path / "gateway", "gateway")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    rows = [await registered(journal, jobs, inbox, f"{n}.tif", bytes([n])) for n in range(12)]
    new = await hashed(journal, inbox, "new.tif")
    jobs.down = Away("no way to the job repository")
    tries = []
    report = jobs.report

    async def counted(facts):
        tries.append(len(facts))
        return await report(facts)

    jobs.report = counted
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        sender = FileSender(journal, jobs, client, time.time_ns, roots=[str(inbox)], every=3600)
        organizer = DataOrganizer(journal, jobs, AllTasks(), roots=[str(inbox)], every=3600)
        async with sender.running(), organizer.running():
            await eventually(lambda: len(tries) >= 6, seconds=30)
            jobs.down = None
            async with listening(receiver, port):
                deadline = time.monotonic() + 2 * LONGEST_AWAY + 3
                for row in [*rows, new]:
                    await in_state(journal, row, "sent")
                assert time.monotonic() < deadline


class AllTasks:
    async def match(self, jobs):
        return [True] * len(jobs)


async def test_a_released_job_is_sent_again(journal, jobs, sender, inbox):
    row = await registered(journal, jobs, inbox, "a.tif")
    async with sender.running():
        await in_state(journal, row, "sent")
        jobs.jobs[row.job_id] = jobs.jobs[row.job_id].evolve(state=State.SENDING)
        await eventually(lambda: jobs.jobs[row.job_id].state is State.RECEIVED)
        await in_state(journal, row, "sent")


async def test_a_file_whose_job_was_cancelled_is_not_sent_and_is_sent_once_it_is_released(journal, jobs, sender, inbox):
    row = await registered(journal, jobs, inbox, "a.tif")
    other = await registered(journal, jobs, inbox, "b.tif")
    await jobs.report([JobCancelled(job_id=row.job_id, by="operator")])
    organizer = DataOrganizer(journal, jobs, NoTasks(), roots=[str(inbox)], every=0.05)
    async with sender.running(), organizer.running():
        await in_state(journal, other, "sent")
        await in_state(journal, row, "done", "cancelled")
        assert jobs.jobs[row.job_id].state is State.CANCELLED
        await jobs.report([JobReleased(job_id=row.job_id, by="operator")])
        await in_state(journal, row, "sent")
    assert jobs.jobs[row.job_id].state is State.RECEIVED


class NoTasks:
    async def match(self, jobs):
        raise AssertionError("nothing new is to be registered")


async def test_jobs_to_be_sent_again_are_found_behind_many_that_wait_or_that_nobody_has(journal, jobs, sender, inbox):
    for n in range(1000):
        jobs.jobs[f"foreign-{n}"] = Job(id=f"foreign-{n}", state=State.SENDING, origin_host="oem")
    row = await registered(journal, jobs, inbox, "a.tif")
    await journal.step([Step(row.id, FileState.REGISTERED, FileState.DONE, outcome="unmatched")])
    async with sender.running():
        await in_state(journal, row, "sent")
    assert jobs.jobs[row.job_id].state is State.RECEIVED


async def test_the_contracts_answers_to_data_to_handle(journal, jobs, sender, inbox, ask):
    client = ask(app_of(sender))
    (inbox / "a.tif").write_bytes(b"pixels")
    jobs.jobs["j1"] = Job(id="j1", input_file=InputFile(hostname="oem", dir_name=f"{inbox}/", name="a.tif"))

    async def answer(**changes) -> int:
        file = {"Hostname": "oem", "DirName": f"{inbox}/", "Name": "a.tif"} | changes
        body = json.dumps({"Id": "j1", "InputFile": file})
        return (await client.post("/api/v1/dataToHandle", content=body)).status_code

    for wrong in (
        {"Name": "../a.tif"},
        {"Name": "/a.tif"},
        {"DirName": "./x"},
        {"Hostname": "x"},
        {"Name": "no.tif"},
        {"Name": "\0"},
    ):
        assert await answer(**wrong) == 400
    assert await answer(DirName="/etc/", Name="passwd") == 400
    assert (await client.post("/api/v1/dataToHandle", content=b"{")).status_code == 400
    jobs.down = Unavailable("away")
    assert await answer() == 503
    jobs.down = None
    assert await answer() == 200
    async with sender.running():
        await eventually(lambda: jobs.jobs["j1"].state is State.RECEIVED)
    assert (await client.post("/api/v1/retry")).status_code == 200


def sender_for(journal, jobs, receiver, ask, inbox) -> FileSender:
    app = ask(app_of(receiver))
    return FileSender(journal, jobs, app, time.time_ns, roots=[str(inbox)], every=0.05, recall_seconds=0.05)


async def test_a_full_gateway_costs_nothing_and_is_filled_when_there_is_room(journal, jobs, ask, inbox, tmp_path):
    tank = Tank(99)
    admission = Admission(Room({"input": tmp_path / "gateway"}, 100, tank))
    receiver = FileReceiver(jobs, tmp_path / "gateway", "gateway", admission=admission)
    rows = [await registered(journal, jobs, inbox, f"{n}.tif", bytes([n]) * 100) for n in range(30)]
    sender = sender_for(journal, jobs, receiver, ask, inbox)
    async with receiver.running(), sender.running():
        await eventually(lambda: any(job.reason.startswith("waits for room") for job in jobs.jobs.values()))
        await eventually(lambda: "99 MB free" in sender.desks[0].trouble)
        tank.free_mb = 200
        for row in rows:
            await in_state(journal, row, "sent")
    assert all((job.state, job.failures) == (State.RECEIVED, 0) for job in jobs.jobs.values())


async def test_a_file_over_the_gateways_limit_fails_with_the_remedy_and_stops_no_other(
    journal, jobs, ask, inbox, tmp_path
):
    receiver = FileReceiver(jobs, tmp_path / "gateway", "gateway", admission=Admission(most_bytes=1000))
    large = await registered(journal, jobs, inbox, "large.tif", bytes(1001))
    small = await registered(journal, jobs, inbox, "small.tif", bytes(1000))
    async with receiver.running(), sender_for(journal, jobs, receiver, ask, inbox).running():
        await in_state(journal, large, "hashed")
        # It is registered once more, for the line may have damaged the question; then the refusal is believed.
        await journal.step([Step(large.id, FileState.HASHED, FileState.REGISTERED)])
        await in_state(journal, large, "done", "refused")
        await in_state(journal, small, "sent")
    job = jobs.jobs[large.job_id]
    assert (job.state, "raise gateway.max_file_mb" in job.reason) == (State.FAILED, True)


async def test_a_gateway_that_limits_its_clients_gets_every_file_all_the_same(journal, jobs, ask, inbox, tmp_path):
    receiver = FileReceiver(jobs, tmp_path / "gateway", "gateway")
    limits = Limits(requests=10.0)
    rows = [await registered(journal, jobs, inbox, f"{n}.tif", bytes([n]) * 100) for n in range(30)]
    app = ask(Limited(app_of(receiver), limits))
    sender = FileSender(journal, jobs, app, time.time_ns, roots=[str(inbox)], every=0.05, recall_seconds=0.05)
    async with receiver.running(), sender.running():
        for row in rows:
            await in_state(journal, row, "sent")
    assert limits.refused > 0
    assert all((job.state, job.failures) == (State.RECEIVED, 0) for job in jobs.jobs.values())


async def test_a_real_disk_fills_to_its_mark_and_takes_the_rest_when_it_was_emptied(
    journal, jobs, ask, inbox, tmp_path
):
    with mounted(tmp_path / "small", 8000) as disk:
        receiver = FileReceiver(jobs, disk / "input", "gateway", admission=Admission(Room({"input": disk}, 2)))
        rows = [await registered(journal, jobs, inbox, f"{n}.tif", bytes([n]) * 10**6) for n in range(12)]
        async with receiver.running(), sender_for(journal, jobs, receiver, ask, inbox).running():
            await eventually(lambda: any(fact.kind == "job-waits" for fact in jobs.facts), 30)
            emptied = 0
            while emptied < len(rows):
                here = await eventually(lambda: list((disk / "input").glob("*.tif")), 30)
                assert len(here) <= 6
                for path in here:  # as the archive does, on a disk of its own
                    path.unlink()
                emptied += len(here)
            for row in rows:
                await in_state(journal, row, "sent")
    assert all((job.state, job.failures) == (State.RECEIVED, 0) for job in jobs.jobs.values())
