"""The file receiver, in process and over TCP: whatever is said to be received is there, whole, once."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from contracts import transfer
from contracts.hosting import app_of
from contracts.models import InputFile, Job, State
from gateway.file_receiver import rules
from gateway.file_receiver.service import FileReceiver
from tests.gateway.bench import AWAY, BODY, TUS, Bench
from tests.support.jobs import FakeJobs

NAMES = ["a.tif", "with space.tif", "zwei\nZeilen.tif", "ünï-日本.tif", "x" * 255]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"some bytes"])
async def test_a_small_file_takes_one_request(bench: Bench, name: str, content: bytes) -> None:
    job_id = bench.job(name)

    answer = await bench.create(job_id, content, body=content, filename=name, folder="plate 1/ü")

    assert answer.status_code == 201
    assert answer.headers["upload-offset"] == str(len(content))
    assert bench.files() == {f"plate 1/ü/{name}": content}
    job = bench.jobs.jobs[job_id]
    assert job.state is State.RECEIVED
    assert job.input_file.hostname == "gateway"
    assert (Path(job.input_file.dir_name) / name).read_bytes() == content
    assert (job.input_file.sha256, job.input_file.size) == (hashlib.sha256(content).hexdigest(), len(content))


async def test_a_file_in_pieces(bench: Bench) -> None:
    job_id, content = bench.job(), os.urandom(3_000_000)
    created = await bench.create(job_id, content)
    url = created.headers["location"]

    first = await bench.patch(url, 0, content[:1_500_000])
    head = await bench.client.head(url, headers=TUS)
    last = await bench.patch(url, 1_500_000, content[1_500_000:])

    assert (created.status_code, created.headers["upload-offset"]) == (201, "0")
    assert (first.status_code, first.headers["upload-offset"]) == (204, "1500000")
    assert first.headers["upload-expires"].endswith("GMT")
    assert (head.status_code, head.headers["upload-offset"], head.headers["upload-length"]) == (
        200,
        "1500000",
        "3000000",
    )
    assert head.headers["cache-control"] == "no-store"
    assert (last.status_code, last.headers["upload-offset"]) == (204, "3000000")
    assert bench.files() == {"a.tif": content}
    assert len(bench.jobs.facts) == 1


async def test_creating_again_tells_how_far_it_is_and_in_the_end_that_it_is_there(bench: Bench) -> None:
    job_id, content = bench.job(), b"0123456789"
    created = await bench.create(job_id, content, body=b"0123")
    again = await bench.create(job_id, content)
    await bench.patch(created.headers["location"], 4, b"456789")
    delivered = await bench.create(job_id, content, body=content)

    assert created.headers["upload-offset"] == again.headers["upload-offset"] == "4"
    assert created.headers["location"] == again.headers["location"] == delivered.headers["location"]
    assert delivered.headers["upload-offset"] == "10"
    assert len(bench.jobs.facts) == 1


async def test_options_and_methods(bench: Bench) -> None:
    options = await bench.client.options("/api/v1/files")
    wrong = await bench.client.put("/api/v1/files/x", headers=TUS)
    override = await bench.client.post("/api/v1/files/x", headers={**TUS, "X-HTTP-Method-Override": "HEAD"})

    assert options.status_code == 204
    assert options.headers["tus-version"] == "1.0.0"
    assert "creation-with-upload" in options.headers["tus-extension"]
    assert "sha1" in options.headers["tus-checksum-algorithm"]
    assert (wrong.status_code, wrong.content) == (405, b"")
    assert override.status_code == 404


@pytest.mark.parametrize(("verb", "said"), [("OPTIONS", "DELETE"), ("OPTIONS", "PATCH"), ("OPTIONS", "HEAD"),
                                            ("HEAD", "DELETE"), ("HEAD", "PATCH")])  # fmt: skip
async def test_no_header_makes_a_request_another_than_it_was_judged_as(bench: Bench, verb: str, said: str) -> None:
    """OPTIONS is open to everybody and HEAD changes nothing: so it stays, whatever the header says."""
    url = (await bench.create(bench.job(), b"0123456789", body=b"0123")).headers["location"]
    headers = {**BODY, "X-HTTP-Method-Override": said, "Upload-Offset": "4"}

    answer = await bench.client.request(verb, url, headers=headers, content=b"456" if verb == "OPTIONS" else None)

    assert "upload-offset" not in answer.headers or verb == "HEAD"
    assert answer.status_code == (204 if verb == "OPTIONS" else 200)
    assert (await bench.client.head(url, headers=TUS)).headers["upload-offset"] == "4"


async def test_nobody_creates_an_upload_by_a_question(bench: Bench) -> None:
    job_id = bench.job()
    told = transfer.format_metadata({"jobid": job_id, "sha256": hashlib.sha256(b"evil").hexdigest(), "folder": ""})
    headers = {**BODY, "X-HTTP-Method-Override": "POST", "Upload-Length": "4", "Upload-Metadata": told}
    await bench.client.request("OPTIONS", "/api/v1/files", headers=headers, content=b"evil")
    assert bench.files() == {}
    assert bench.jobs.jobs[job_id].state is State.SENDING


async def test_another_version_is_told_ours(bench: Bench) -> None:
    answer = await bench.client.head("/api/v1/files/x", headers={"Tus-Resumable": "0.1"})

    assert answer.status_code == 412
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"


async def test_a_question_waits_for_the_request_that_writes(bench: Bench) -> None:
    """After a cut the sender asks how far it got: the answer must not come before the broken request has ended."""
    url = (await bench.create(bench.job(), b"0123456789")).headers["location"]
    begun, cut = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"0123"
        begun.set()
        await cut.wait()
        yield b"4567"

    writing = asyncio.create_task(bench.client.patch(url, headers={**BODY, "Upload-Offset": "0"}, content=pieces()))
    await begun.wait()
    asking = asyncio.create_task(bench.client.head(url, headers=TUS))
    await asyncio.wait([asking], timeout=0.2)
    assert not asking.done()
    cut.set()

    assert (await writing).status_code == 204
    assert (await asking).headers["upload-offset"] == "8"


async def test_a_repetition_clears_what_a_crash_left_after_the_fact(bench: Bench, tmp_path: Path) -> None:
    job_id, content = bench.job(), b"0123456789"
    url = (await bench.create(job_id, content, body=content)).headers["location"]
    parts = tmp_path / "files" / ".uploads"
    name = url.rpartition("/")[2]
    (parts / name).write_bytes(content)
    (parts / f"{name}.note").write_bytes(b"{}")

    again = await bench.create(job_id, content, body=content)

    assert (again.status_code, again.headers["upload-offset"]) == (201, "10")
    assert list(parts.iterdir()) == []


async def test_what_does_not_fit_is_refused_and_changes_nothing(bench: Bench) -> None:
    url = (await bench.create(bench.job(), b"0123456789", body=b"0123")).headers["location"]

    statuses = [
        (await bench.patch(url, 3, b"3")).status_code,
        (await bench.patch(url, 4, b"4567890")).status_code,
        (await bench.patch(url, 4, b"4", **{"Upload-Checksum": "sha9 AAAA"})).status_code,
        (await bench.patch(url, 4, b"4", **{"Content-Type": "text/plain"})).status_code,
        (await bench.patch(url, 4, b"4", **{"Upload-Checksum": str(transfer.checksum_of("sha1", b"5"))})).status_code,
        (await bench.patch("/api/v1/files/none", 0, b"4")).status_code,
    ]

    assert statuses == [409, 413, 400, 415, 460, 404]
    assert (await bench.client.head(url, headers=TUS)).headers["upload-offset"] == "4"


@pytest.mark.parametrize("algorithm", transfer.ALGORITHMS)
async def test_a_chunk_that_fits_its_checksum_is_taken(bench: Bench, algorithm: str) -> None:
    url = (await bench.create(bench.job(), b"0123456789")).headers["location"]
    checksum = str(transfer.checksum_of(algorithm, b"0123"))

    assert (await bench.patch(url, 0, b"0123", **{"Upload-Checksum": checksum})).headers["upload-offset"] == "4"


async def test_a_wrong_whole_starts_again_at_nothing(bench: Bench) -> None:
    job_id, content = bench.job(), b"0123456789"
    url = (await bench.create(job_id, content)).headers["location"]

    wrong = await bench.patch(url, 0, b"01234x6789")
    gone = await bench.client.head(url, headers=TUS)
    small = await bench.create(job_id, content, body=b"01234x6789")
    right = await bench.create(job_id, content, body=content)

    assert [r.status_code for r in (wrong, gone, small, right)] == [460, 404, 460, 201]
    assert "SHA-256" in wrong.text
    assert bench.files() == {"a.tif": content}


async def test_a_body_without_a_length_is_taken(bench: Bench) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"01234"
        yield b"56789"

    job_id = bench.job()
    url = (await bench.create(job_id, b"0123456789")).headers["location"]
    answer = await bench.client.patch(url, headers={**BODY, "Upload-Offset": "0"}, content=pieces())

    assert answer.status_code == 204
    assert bench.files() == {"a.tif": b"0123456789"}


async def test_a_body_without_a_length_that_is_too_long_is_not(bench: Bench) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"01234"
        yield b"567890"

    url = (await bench.create(bench.job(), b"0123456789")).headers["location"]
    answer = await bench.client.patch(url, headers={**BODY, "Upload-Offset": "0"}, content=pieces())

    assert answer.status_code == 413
    assert (await bench.client.head(url, headers=TUS)).headers["upload-offset"] == "0"


async def test_a_file_of_another_job_is_not_touched(bench: Bench) -> None:
    first, second, third = bench.job(), bench.job(), bench.job()
    await bench.create(first, b"one", body=b"one")
    await bench.create(second, b"two", body=b"two")
    await bench.create(third, b"one", body=b"one")

    assert bench.files() == {"a.tif": b"one", f"{second}/a.tif": b"two", f"{third}/a.tif": b"one"}
    assert bench.jobs.jobs[second].input_file.dir_name == str(bench.folder / second)


async def test_while_the_repository_is_away_nothing_is_lost_or_doubled(bench: Bench) -> None:
    job_id, big = bench.job(), bench.job("b.tif")
    url = (await bench.create(big, b"0123456789", body=b"0123")).headers["location"]
    bench.jobs.deaf = AWAY

    small = await bench.create(job_id, b"bytes", body=b"bytes")
    last = await bench.patch(url, 4, b"456789")
    head = await bench.client.head(url, headers=TUS)
    bench.jobs.deaf = None
    small_again = await bench.create(job_id, b"bytes", body=b"bytes")
    last_again = await bench.patch(url, 10, b"")

    assert [r.status_code for r in (small, last, head, small_again, last_again)] == [503, 503, 503, 201, 204]
    assert bench.files() == {"a.tif": b"bytes", "b.tif": b"0123456789"}
    assert bench.jobs.jobs[job_id].state is bench.jobs.jobs[big].state is State.RECEIVED


async def test_what_the_repository_refuses_is_removed(bench: Bench) -> None:
    job_id = bench.job()
    url = (await bench.create(job_id, b"0123456789", body=b"0123")).headers["location"]
    del bench.jobs.jobs[job_id]

    answer = await bench.patch(url, 4, b"456789")

    assert answer.status_code == 404
    assert bench.files() == {}


async def test_terminated_uploads_are_gone(bench: Bench) -> None:
    url = (await bench.create(bench.job(), b"0123456789", body=b"0123")).headers["location"]

    assert (await bench.client.delete(url, headers=TUS)).status_code == 204
    assert (await bench.client.head(url, headers=TUS)).status_code == 404
    assert bench.files() == {}


async def test_one_request_at_a_time_writes_to_an_upload(bench: Bench) -> None:
    url = (await bench.create(bench.job(), b"0123456789")).headers["location"]

    answers = await asyncio.gather(*(bench.patch(url, 0, b"0123456789") for _ in range(5)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {404, 409, 423}
    assert bench.files() == {"a.tif": b"0123456789"}


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    jobs = FakeJobs(Job(id="j", state=State.SENDING, input_file=InputFile(name="a.tif")))
    content = os.urandom(100_000)
    for step in range(4):
        service = FileReceiver(jobs, tmp_path, "gateway")
        transport = httpx.ASGITransport(app_of(service))
        async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            bench = Bench(client, jobs, tmp_path)
            url = (await bench.create("j", content)).headers["location"]
            at = step * 25_000
            answer = await bench.patch(url, at, content[at : at + 25_000])
            assert answer.headers["upload-offset"] == str(at + 25_000)

    assert bench.files() == {"a.tif": content}


@pytest.mark.parametrize("content", [b"0123456789", b""])
async def test_a_crash_between_placing_and_reporting_does_not_double_the_file(tmp_path: Path, content: bytes) -> None:
    jobs = FakeJobs(Job(id="j", state=State.SENDING, input_file=InputFile(name="a.tif")))
    statuses = []
    for jobs.deaf in (AWAY, AWAY, None):
        service = FileReceiver(jobs, tmp_path, "gateway")
        transport = httpx.ASGITransport(app_of(service))
        async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            bench = Bench(client, jobs, tmp_path)
            statuses.append((await bench.create("j", content, body=content)).status_code)

    assert statuses == [503, 503, 201]
    assert bench.files() == {"a.tif": content}


async def test_unfinished_uploads_expire(tmp_path: Path) -> None:
    jobs = FakeJobs(Job(id="j", state=State.SENDING, input_file=InputFile(name="a.tif")))
    service = FileReceiver(jobs, tmp_path, "gateway")
    transport = httpx.ASGITransport(app_of(service))
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        bench = Bench(client, jobs, tmp_path)
        await bench.create("j", b"0123456789", body=b"0123")
    old = time.time() - 8 * 86400
    for path in (tmp_path / rules.PARTS).iterdir():
        os.utime(path, (old, old))
    (tmp_path / rules.PARTS / "fresh").write_bytes(b"")

    async with FileReceiver(jobs, tmp_path, "gateway").running():
        pass

    assert list(bench.files()) == [f"{rules.PARTS}/fresh"]


async def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(tmp_path: Path) -> None:
    jobs = FakeJobs(Job(id="j", state=State.SENDING, input_file=InputFile(name="a.tif")))
    service = FileReceiver(jobs, tmp_path / "files", "gateway")
    transport = httpx.ASGITransport(app_of(service))
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        bench = Bench(client, jobs, tmp_path)
        for level in ("sub", "j"):  # the folder asked for, and the job's own
            (tmp_path / "files" / level).write_bytes(b"not a folder")
        answer = await bench.create("j", b"x", body=b"x", folder="sub")

    assert answer.status_code == 500
    assert str(tmp_path / "files") in answer.text
    assert "may write to" in answer.text


async def test_delivery_is_at_most_once_placed_under_any_repetition(bench: Bench) -> None:
    job_id, content = bench.job(), os.urandom(50_000)
    await asyncio.gather(*(bench.create(job_id, content, body=content) for _ in range(8)))
    final = await bench.create(job_id, content, body=content)

    assert final.headers["upload-offset"] == "50000"
    assert bench.files() == {"a.tif": content}


async def test_while_the_repository_is_away_an_upload_goes_on(bench: Bench) -> None:
    job_id, content = bench.job(), os.urandom(2_000_000)
    url = (await bench.create(job_id, content)).headers["location"]
    bench.jobs.down = AWAY
    assert (await bench.patch(url, 0, content[:1_000_000])).status_code == 204
