"""Where outputs come to lie: whole, and never over another job's."""

import asyncio
import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.delivery import deliver, discard, scratch_of
from pipelines.workers import Status, Workers
from tests.pipelines.asking import Run, ask, files

pytestmark = pytest.mark.usefixtures("rogues")


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


async def test_a_run_that_was_overtaken_does_not_take_back_what_a_later_one_has_made(run: Run, image: Path) -> None:
    later = await run(replace(ask(image, "Writes", "j1", a="later"), attempt=2))
    overtaken = await run(replace(ask(image, "Writes", "j1", a="overtaken"), attempt=1))

    assert (later.folder / "a").read_text() == "later"
    assert overtaken.folder != later.folder


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
