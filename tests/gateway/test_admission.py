"""Below their marks the gateway's services begin nothing new, say why, and go on when there is room again."""

import hashlib

import httpx
import pytest

from contracts import transfer
from contracts.hosting import app_of
from contracts.models import InputFile, Job, State
from contracts.ports import JobQuery
from contracts.room import MB, Room
from gateway.file_receiver.admission import Admission
from gateway.file_receiver.rules import waiting_in
from gateway.file_receiver.service import FileReceiver
from tests.gateway.test_launching import add_task
from tests.support import stories as s
from tests.support.jobs import FakeJobs
from tests.support.tanks import Tank
from tests.support.waiting import eventually

TUS = {"Tus-Resumable": "1.0.0", "Content-Type": transfer.MEDIA_TYPE}


class Bench:
    """A receiver with limits, and a client for it."""

    def __init__(self, folder, **limits) -> None:
        self.tank, self.folder, self.waiting = Tank(), folder, 0
        self.jobs = FakeJobs(*(Job(id=f"job-{n}", state=State.SENDING, input_file=self._file(n)) for n in range(3)))
        limits = {"counts": self._counts} | limits
        self.receiver = FileReceiver(
            self.jobs, folder, "gateway", admission=Admission(Room({"input": folder}, 100, self.tank), **limits)
        )

    def _file(self, number: int) -> InputFile:
        return InputFile(name=f"{number}.tif")

    async def _counts(self):
        return {"received": self.waiting, "complete": 10**6}

    async def ask(self, method: str, path: str, **options) -> httpx.Response:
        transport = httpx.ASGITransport(app_of(self.receiver))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, **options)

    async def create(self, number: int, content: bytes, *, length: int | None = None, body: bool = True):
        told = {"jobid": f"job-{number}", "sha256": hashlib.sha256(content).hexdigest(), "folder": ""}
        fixed = {"Upload-Length": str(length or len(content)), "Upload-Metadata": transfer.format_metadata(told)}
        return await self.ask("POST", "/api/v1/files", headers={**TUS, **fixed}, content=content if body else b"")

    def files(self) -> list[str]:
        return [path.name for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path / "files", most_waiting=10, most_bytes=500 * MB)
    async with bench.receiver.running():
        yield bench


async def test_below_the_mark_an_upload_is_refused_before_a_byte_is_taken_and_taken_later(bench):
    bench.tank.free_mb = 99
    answer = await bench.create(0, b"pixels")
    assert answer.status_code == 507
    assert f"{bench.folder} has 99 MB free; 100 MB must stay free" in answer.text
    assert answer.headers["retry-after"]
    assert bench.files() == []
    job = bench.jobs.jobs["job-0"]
    assert (job.state, job.failures, job.reason) == (State.SENDING, 0, f"waits for room on the disk of {bench.folder}")
    await bench.create(0, b"pixels")
    assert len(bench.jobs.facts) == 1  # it is said once

    ready = await bench.ask("GET", "/api/v1/ready")
    assert (ready.status_code, "99 MB free" in ready.text) == (503, True)
    bench.tank.free_mb = 200
    assert (await bench.ask("GET", "/api/v1/ready")).status_code == 200
    assert (await bench.create(0, b"pixels")).status_code == 201
    job = bench.jobs.jobs["job-0"]
    assert (job.state, job.reason) == (State.RECEIVED, "")


async def test_a_file_larger_than_what_is_free_above_the_mark_is_refused(bench):
    bench.tank.free_mb = 300
    assert (await bench.create(0, b"other", length=201 * MB, body=False)).status_code == 507
    assert (await bench.create(1, b"", length=199 * MB, body=False)).status_code == 201


async def test_room_is_promised_once(bench):
    bench.tank.free_mb = 300
    assert (await bench.create(0, b"", length=150 * MB, body=False)).status_code == 201
    refused = await bench.create(1, b"", length=60 * MB, body=False)
    assert (refused.status_code, "150 MB of them promised" in refused.text) == (507, True)
    assert (await bench.create(2, b"", length=50 * MB, body=False)).status_code == 201


