"""The pool of worker processes: what one job breaks, no other feels."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.workers import Closed, Outcome, RunRequest, Status, Workers
from tests.pipelines.asking import HERE, Run, alive, ask, files, until

pytestmark = pytest.mark.usefixtures("rogues")


async def works(workers: Workers, image: Path) -> bool:
    return (await workers.run(ask(image, "Nothing", "after"))).status is Status.DONE


@pytest.mark.parametrize(
    ("rogue", "status", "reason"),
    [
        ("Complains", Status.BAD_INPUT, "well-A1.tif is a poem; bring an image"),
        ("Fails", Status.ERROR, "ValueError: seven is not a colour xxx"),
        ("Leaves", Status.ERROR, "SystemExit: 4"),
        ("Lies", Status.ERROR, "returned a str, not a Result"),
        ("Unmakable", Status.ERROR, "RuntimeError: no licence found"),
        ("Absent", Status.ERROR, "AttributeError"),
    ],
)
async def test_a_failure_is_told_in_one_line_and_leaves_nothing(
    run: Run, image: Path, rogue: str, status: Status, reason: str
) -> None:
    outcome = await run(ask(image, rogue))

    assert outcome.status is status
    assert reason in outcome.reason
    assert len(outcome.reason) <= 520
    assert "\n" not in outcome.reason
    assert outcome.outputs == ()
    assert files(image.parent.parent / "out") == {}


@pytest.mark.parametrize(("rogue", "code"), [("Vanishes", 3), ("VanishesLate", 3), ("Deadly", 9)])
async def test_a_plug_in_that_ends_its_process_ends_no_other(
    workers: Workers, image: Path, rogue: str, code: int
) -> None:
    outcome = await workers.run(ask(image, rogue))

    assert (outcome.status, f"exit code {code}" in outcome.reason) == (Status.CRASHED, True)
    assert all([await works(workers, image) for _ in range(4)])
    assert files(image.parent.parent / "out") == {}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_a_segmentation_fault_is_named(workers: Workers, image: Path) -> None:
    outcome = await workers.run(ask(image, "Segfaults"))

    assert (outcome.status, "SIGSEGV" in outcome.reason) == (Status.CRASHED, True)
    assert await works(workers, image)


async def test_a_job_beyond_its_time_is_stopped(workers: Workers, image: Path) -> None:
    before = time.monotonic()
    outcome = await workers.run(ask(image, "Hangs", timeout=0.3))

    assert outcome.status is Status.TIMED_OUT
    assert "0.3 s" in outcome.reason
    assert time.monotonic() - before < 10
    assert await works(workers, image)
    assert os.listdir(image.parent.parent / "out") == []


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
async def test_a_program_that_a_plug_in_has_called_ends_with_the_job_that_is_beyond_its_time(
    workers: Workers, image: Path, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    asked = replace(ask(image, "Calls", timeout=1.0), attributes={"note": str(note)})
    outcome = await asyncio.wait_for(workers.run(asked), 20)

    assert outcome.status is Status.TIMED_OUT
    await until(lambda: not alive(int(note.read_text())))
    assert await works(workers, image)


async def test_rogues_among_many_jobs_harm_only_themselves(workers: Workers, image: Path) -> None:
    kinds = ["Nothing", "Vanishes", "Nothing", "Fails", "Nothing", "Hangs", "Nothing"] * 4
    outcomes = await asyncio.gather(
        *(
            workers.run(ask(image, kind, f"j{n}", timeout=0.5 if kind == "Hangs" else 60))
            for n, kind in enumerate(kinds)
        )
    )

    expected = {"Nothing": Status.DONE, "Vanishes": Status.CRASHED, "Fails": Status.ERROR, "Hangs": Status.TIMED_OUT}
    assert [outcome.status for outcome in outcomes] == [expected[kind] for kind in kinds]


async def test_as_many_jobs_run_at_once_as_there_are_workers(workers: Workers, image: Path, tmp_path: Path) -> None:
    notes = [tmp_path / "note-0", tmp_path / "note-1"]
    requests = [
        RunRequest(f"j{n}", "rogue", "rogues:Hangs", image, tmp_path, {}, {"note": str(note)}, timeout=60)
        for n, note in enumerate(notes)
    ]
    runs = [asyncio.create_task(workers.run(request)) for request in requests]
    await until(lambda: all(note.exists() for note in notes))
    assert len({note.read_text() for note in notes}) == 2
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs, return_exceptions=True)
    assert await works(workers, image)


async def test_cancelling_a_job_ends_its_process(workers: Workers, image: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    request = RunRequest("j", "rogue", "rogues:Hangs", image, tmp_path / "out", {}, {"note": str(note)})
    run = asyncio.create_task(workers.run(request))
    await until(note.exists)
    run.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run
    await until(lambda: not psutil.pid_exists(int(note.read_text())))
    assert await works(workers, image)


async def test_cancelling_a_job_that_has_just_ended_harms_not_the_next_in_its_process(image: Path) -> None:
    class Overtaken(Workers):
        """Somebody cancels the first job between its end and the moment in which it is told."""

        first: "asyncio.Task[Outcome] | None" = None

        def _after(self, slot: Any, alarm: asyncio.TimerHandle) -> None:
            super()._after(slot, alarm)
            if self.first is not None:
                self.first.cancel()

    async with Overtaken(1) as workers:
        first = workers.first = asyncio.create_task(workers.run(ask(image, "Nothing")))
        second = asyncio.create_task(workers.run(ask(image, "Nothing", "job-2")))
        assert (await second).status is Status.DONE
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_worker_killed_while_idle_costs_no_job(workers: Workers, image: Path) -> None:
    for _ in range(3):
        pids = {int((await workers.run(ask(image, "Nothing"))).results) for _ in range(4)}
        for pid in pids:
            psutil.Process(pid).kill()
        await until(lambda pids=pids: not any(alive(pid) for pid in pids))
        assert await works(workers, image)


async def test_workers_do_not_hear_an_interrupt_of_the_parent(workers: Workers, image: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("signals")
    pid = int((await workers.run(ask(image, "Nothing"))).results)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)

    pids = {(await workers.run(ask(image, "Nothing"))).results for _ in range(4)}
    assert str(pid) in pids


async def test_closing_ends_running_jobs_and_waiting_ones(image: Path, tmp_path: Path) -> None:
    workers = Workers(1)
    await workers.start()
    note = tmp_path / "note"
    running = RunRequest("j", "rogue", "rogues:Hangs", image, tmp_path / "out", {}, {"note": str(note)})
    runs = [asyncio.create_task(workers.run(running))]
    await until(note.exists)
    runs += [asyncio.create_task(workers.run(ask(image, "Nothing", f"j{n}"))) for n in range(3)]

    await workers.close()

    ends = await asyncio.wait_for(asyncio.gather(*runs, return_exceptions=True), 10)
    assert [type(end) for end in ends] == [Closed] * 4
    with pytest.raises(Closed):
        await workers.run(ask(image, "Nothing"))


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
async def test_a_memory_hog_meets_its_limit_and_no_other(image: Path) -> None:
    async with Workers(1, memory_bytes=1 << 30) as workers:
        outcome = await workers.run(ask(image, "Hogs"))

        assert (outcome.status, outcome.reason[:11]) == (Status.ERROR, "MemoryError")
        assert await works(workers, image)


async def test_numerical_libraries_keep_to_one_thread(workers: Workers, image: Path) -> None:
    assert (await workers.run(ask(image, "Speaks"))).results == "1"


async def test_a_plug_in_that_kills_its_process_when_loaded_does_not_stop_the_pool(image: Path) -> None:
    async with Workers(1, preload=("rogues:Deadly", "rogues:Absent")) as workers:
        assert await works(workers, image)


def test_a_job_id_that_cannot_name_a_folder_is_refused(image: Path) -> None:
    for job in ("", "..", "a/b", ".hidden", "a" * 101):
        with pytest.raises(ValueError, match="job id"):
            ask(image, "Nothing", job)


PARENT = """
import asyncio, sys
from pathlib import Path
from pipelines.workers import RunRequest, Workers

