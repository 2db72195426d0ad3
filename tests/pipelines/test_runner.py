"""The runner: claims, leases, reports and stops, with workers that do as the test says."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.errors import Unavailable
from contracts.models import State
from contracts.room import Room
from pipelines.delivery import Output
from pipelines.execution import Outcome, RunRequest, Status
from pipelines.registry import Installed
from pipelines.runner import Runner
from pipelines.workers import Closed, Limits
from tests.support import stories as s
from tests.support.house import SECOND, house_in
from tests.support.tanks import Tank
from tests.support.waiting import eventually

DONE = Outcome(Status.DONE, Path("/out"), (Output("o.tiff", 7, "cd" * 32),), "CellCount, 5", "passed")


class ScriptedWorkers:
    """Answers each run when the test allows it; closing ends what is not done, as killing a process does."""

    def __init__(self, answer: Callable[[RunRequest], Outcome] = lambda _request: DONE) -> None:
        self.answer, self.may_finish, self.closed = answer, asyncio.Event(), asyncio.Event()
        self.requests: list[RunRequest] = []
        self.cancelled = 0

    async def start(self) -> None: ...

    async def run(self, request: RunRequest) -> Outcome:
        self.requests.append(request)
        ends = [asyncio.ensure_future(event.wait()) for event in (self.may_finish, self.closed)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            for end in ends:
                end.cancel()
        if self.closed.is_set():
            raise Closed
        return self.answer(request)

    async def close(self) -> None:
        self.closed.set()


@pytest.fixture
async def house(tmp_path):
    async with house_in(tmp_path) as house:
        house.clock.now = time.time_ns()
        yield house


@pytest.fixture
def workers():
    return ScriptedWorkers()


@pytest.fixture
def runner(house, workers):
    return runner_of(house, workers)


def runner_of(house, workers, jobs=None, **options) -> Runner:
    plugins = {"only-file": Installed("only-file", "m:C"), "broken": Installed("broken", "m:D", error="no")}
    more = {"worker": "pc-1", "size": 2, "drain_seconds": 0.0, "lease_seconds": 60.0} | options
    return Runner(jobs or house.jobs, house.launcher, plugins, workers, house.bus, house.clock, **more)


async def launched(house, *names: str) -> None:
    for name in names:
        await house.store.apply([*s.full_story(name)[:3], s.requested(name, parameters={"threshold": "0.5"})])


async def state_of(house, name: str) -> State:
    return (await house.store.get(name)).state


async def test_a_launched_job_is_run_as_its_task_says_and_reported(house, workers, runner):
    await launched(house, "job-1")
    workers.may_finish.set()
    async with runner.running():
        await eventually(lambda: _is(house, "job-1", State.PROCESSED))
    (request,) = workers.requests
    assert (request.job, request.topic, request.plugin) == ("job-1", "only-file", "m:C")
    assert (str(request.image), str(request.folder)) == ("/gw/in/a.tiff", "/out")
    assert (request.parameters, request.attributes) == ({"threshold": "0.5"}, {"Lab": "L"})
    details = (await house.one()).pipeline_details
    assert (details.status, details.qc_flags, details.results) == ("PipelineComplete", "passed", "CellCount, 5")
    (file,) = details.output_files
    assert (file.dir_name, file.name, file.extension, file.size) == ("/out", "o.tiff", ".tiff", 7)


async def _is(house, name: str, state: State) -> bool:
    return await state_of(house, name) is state


async def test_a_file_that_can_never_be_processed_fails_and_what_may_pass_is_tried_again(house):
    outcomes = {"bad": Outcome(Status.BAD_INPUT, reason="no image"), "weak": Outcome(Status.CRASHED, reason="killed")}
    workers = ScriptedWorkers(lambda request: outcomes[request.job])
    workers.may_finish.set()
    await launched(house, "bad", "weak")
    async with runner_of(house, workers).running():
        await eventually(lambda: _is(house, "bad", State.PROCESSED))

        async def weakened():
            return (await house.store.get("weak")).failures == 1

        await eventually(weakened)
    bad, weak = await house.store.get("bad"), await house.store.get("weak")
    assert (bad.pipeline_details.status, bad.reason) == ("PipelineFailed", "no image")
    assert (weak.state, weak.lease_holder, weak.reason) == (State.RUNNING, "", "killed")
    assert weak.not_before > house.clock()


async def test_a_run_that_took_long_lets_others_go_first(house):
    hung = Outcome(Status.TIMED_OUT, reason="only-file: stopped after 100 s", seconds=100.0)
    workers = ScriptedWorkers(lambda _request: hung)
    workers.may_finish.set()
    await launched(house, "slow")
    async with runner_of(house, workers).running():
        for failures in (1, 2):

            async def is_tried(failures: int = failures) -> bool:
                return (await house.store.get("slow")).failures == failures

            await eventually(is_tried)
            waits = (await house.store.get("slow")).not_before - house.clock.now
            assert 100 * failures <= waits / 1e9 <= 100 * failures + 3
            house.clock.turn(waits / 1e9 + 1)


@pytest.mark.parametrize(("size", "together"), [(1, 2), (3, 2)])
async def test_jobs_that_failed_before_never_take_all_processes(house, size, together):
    """With one process there is none to keep free: two hands as ever."""
    hung = [f"hung-{number}" for number in range(5)]
    workers = ScriptedWorkers(lambda _request: DONE)
    await launched(house, *hung)
    retry_at = house.clock.now + SECOND
    await house.store.apply([s.failed_step(State.RUNNING, name, retry_at=retry_at) for name in hung])
    house.clock.turn(1)
    async with runner_of(house, workers, size=size).running():
        await eventually(lambda: len(workers.requests) == together)
        await launched(house, "fresh")
        if size > 1:
            await eventually(lambda: workers.requests[-1].job == "fresh")
        assert [request.job for request in workers.requests][:together] == hung[:together]
        workers.may_finish.set()
        for name in hung:
            await eventually(lambda name=name: _is(house, name, State.PROCESSED))


@pytest.mark.parametrize("cancelled", [True, False])
async def test_what_is_not_done_within_the_drain_time_is_given_back_however_the_stop_came(
    house, workers, runner, cancelled
):
    await launched(house, "job-1")
    stop = asyncio.Event()

    async def serve():
        async with runner.running():
            await stop.wait()

    serving = asyncio.create_task(serve())
    await eventually(lambda: workers.requests)
    if cancelled:  # as SIGTERM does
        serving.cancel()
    stop.set()
    await asyncio.wait([serving], timeout=5)
    assert serving.done()
    assert serving.cancelled() == cancelled
    job = await house.one()
    assert (job.state, job.lease_holder, job.failures) == (State.RUNNING, "", 0)


async def test_what_an_earlier_life_of_the_runner_held_runs_again_at_once(house, workers, runner):
    await launched(house, "job-1")
    await house.jobs.claim("pc-1", ["only-file"], 1, 3600.0)
    workers.may_finish.set()
    async with runner.running():
        await eventually(lambda: _is(house, "job-1", State.PROCESSED))


async def test_the_lease_is_kept_alive_and_work_stops_when_the_job_is_no_longer_ours(house, workers):
    await launched(house, "job-1")
    async with runner_of(house, workers, lease_seconds=0.03).running():
        await eventually(lambda: workers.requests)
        claimed = (await house.one()).lease_until
        house.clock.turn(0.02)

        async def prolonged():
            return (await house.one()).lease_until > claimed

        await eventually(prolonged)
        await house.store.apply([s.reported(outputs=None)])  # another has finished it
        await eventually(lambda: workers.cancelled)
    assert await state_of(house, "job-1") is State.PROCESSED


class Deaf:
    """The job repository, which for so many times does not take what it is told, for this reason."""

    def __init__(self, house, times: float, error: Exception) -> None:
        self.house, self.times, self.error = house, times, error
        self.refused = 0
        self.find, self.get = house.jobs.find, house.jobs.get
        self.claim, self.release = house.jobs.claim, house.jobs.release

    async def report(self, facts):
        if self.refused < self.times:
            self.refused += 1
            raise self.error
        return await self.house.jobs.report(facts)


async def test_a_result_is_told_until_the_repository_takes_it(house, workers):
    await launched(house, "job-1")
    workers.may_finish.set()
    jobs = Deaf(house, 3, Unavailable("restarting"))
    async with runner_of(house, workers, jobs).running():
        await eventually(lambda: _is(house, "job-1", State.PROCESSED), seconds=20)
    assert jobs.refused == 3
    assert len(workers.requests) == 1


async def test_a_stop_does_not_wait_for_a_repository_that_takes_no_result(house, workers):
    """The job runs again; who stops the process would else have to kill it."""
    await launched(house, "job-1")
    workers.may_finish.set()
    jobs = Deaf(house, float("inf"), Unavailable("away"))
    stop = asyncio.Event()

    async def serve():
        async with runner_of(house, workers, jobs).running():
            await stop.wait()

    serving = asyncio.create_task(serve())
    await eventually(lambda: jobs.refused)
    stop.set()
    await asyncio.wait([serving], timeout=10)
    assert serving.done()
    assert (await house.one()).lease_holder == ""


async def test_the_lease_is_kept_alive_after_an_answer_that_makes_no_sense(house, workers, caplog):
    """As from a proxy that answers 200 with a page of its own."""
    caplog.set_level(logging.CRITICAL)
    await launched(house, "job-1")
    jobs = Deaf(house, 1, ValueError("not JSON"))
    async with runner_of(house, workers, jobs, lease_seconds=0.03).running():
        await eventually(lambda: jobs.refused)
        claimed = (await house.one()).lease_until
        house.clock.turn(0.02)

        async def prolonged():
            return (await house.one()).lease_until > claimed

        await eventually(prolonged)
        workers.may_finish.set()
        await eventually(lambda: _is(house, "job-1", State.PROCESSED))


async def test_no_more_jobs_are_claimed_than_two_for_each_process(house, workers, runner):
    await launched(house, *[f"job-{n}" for n in range(10)])
    async with runner.running():
        await eventually(lambda: len(workers.requests) == 4)
        assert house.database.rows("SELECT count(*) FROM job WHERE lease_holder <> ''") == [(4,)]
        workers.may_finish.set()
        await eventually(lambda: len(workers.requests) == 10)


async def test_only_plugins_that_work_are_offered_and_the_registry_hears_of_them(house, runner):
    async with runner.running():
        await eventually(house.tasks.registered)
    (known,) = await house.tasks.registered()
    assert (known.topic, known.worker) == ("only-file", "pc-1")
    answer = await house.call(runner, "GET", "/api/v1/pipelines")
    assert [entry["subscriptionTopic"] for entry in answer.json()] == ["only-file"]
    assert set(answer.json()[0]) == {"id", "name", "description", "subscriptionTopic", "status"}


async def test_each_pipeline_runs_within_its_own_limits_and_fails_as_often_as_it_may(house):
    workers = ScriptedWorkers(lambda _request: Outcome(Status.TIMED_OUT, reason="too slow"))
    workers.may_finish.set()
    plugins = {name: Installed(name, "m:C") for name in ("only-file", "slow")}
    limits, own = Limits(timeout=5.0, attempts=2), {"slow": Limits(timeout=50.0, memory_bytes=1 << 30, attempts=1)}
    runner = Runner(
        house.jobs, house.launcher, plugins, workers, house.bus, house.clock,
        worker="pc-1", size=2, drain_seconds=0.0, limits=limits, own_limits=own,
    )  # fmt: skip
    await house.store.apply([*s.full_story("a")[:3], s.requested("a", "slow")])
    await launched(house, "b")
    async with runner.running():
        await eventually(lambda: _is(house, "a", State.QUARANTINED))

        async def rests():
            return (await house.store.get("b")).not_before > 0

        await eventually(rests)
        house.clock.turn(60)
        await eventually(lambda: _is(house, "b", State.QUARANTINED))
    asked = {request.job: (request.timeout, request.memory_bytes) for request in workers.requests}
    assert asked == {"a": (50.0, 1 << 30), "b": (5.0, None)}
    assert ((await house.store.get("a")).failures, (await house.store.get("b")).failures) == (1, 2)
    assert (await house.store.get("a")).reason == "too slow (tried 1 times)"


async def test_a_run_that_finds_the_disk_full_counts_neither_as_a_failure_nor_as_a_run(house):
    full = Outcome(Status.NO_ROOM, reason="OSError: no space left")
    workers = ScriptedWorkers(lambda _request: full if len(workers.requests) < 2 else DONE)
    workers.may_finish.set()
    await launched(house, "a")
    async with runner_of(house, workers).running():

        async def waits() -> bool:
            return (await house.one()).reason == "waits for room on the disk of /out"

        await eventually(waits)
        job = await house.one()
        assert (job.state, job.failures, job.attempts - job.spared) == (State.RUNNING, 0, 0)
        house.clock.turn(6)

        async def processed() -> bool:
            return (await house.one()).state is State.PROCESSED

        await eventually(processed)
    assert [request.attempt for request in workers.requests] == [1, 2]


async def test_a_run_that_was_put_off_counts_neither_as_a_failure_nor_as_a_run(house):
    away = Outcome(Status.LATER, reason="waits for the model server", wait=100.0)
    workers = ScriptedWorkers(lambda _request: away if len(workers.requests) < 3 else DONE)
    workers.may_finish.set()
    await launched(house, "a")
    async with runner_of(house, workers).running():
        for runs in (1, 2):

            async def waits(runs: int = runs) -> bool:
                job = await house.one()
                return job.reason == "waits for the model server" and job.spared == runs

            await eventually(waits)
            job = await house.one()
            assert (job.state, job.failures, job.attempts - job.spared) == (State.RUNNING, 0, 0)
            assert job.not_before >= house.clock.now + 90 * SECOND  # as it asks for, not sooner
            house.clock.turn(101)

        async def processed() -> bool:
            return (await house.one()).state is State.PROCESSED

        await eventually(processed)
    assert len(workers.requests) == 3


async def test_without_room_for_outputs_nothing_is_claimed_and_jobs_say_why(house, workers, tmp_path):
    tank = Tank(99)
    await launched(house, "a")
    runner = runner_of(house, workers, room=Room({"output": tmp_path}, 100, tank))
    async with runner.running():

        async def waits() -> bool:
            return (await house.one()).reason == f"waits for room on the disk of {tmp_path}"

        await eventually(waits)
        await eventually(lambda: "99 MB free" in runner.desks[0].trouble)
        assert workers.requests == []
        tank.free_mb = 101
        await eventually(lambda: workers.requests)
        assert (await house.one()).reason == ""
