"""The file sender against the real file receiver of the gateway."""

import json
import time

import httpx
import pytest

from contracts.errors import Unavailable
from contracts.hosting import app_of
from contracts.models import InputFile, Job, State
from edge.data_organizer.rules import input_file, job_id_of
from edge.file_sender.service import FileSender
from edge.file_watcher.looking import signature_of
from edge.rows import FileState, Sighting, Step
from gateway.file_receiver.service import FileReceiver
from tests.support.jobs import FakeJobs
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
    import hashlib

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


async def test_a_released_job_is_sent_again(journal, jobs, sender, inbox):
    row = await registered(journal, jobs, inbox, "a.tif")
    async with sender.running():
        await in_state(journal, row, "sent")
        jobs.jobs[row.job_id] = jobs.jobs[row.job_id].evolve(state=State.SENDING)
        await eventually(lambda: jobs.jobs[row.job_id].state is State.RECEIVED)
        await in_state(journal, row, "sent")


async def test_the_contracts_answers_to_data_to_handle(journal, jobs, sender, inbox, ask):
    client = ask(app_of(sender))
    (inbox / "a.tif").write_bytes(b"pixels")
    jobs.jobs["j1"] = Job(id="j1", input_file=InputFile(hostname="oem", dir_name=f"{inbox}/", name="a.tif"))

    async def answer(**changes) -> int:
        file = {"Hostname": "oem", "DirName": f"{inbox}/", "Name": "a.tif"} | changes
        body = json.dumps({"Id": "j1", "InputFile": file})
        return (await client.post("/api/v1/dataToHandle", content=body)).status_code

    for wrong in ({"Name": "../a.tif"}, {"Name": "/a.tif"}, {"DirName": "./x"}, {"Hostname": "x"}, {"Name": "no.tif"}):
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
