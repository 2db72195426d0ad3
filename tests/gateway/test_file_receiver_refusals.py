"""What the file receiver does not take: unknown jobs, names and folders that lead out, jobs that were cancelled."""

import os
import time
import uuid
from pathlib import Path

import pytest

from contracts.events import JobCancelled, JobReleased
from contracts.models import Job, State
from contracts.rules import advance
from tests.gateway.bench import Bench


async def test_an_unknown_job_another_content_and_a_job_given_up_are_refused(bench: Bench) -> None:
    known = bench.job(sha256="0" * 64)
    given_up = bench.job()
    job = bench.jobs.jobs[given_up]
    bench.jobs.jobs[given_up] = job.evolve(state=State.QUARANTINED, held_state=State.SENDING)

    answers = [await bench.create(job_id, b"x", body=b"x") for job_id in (str(uuid.uuid4()), known, given_up)]

    assert [answer.status_code for answer in answers] == [404, 409, 409]
    assert bench.files() == {}


@pytest.mark.parametrize("folder", ["/".join(["y" * 200] * 30), "\udcff", "plate/\udcff"])
async def test_folders_that_no_system_or_no_job_can_hold_are_refused(bench: Bench, folder: str) -> None:
    answer = await bench.create(bench.job(), b"x", body=b"x", folder=folder)

    assert answer.status_code == 400, answer.text
    assert bench.files() == {}


async def test_a_job_whose_id_is_no_text_is_refused(bench: Bench) -> None:
    assert (await bench.create("\udcff", b"x", body=b"x")).status_code == 400


@pytest.mark.parametrize("folder", ["..", "a/../..", "/etc", "a//b", ".uploads", "a\\b", "./a"])
async def test_folders_that_lead_out_are_refused(bench: Bench, folder: str) -> None:
    answer = await bench.create(bench.job(), b"x", body=b"x", folder=folder)

    assert answer.status_code == 400
    assert bench.files() == {}


@pytest.mark.parametrize("name", ["../a.tif", "..", "a/b", "a\\b", "x" * 256])
async def test_names_that_lead_out_are_refused(bench: Bench, name: str) -> None:
    answer = await bench.create(bench.job(name), b"x", body=b"x", filename=name)

    assert answer.status_code == 400
    assert bench.files() == {}


async def test_a_link_that_leads_out_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    (bench.folder / "out").symlink_to(tmp_path)

    answer = await bench.create(bench.job(), b"x", body=b"x", folder="out")

    assert answer.status_code == 400
    assert not (tmp_path / "a.tif").exists()


def cancelled(bench: Bench, job_id: str) -> None:
    fact = JobCancelled(job_id=job_id, by="operator", reason="wrong plate")
    bench.jobs.jobs[job_id] = advance(bench.jobs.jobs[job_id], fact, time.time_ns())


async def test_an_upload_in_the_middle_ends_when_its_job_is_cancelled_and_begins_again_after_its_release(bench: Bench):
    job_id, content = bench.job(), os.urandom(2_000_000)
    url = (await bench.create(job_id, content)).headers["location"]
    assert (await bench.patch(url, 0, content[:1_000_000])).status_code == 204
    cancelled(bench, job_id)

    answer = await bench.patch(url, 1_000_000, content[1_000_000:])
    again = await bench.create(job_id, content)

    assert (answer.status_code, "cancelled by operator: wrong plate" in answer.text) == (404, True)
    assert (again.status_code, "cancelled by operator: wrong plate" in again.text) == (409, True)
    assert bench.files() == {}
    released = JobReleased(job_id=job_id, by="operator")
    bench.jobs.jobs[job_id] = advance(bench.jobs.jobs[job_id], released, time.time_ns())
    url = (await bench.create(job_id, content)).headers["location"]
    assert (await bench.patch(url, 0, content)).status_code == 204
    assert bench.files() == {"a.tif": content}


async def test_a_file_whose_job_is_cancelled_while_its_last_bytes_come_is_not_kept(bench: Bench) -> None:
    job_id, content = bench.job(), b"some bytes"
    get = bench.jobs.get

    async def just_before(wanted: str) -> Job:
        job = await get(wanted)
        cancelled(bench, job_id)  # after the receiver has asked
        return job

    bench.jobs.get = just_before  # type: ignore[method-assign]
    answer = await bench.create(job_id, content, body=content)
    assert answer.status_code == 201
    assert bench.files() == {}
    assert bench.jobs.jobs[job_id].state is State.CANCELLED
