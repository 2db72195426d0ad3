"""Results as one zip: all of them, safe names, digests inside, and no memory however large they are."""

import csv
import hashlib
import io
import tracemalloc
import zipfile
from contextlib import asynccontextmanager

import httpx
import pytest

from contracts.models import OutputFile
from gateway.file_sender.bundle import bundle_name, safe
from tests.gateway.submitting import desk_in, image, processed
from tests.support import stories as s
from tests.support.house import house_in
from tests.support.serving import listening

LARGE = 300 * 10**6
MEMORY = 24 * 2**20
"""Bytes that sending may hold, sender and receiver together: some blocks."""


@pytest.fixture
async def house(tmp_path):
    async with house_in(tmp_path) as house:
        yield house


async def bundle(house, query: str) -> zipfile.ZipFile:
    answer = await house.call(house.sender, "GET", f"/api/v1/bundle?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    found = zipfile.ZipFile(io.BytesIO(answer.content))
    assert found.testzip() is None
    return found


def sums(found: zipfile.ZipFile) -> dict[str, str]:
    lines = found.read("SHA256SUMS").decode().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


async def delivered(house, *names: str, job_id: str = "job-1") -> None:
    """A job of an instrument, whose outputs have these names."""
    (house.files.input / "a.tiff").write_bytes(b"in")
    outputs = []
    for name in names:
        (house.files.output / name).write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        outputs.append(OutputFile(dir_name=str(house.files.output), name=name, sha256=digest, size=len(name)))
    facts = [
        s.created(job_id),
        s.input_delivered(job_id, str(house.files.input), sha256=hashlib.sha256(b"in").hexdigest()),
        s.requested(job_id, output_folder=str(house.files.output)),
        s.reported(job_id, outputs=tuple(outputs)),
        s.confirmed(job_id),
    ]
    await house.store.apply(facts)


async def test_a_jobs_outputs_come_as_one_zip_with_their_digests_and_with_the_image_if_wanted(house):
    await delivered(house, "o.csv", "o.png")
    found = await bundle(house, "job=job-1")
    assert found.namelist() == ["o.csv", "o.png", "SHA256SUMS"]
    assert found.read("o.png") == b"o.png"
    assert sums(found) == {name: hashlib.sha256(name.encode()).hexdigest() for name in ("o.csv", "o.png")}
    assert "a.tiff" in (await bundle(house, "job=job-1&input=true")).namelist()
    await house.store.apply([s.outputs_delivered()])
    await house.sender.archive(((await house.store.get("job-1")),))
    again = await bundle(house, "job=job-1&input=true")
    assert again.namelist() == ["a.tiff", "o.csv", "o.png", "SHA256SUMS"]
    assert again.read("a.tiff") == b"in"


async def test_a_batch_comes_with_its_folders_a_table_and_no_name_twice(house):
    async with desk_in(house) as desk:
        batch = await desk.batch()
        for n, name in enumerate(("a/x.tif", "b/x.tif", "=x.tif")):
            await desk.submit(batch, name, image(n))
        jobs = await desk.jobs(batch)
        for job in jobs[:2]:
            outputs = {"labels.tif": job.id.encode(), "SHA256SUMS": b"mine"}
            await processed(house, job, outputs)
        await processed(house, jobs[2], {"labels.TIF": b"1"})
    found = await bundle(house, f"batch={batch}")
    assert found.namelist() == [
        *("a/labels.tif", "a/SHA256SUMS", "b/labels.tif", "b/SHA256SUMS", "labels.TIF", "jobs.csv", "SHA256SUMS")
    ]
    assert found.read("b/labels.tif") == jobs[1].id.encode()
    assert {name: hashlib.sha256(found.read(name)).hexdigest() for name in sums(found)} == sums(found)
    rows = list(csv.DictReader(io.StringIO(found.read("jobs.csv").decode())))
    assert [(row["file"], row["state"], row["results"]) for row in rows] == [
        ("a/x.tif", "complete", '{"count": 3}'),
        ("b/x.tif", "complete", '{"count": 3}'),
        ("'=x.tif", "complete", '{"count": 3}'),
    ]


async def test_outputs_of_one_name_are_told_apart(house):
    await delivered(house, "SHA256SUMS", "sha256sums", "x.csv", "X.csv")
    assert (await bundle(house, "job=job-1")).namelist() == [
        *("SHA256SUMS (2)", "sha256sums (3)", "x.csv", "X (2).csv", "SHA256SUMS")
    ]


async def test_what_is_damaged_or_missing_is_said_and_the_rest_comes(house):
    await delivered(house, "a.csv", "b.csv", "c.csv")
    (house.files.output / "a.csv").write_bytes(b"other")
    (house.files.output / "b.csv").unlink()
    found = await bundle(house, "job=job-1")
    assert found.namelist() == ["a.csv", "c.csv", "SHA256SUMS", "PROBLEMS.txt"]
    problems = found.read("PROBLEMS.txt").decode()
    assert "a.csv: it is not, or no longer, what was made" in problems
    assert "b.csv: it cannot be read" in problems
    assert sums(found)["a.csv"] != hashlib.sha256(b"other").hexdigest()


async def test_no_link_leads_out_of_the_gateways_files(house, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    await delivered(house, "a.csv")
    (house.files.output / "a.csv").unlink()
    (house.files.output / "a.csv").symlink_to(secret)
    found = await bundle(house, "job=job-1")
    assert "a.csv" not in found.namelist()
    assert "a.csv" in found.read("PROBLEMS.txt").decode()


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("job=a&batch=b", 400), ("job=none", 404), ("batch=none", 404), ("job=bare", 409),
     ("job=bare&input=x", 400)],
)  # fmt: skip
async def test_what_there_is_no_zip_of_is_said(house, query, status):
    await house.store.apply([s.created("bare")])
    answer = await house.call(house.sender, "GET", f"/api/v1/bundle?{query}")
    assert answer.status_code == status
    assert answer.text.strip()