async def test_what_was_begun_may_be_finished_below_the_mark(bench):
    content = b"x" * 1000
    url = (await bench.create(0, content, body=False)).headers["location"]
    bench.tank.free_mb = 90
    patched = await bench.ask("PATCH", url, headers={**TUS, "Upload-Offset": "0"}, content=content[:500])
    assert patched.status_code == 204
    bench.tank.free_mb = 20
    refused = await bench.ask("PATCH", url, headers={**TUS, "Upload-Offset": "500"}, content=content[500:])
    assert refused.status_code == 507
    bench.tank.free_mb = 90
    last = await bench.ask("PATCH", url, headers={**TUS, "Upload-Offset": "500"}, content=content[500:])
    assert last.status_code == 204
    assert bench.jobs.jobs["job-0"].state is State.RECEIVED


async def test_the_contracts_plain_upload_is_refused_too(bench):
    bench.tank.free_mb = 99
    headers = {"filename": "0.tif", "jobid": "job-0"}
    answer = await bench.ask("POST", "/api/v1/transmitFile", headers=headers, content=b"pixels")
    assert (answer.status_code, bench.files()) == (507, [])


async def test_beyond_the_bound_on_waiting_jobs_uploads_are_told_to_come_back(bench):
    bench.waiting = 10
    answer = await bench.create(0, b"pixels")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "gateway.max_waiting" in answer.text
    job = bench.jobs.jobs["job-0"]
    assert (job.state, job.failures) == (State.SENDING, 0)
    assert "more than 10 jobs wait at the gateway" in job.reason


async def test_what_is_let_in_between_two_looks_counts(bench):
    bench.waiting = 8
    answers = [(await bench.create(n, b"pixels")).status_code for n in range(3)]
    assert answers == [201, 201, 503]


async def test_a_file_larger_than_the_limit_is_refused_for_good_with_the_remedy(bench):
    answer = await bench.create(0, b"", length=501 * MB, body=False)
    assert answer.status_code == 413
    assert "raise gateway.max_file_mb" in answer.text
    assert "retry-after" not in answer.headers


def test_only_jobs_that_wait_for_pipelines_count():
    every = {str(state): 1 for state in State}
    assert waiting_in(every) == 3


async def test_nothing_is_launched_without_room_for_outputs_and_jobs_say_so(house):
    tank = Tank(99)
    launching = house.launcher._work  # noqa: SLF001
    launching._room = Room({"output": house.files.output}, 100, tank)  # noqa: SLF001
    await add_task(house, result_file_folder="output")
    for name in ("a", "b"):
        await house.store.apply(s.full_story(name)[:3])
    async with house.jobs.running(), house.launcher.running():
        await eventually(lambda: "99 MB free" in launching.launch.trouble)
        jobs = (await house.store.find(JobQuery())).jobs
        waits = f"waits for room on the disk of {house.files.output}"
        assert [(job.state, job.reason, job.failures) for job in jobs] == [(State.RECEIVED, waits, 0)] * 2
        tank.free_mb = 101

        async def running() -> bool:
            return all(job.state is State.RUNNING for job in (await house.store.find(JobQuery())).jobs)

        await eventually(running)
    assert [job.reason for job in (await house.store.find(JobQuery())).jobs] == ["", ""]
    told = [line for line in await house.store.history("a") if line["What"] == "job-waits"]
    assert len(told) == 1


async def test_a_run_that_found_the_disk_full_costs_no_attempt_however_often(house):
    await house.store.apply(s.full_story()[:4])
    for _ in range(40):
        (job,) = await house.store.claim("w1", ["only-file"], 1, 60)
        until = house.clock() + 10**9
        fact = s.waits("running", worker="w1", attempt=job.attempts, until=until)
        await house.store.apply([fact, fact])
        assert await house.store.claim("w1", ["only-file"], 1, 60) == []
        house.clock.turn(2)
    job = await house.one()
    assert (job.state, job.failures, job.attempts - job.spared) == (State.RUNNING, 0, 0)
    late = s.waits("running", worker="w1", attempt=1)
    (job,) = await house.store.claim("w1", ["only-file"], 1, 60)
    (verdict,) = await house.store.apply([late])
    assert not verdict.changed  # what an earlier run says does not end the lease of this one
