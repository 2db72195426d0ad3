"""Uploads over bad lines: cut, damaged, killed and resumed; the gateway ends up with exactly the file."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from contracts.errors import AppError, Conflict, Full, NotFound, Rejected, Unavailable
from contracts.hosting import app_of
from contracts.models import InputFile, Job, State
from edge.file_sender.upload import SourceChanged, SourceGone, upload
from gateway.file_receiver.service import FileReceiver
from tests.support.jobs import FakeJobs
from tests.support.proxy import Fault, Proxy, proxied
from tests.support.serving import Program, listening

ROOT = Path(__file__).parents[2]
CHUNK = 256 * 1024


def told(content: bytes, job_id: str = "j", name: str = "a.tif") -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    return {"job_id": job_id, "name": name, "folder": "sub", "sha256": digest, "size": len(content), "chunk": CHUNK}


def sending(job_id: str = "j", name: str = "a.tif") -> Job:
    return Job(id=job_id, state=State.SENDING, input_file=InputFile(name=name))


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs(sending())


@pytest.fixture
async def port(jobs: FakeJobs, tmp_path: Path) -> AsyncIterator[int]:
    async with listening(FileReceiver(jobs, tmp_path / "files", "gateway")) as port:
        yield port


@pytest.fixture
async def client(port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17])
async def test_a_file_of_any_size(client: httpx.AsyncClient, tmp_path: Path, jobs: FakeJobs, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "source").write_bytes(content)
    heard: list[int] = []

    await upload(client, tmp_path / "source", **told(content), on_progress=heard.append)

    assert (tmp_path / "files" / "sub" / "a.tif").read_bytes() == content
    assert jobs.jobs["j"].state is State.RECEIVED
    assert heard == sorted(set(heard))
    assert heard[-1:] == ([size] if size else [])


async def test_in_process_it_is_the_same(tmp_path: Path, jobs: FakeJobs) -> None:
    content = os.urandom(3 * CHUNK)
    (tmp_path / "source").write_bytes(content)
    service = FileReceiver(jobs, tmp_path / "files", "gateway")
    transport = httpx.ASGITransport(app_of(service))
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        await upload(client, tmp_path / "source", **told(content))
        await upload(client, tmp_path / "source", **told(content))

    assert (tmp_path / "files" / "sub" / "a.tif").read_bytes() == content


@pytest.mark.parametrize(("kind", "upwards"), [("cut", True), ("cut", False), ("flip", True)])
@pytest.mark.parametrize("seed", range(3))
async def test_over_a_bad_line(port: int, tmp_path: Path, jobs: FakeJobs, kind: str, upwards: bool, seed: int) -> None:
    content = random.Random(seed).randbytes(12 * CHUNK + 5)
    (tmp_path / "source").write_bytes(content)
    lengths = random.Random(seed).choices(range(2_000 if upwards else 100, 2 * CHUNK if upwards else 800), k=6)
    async with proxied(port, [Fault(kind, after, upwards) for after in lengths]) as proxy, calling(proxy) as client:
        await until_through(client, tmp_path / "source", content)

    assert (tmp_path / "files" / "sub" / "a.tif").read_bytes() == content
    assert proxy.struck > 0
    assert proxy.sent_up <= len(content) + proxy.struck * CHUNK + 200 * 600


def calling(proxy: Proxy) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=proxy.url, timeout=30)


async def until_through(client: httpx.AsyncClient, path: Path, content: bytes, tries: int = 20) -> None:
    """As the file sender does, without its pauses."""
    for _ in range(tries):
        try:
            await upload(client, path, **told(content))
        except Unavailable:
            continue
        return
    pytest.fail("not through after so many tries")


async def test_a_line_that_always_cuts_within_a_chunk_gets_smaller_ones(port: int, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "source").write_bytes(content)
    async with proxied(port, [Fault("cut", 150_000)] * 1000) as proxy, calling(proxy) as client:
        await until_through(client, tmp_path / "source", content)

    assert (tmp_path / "files" / "sub" / "a.tif").read_bytes() == content


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as client:
        with pytest.raises(Unavailable, match="no way"):
            await upload(client, tmp_path / "source", **told(b"x"))


async def test_a_receiver_that_is_killed_and_started_again_goes_on(tmp_path: Path) -> None:
    content = os.urandom(40 * CHUNK)
    (tmp_path / "source").write_bytes(content)
    arguments = ("-m", "tests.support.receiving", str(tmp_path / "files"), "a.tif", "j")
    reached: list[int] = []
    sent_up = 0
    for kill_at in (10 * CHUNK, 25 * CHUNK, None):
        program = Program(*arguments, folder=ROOT)
        await program.start()
        far = asyncio.Event()

        def heard(offset: int, at: int | None = kill_at, far: asyncio.Event = far) -> None:
            reached.append(offset)
            if at is not None and offset >= at:
                far.set()

        async with proxied(program.port) as proxy, calling(proxy) as client:
            going = asyncio.create_task(upload(client, tmp_path / "source", **told(content), on_progress=heard))
            if kill_at is None:
                await going
                await program.kill()
            else:
                await far.wait()
                await program.kill()
                with pytest.raises(Unavailable):
                    await going
            sent_up += proxy.sent_up

    assert (tmp_path / "files" / "sub" / "a.tif").read_bytes() == content
    assert reached == sorted(reached)
    assert sent_up <= len(content) + 2 * CHUNK + 100 * 600


async def test_a_changed_source_is_found_out(client: httpx.AsyncClient, tmp_path: Path, jobs: FakeJobs) -> None:
    content = os.urandom(4 * CHUNK)
    path = tmp_path / "source"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SourceChanged):
        await upload(client, path, **told(content))
    path.write_bytes(content[:-1])
    with pytest.raises(SourceChanged, match="bytes now"):
        await upload(client, path, **told(content))
    path.write_bytes(b"y")
    with pytest.raises(SourceChanged):
        await upload(client, path, **told(b"x"))

    assert jobs.jobs["j"].state is State.SENDING
    assert not (tmp_path / "files" / "sub").exists()


async def test_a_source_that_changes_on_the_way_is_found_out(client: httpx.AsyncClient, tmp_path: Path) -> None:
    content = os.urandom(4 * CHUNK)
    path = tmp_path / "source"
    path.write_bytes(content)

    def meddle(_offset: int) -> None:
        path.write_bytes(b"z" * len(content))

    with pytest.raises(SourceChanged):
        await upload(client, path, **told(content), on_progress=meddle)


async def test_a_source_that_is_only_touched_is_not_changed(client: httpx.AsyncClient, tmp_path: Path) -> None:
    content = os.urandom(4 * CHUNK)
    path = tmp_path / "source"
    path.write_bytes(content)

    await upload(client, path, **told(content), on_progress=lambda offset: os.utime(path, (offset, offset)))

    assert (tmp_path / "files" / "sub" / "a.tif").read_bytes() == content


async def test_a_source_that_is_gone(client: httpx.AsyncClient, tmp_path: Path) -> None:
    with pytest.raises(SourceGone):
        await upload(client, tmp_path / "source", **told(b"x"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(507, Full), (503, Unavailable), (404, NotFound), (409, Conflict), (400, Rejected), (422, Rejected)],
)
async def test_what_the_receiver_answers_becomes_an_error(tmp_path: Path, status: int, kind: type[AppError]) -> None:
    (tmp_path / "source").write_bytes(b"x")
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, text="because"))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        with pytest.raises(kind, match="because") as caught:
            await upload(client, tmp_path / "source", **told(b"x"))
    assert type(caught.value) is kind


async def test_a_receiver_that_never_gets_further_is_left_alone(tmp_path: Path) -> None:
    content = os.urandom(3 * CHUNK)
    (tmp_path / "source").write_bytes(content)

    def stubborn(request: httpx.Request) -> httpx.Response:
        status = 201 if request.method == "POST" else 204
        return httpx.Response(status, headers={"Upload-Offset": "0", "Location": "/x"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(stubborn), base_url="http://here") as client:
        with pytest.raises(Unavailable, match="stuck"):
            await upload(client, tmp_path / "source", **told(content))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's memory from /proc")
@pytest.mark.parametrize("mebibytes", [192, pytest.param(4096, marks=pytest.mark.heavy)])
def test_memory_stays_flat(tmp_path: Path, mebibytes: int) -> None:
    """Both ends in one process, in ASGI and over TCP, may not grow by more than 64 MiB."""
    program = [sys.executable, "-m", "tests.support.flat", str(tmp_path), str(mebibytes)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)

    assert done.returncode == 0, done.stderr
    growth = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert set(growth) == {"tcp-up", "tcp-down", "asgi-up", "asgi-down"}
    assert max(growth.values()) < 64, growth