@asynccontextmanager
async def streaming(house, query: str):
    async with (
        listening(house.sender) as port,
        httpx.AsyncClient(timeout=120) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/api/v1/bundle?{query}") as answer,
    ):
        yield answer


async def test_hundreds_of_megabytes_go_through_a_few_megabytes_of_memory(house, tmp_path):
    """Of a kind that is not packed, so that as much goes out as lies on the disk."""
    await delivered(house, "large.png")
    with (house.files.output / "large.png").open("r+b") as file:
        file.truncate(LARGE)
    tracemalloc.start()
    try:
        received, target = 0, tmp_path / "got.zip"
        with target.open("wb") as out:
            async with streaming(house, "job=job-1") as answer:
                tracemalloc.reset_peak()
                async for block in answer.aiter_bytes():
                    received += len(block)
                    out.write(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received > LARGE
    assert peak < MEMORY
    with zipfile.ZipFile(target) as found:
        assert found.getinfo("large.png").file_size == LARGE
    target.unlink()


async def test_who_stops_listening_leaves_no_file_open_and_the_next_is_served(house):
    await delivered(house, "large.png")
    with (house.files.output / "large.png").open("r+b") as file:
        file.truncate(LARGE)
    async with streaming(house, "job=job-1") as answer:
        async for _ in answer.aiter_bytes():
            break
    await delivered(house, "small.csv", job_id="job-2")
    assert (await bundle(house, "job=job-2")).read("small.csv") == b"small.csv"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\x\\y.tif", "C_/x/y.tif"),
        ("a:b?.tif", "a_b_.tif"),
        ("nul.csv", "_nul.csv"),
        ("trailing. ", "trailing"),
        ("\u202egnp.exe", "_gnp.exe"),
        ("", "_"),
        ("..", "_"),
        ("\ud800.tif", "_.tif"),
    ],
)
def test_names_are_safe_wherever_it_is_unpacked(name, plain):
    assert safe(name) == plain
    assert len(safe(name + "x" * 500 + ".tif").rpartition("/")[2]) <= 200
    assert "/" not in bundle_name(name)
