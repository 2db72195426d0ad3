"""The pool of worker processes: what one job breaks, no other feels."""

import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.delivery import deliver, discard, scratch_of
from pipelines.execution import execute
from pipelines.workers import Closed, Outcome, RunRequest, Status, Workers

Run = Callable[[RunRequest], Awaitable[Outcome]]
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _rogues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)  # worker processes inherit the path


@pytest.fixture
async def workers(_rogues: None) -> AsyncIterator[Workers]:
    async with Workers(2, preload=("rogues:Nothing",)) as pool:
        yield pool


@pytest.fixture(params=["here", "in a worker"])
async def run(request: pytest.FixtureRequest, _rogues: None) -> AsyncIterator[Run]:
    """Carries out a request, in this process or in the pool: what comes of it is the same."""
    if request.param == "here":
        yield lambda asked: asyncio.to_thread(execute, asked)
    else:
        async with Workers(1) as pool:
            yield pool.run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "well-A1.tif"
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    return path


def ask(image: Path, rogue: str, job: str = "job-1", timeout: float = 30, **parameters: str) -> RunRequest:
    folder = image.parent.parent / "out"
    return RunRequest(job, "rogue", f"rogues:{rogue}", image, folder, parameters, timeout=timeout)


def files(folder: Path) -> dict[str, str]:
    """What lies in a folder, but for the second names by which a job's outputs are known until it is reported."""
    seen = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.parent.suffix != ".part"]
    return {str(p.relative_to(folder)): p.read_text() for p in seen}


async def works(workers: Workers, image: Path) -> bool:
    return (await workers.run(ask(image, "Nothing", "after"))).status is Status.DONE


async def test_outputs_lie_in_the_folder_with_size_and_digest(run: Run, image: Path) -> None:
    outcome = await run(ask(image, "Writes", **{"b.txt": "two", "a.txt": "one"}))

    assert outcome.status is Status.DONE
    assert outcome.folder == image.parent.parent / "out"
    assert outcome.outputs == (
        ("b.txt", 3, hashlib.sha256(b"two").hexdigest()),
        ("a.txt", 3, hashlib.sha256(b"one").hexdigest()),
    )
    assert (outcome.qc_flags, outcome.results, outcome.reason) == ("passed", "a.txt,b.txt", "")
    assert 0 < outcome.seconds < 30
    assert files(outcome.folder) == {"a.txt": "one", "b.txt": "two"}
    discard(scratch_of(outcome.folder, "job-1", 0))  # as whoever has reported the job does
    assert [p.name for p in sorted(outcome.folder.iterdir())] == ["a.txt", "b.txt"]


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


@pytest.mark.parametrize("names", ["absent", "sub", "sub/inner", "../in/well-A1.tif", "there|there", "", ".", "link"])
async def test_an_output_that_is_no_plain_file_of_the_scratch_is_refused(run: Run, image: Path, names: str) -> None:
    outcome = await run(ask(image, "Names", names=names))

    assert (outcome.status, "Undeliverable" in outcome.reason) == (Status.ERROR, True)
    assert files(image.parent.parent / "out") == {}


async def test_another_jobs_output_is_never_overwritten(run: Run, image: Path) -> None:
    first = await run(ask(image, "Writes", "j1", a="one", b="1"))
    second = await run(ask(image, "Writes", "j2", c="two", b="2", a="zwei"))
    again = await run(ask(image, "Writes", "j2", c="two", b="2", a="zwei"))

    out = image.parent.parent / "out"
    assert (first.folder, second.folder) == (out, out / "j2")
    assert (again.folder, again.outputs) == (second.folder, second.outputs)
    assert files(out) == {"a": "one", "b": "1", "j2/a": "zwei", "j2/b": "2", "j2/c": "two"}


async def test_an_equal_output_of_another_job_is_not_shared(run: Run, image: Path) -> None:
    first = await run(ask(image, "Writes", "j1", a="one"))
    other = await run(ask(image, "Writes", "j2", a="one", b="new"))

    assert first.folder is not None
    assert other.folder == first.folder / "j2"
    assert files(image.parent.parent / "out") == {"a": "one", "j2/a": "one", "j2/b": "new"}