async def main():
    folder = Path(sys.argv[1])
    workers = Workers(2)
    await workers.start()
    hang = RunRequest("j", "t", "rogues:Hangs", folder, folder, {}, {"note": str(folder / "note")})
    print((await workers.run(RunRequest("i", "t", "rogues:Nothing", folder, folder))).results, flush=True)
    await workers.run(hang)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
async def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent)])
    parent = await asyncio.create_subprocess_exec(
        sys.executable, script, tmp_path, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        await until((tmp_path / "note").exists)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert int((tmp_path / "note").read_text()) in {child.pid for child in family}
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: not any(alive(child.pid) for child in family))


def test_a_program_that_forgets_to_close_its_pool_still_ends(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.replace("    await workers.run(hang)\n", ""))
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent)])
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        timeout=30,
        check=True,
        capture_output=True,
    )
    assert not alive(int(done.stdout))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of the address space")
async def test_a_pipeline_may_have_a_limit_of_its_own_which_holds_for_no_other(image: Path) -> None:
    async with Workers(1) as workers:
        small = replace(ask(image, "Hogs", timeout=120), memory_bytes=2 << 30)
        outcome = await workers.run(small)
        assert (outcome.status, "MemoryError" in outcome.reason) == (Status.ERROR, True)
        assert (await workers.run(ask(image, "Hogs", "job-2", timeout=120))).status is Status.DONE
    async with Workers(1, memory_bytes=2 << 30) as workers:
        assert (await workers.run(replace(ask(image, "Hogs", timeout=120), memory_bytes=8 << 30))).status is Status.DONE
        assert (await workers.run(ask(image, "Hogs", "job-2", timeout=120))).status is Status.ERROR


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the address space of a process")
async def test_what_one_pipeline_keeps_does_not_count_against_the_limit_of_another(image: Path) -> None:
    async with Workers(1, memory_bytes=16 << 30) as workers:
        first = await workers.run(ask(image, "Keeps"))
        second = await workers.run(ask(image, "Keeps", "job-2"))
        assert first.results == second.results  # under one limit the process stays
        third = await workers.run(replace(ask(image, "Keeps", "job-3"), memory_bytes=3 << 30))
        assert third.status is Status.DONE, third.reason
        assert third.results != second.results


@pytest.mark.parametrize("how", ["Fills", "Wraps"])
async def test_a_full_disk_is_told_apart_from_a_fault_of_the_job(run: Run, image: Path, how: str) -> None:
    outcome = await run(ask(image, how))
    assert outcome.status is Status.NO_ROOM
    assert "No space left" in outcome.reason or "cannot write" in outcome.reason


async def test_a_plug_in_can_put_its_job_off(run: Run, image: Path) -> None:
    outcome = await run(ask(image, "Awaits"))
    assert (outcome.status, outcome.reason, outcome.wait) == (Status.LATER, "waits for the model server", 7.5)