async def test_a_run_that_nobody_was_told_of_is_taken_back_by_the_next(run: Run, image: Path) -> None:
    requests = [replace(ask(image, "Writes", "j1", a=f"run {n}"), attempt=n + 1) for n in range(3)]
    folders = [(await run(request)).folder for request in requests]

    out = image.parent.parent / "out"
    assert folders == [out] * 3
    assert files(out) == {"a": "run 2"}


async def test_a_run_that_was_told_of_is_never_touched_by_the_next(run: Run, image: Path) -> None:
    out = image.parent.parent / "out"
    folders = []
    for number in range(4):
        folders.append((await run(ask(image, "Writes", "j1", a=f"run {number}"))).folder)
        discard(scratch_of(out, "j1", 0))

    assert folders == [out] + [out / "j1"] * 3
    assert files(out) == {"a": "run 0", "j1/a": "run 3"}


async def test_jobs_that_race_for_a_name_all_keep_what_they_made(workers: Workers, image: Path) -> None:
    outcomes = await asyncio.gather(*(workers.run(ask(image, "Writes", f"j{n}", same=f"by {n}")) for n in range(40)))

    texts = [(outcome.folder / "same").read_text() for outcome in outcomes if outcome.folder]
    assert texts == [f"by {n}" for n in range(40)]


def test_an_output_that_cannot_be_placed_leaves_no_empty_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_paths: Path) -> None:
        raise OSError(errno.EIO, "a broken disk without hard links")

    (made := tmp_path / "made").mkdir()
    (folder := tmp_path / "output").mkdir()
    (made / "o.dat").write_bytes(b"result")
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="broken"):
        deliver(made, ["o.dat"], folder, "job-1")
    assert not list(folder.iterdir())


async def test_rubbish_of_a_crash_is_gone_at_the_next_run(run: Run, image: Path) -> None:
    out = image.parent.parent / "out"
    for attempt in (1, 2):
        scratch_of(out, "job-1", attempt).mkdir(parents=True)
        (scratch_of(out, "job-1", attempt) / "rubbish").write_text("from before a power cut")

    outcome = await run(replace(ask(image, "Writes", "job-1", a="one"), attempt=2))

    assert outcome.results == "a"
    assert list(out.rglob("rubbish")) == []


def spoilt(image: Path) -> str:
    """The digest of the image as it was; then it is another."""
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    image.write_bytes(b"a bit has turned")
    return digest


async def test_an_image_that_is_not_what_arrived_is_put_aside_and_not_processed(run: Run, image: Path) -> None:
    before = ask(image, "Writes", "job-1", a="one")
    request = replace(before, sha256=spoilt(image))

    for _ in range(2):  # the second time as after a crash: it was put aside, and nobody was told
        outcome = await run(replace(request, job="job-2"))
        assert outcome.status is Status.DAMAGED
        assert "is not the file that arrived" in outcome.reason
    assert files(image.parent) == {f".{image.name}.job-2.damaged": "a bit has turned"}

    missing = await run(replace(request, job="job-3"))
    assert (missing.status, "not there any more" in missing.reason) == (Status.DAMAGED, True)


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


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of the address space")
async def test_a_pipeline_may_have_a_limit_of_its_own_which_holds_for_no_other(image: Path) -> None:
    async with Workers(1) as workers:
        small = replace(ask(image, "Hogs"), memory_bytes=2 << 30)
        outcome = await workers.run(small)
        assert (outcome.status, "MemoryError" in outcome.reason) == (Status.ERROR, True)
        assert (await workers.run(ask(image, "Hogs", "job-2"))).status is Status.DONE
    async with Workers(1, memory_bytes=2 << 30) as workers:
        assert (await workers.run(replace(ask(image, "Hogs"), memory_bytes=8 << 30))).status is Status.DONE
        assert (await workers.run(ask(image, "Hogs", "job-2"))).status is Status.ERROR


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
