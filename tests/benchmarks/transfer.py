"""Measures upload and download of one file against a local copy, and small files a second: transfer.py [MiB]."""

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

import httpx
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import disk
from contracts.hosting import app_of
from contracts.models import InputFile, Job
from edge.file_receiver.download import fetch
from edge.file_sender.upload import upload
from gateway.file_receiver.service import FileReceiver
from gateway.file_sender.serving import file_response
from tests.support.jobs import FakeJobs
from tests.support.serving import listening

SMALL = 500


class Shelf(FileReceiver):
    """The file receiver, which here also hands out one file."""

    source = Path()
    digest = ""

    def routes(self) -> list[BaseRoute]:
        return [*super().routes(), Route("/source", self.serve)]

    async def serve(self, request: Request) -> Response:
        return await file_response(request, self.source, self.digest)


def copied(source: Path, target: Path) -> float:
    """Seconds for a copy that is synced."""
    began = time.perf_counter()
    shutil.copyfile(source, target)
    disk.sync_file(target)
    took = time.perf_counter() - began
    target.unlink()
    return took


async def timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def big(client: httpx.AsyncClient, jobs: FakeJobs, shelf: Shelf, folder: Path, how: str) -> None:
    size = shelf.source.stat().st_size
    for turn in range(3):
        copy = copied(shelf.source, folder / "copy")
        job_id = f"{how}-{turn}"
        jobs.jobs[job_id] = Job(id=job_id, input_file=InputFile(name="big.bin"))
        told = {"job_id": job_id, "name": "big.bin", "folder": job_id, "sha256": shelf.digest, "size": size}
        up = await timed(upload(client, shelf.source, **told))  # type: ignore[arg-type]
        shutil.rmtree(folder / "files" / job_id)
        down = await timed(fetch(client, "/source", folder / "part", sha256=shelf.digest, size=size))
        (folder / "part").unlink()
        rates = "  ".join(
            f"{name} {size / took / 1e6:6.0f} MB/s ({copy / took:.2f})"
            for name, took in (("copy+sync", copy), ("upload", up), ("download", down))
        )
        sys.stdout.write(f"{how:10} {rates}\n")


async def small(client: httpx.AsyncClient, jobs: FakeJobs, folder: Path, how: str, hands: int) -> None:
    waiting = []
    for n in range(SMALL):
        path = folder / "small" / f"{how}-{hands}-{n}.tif"
        path.write_bytes(os.urandom(10_000))
        jobs.jobs[path.name] = Job(id=path.name, input_file=InputFile(name=path.name))
        waiting.append((path, hashlib.sha256(path.read_bytes()).hexdigest()))

    async def hand() -> None:
        while waiting:
            path, digest = waiting.pop()
            await upload(client, path, job_id=path.name, name=path.name, folder="s", sha256=digest, size=10_000)

    took = await timed(asyncio.gather(*(hand() for _ in range(hands))))
    sys.stdout.write(f"{how:10} {SMALL / took:6.0f} files of 10 kB a second, {hands} at a time\n")


async def main(mebibytes: int) -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        (folder / "small").mkdir()
        jobs = FakeJobs()
        shelf = Shelf(jobs, folder / "files", "gateway")
        shelf.source = folder / "source"
        block = os.urandom(2**20)
        with shelf.source.open("wb") as file:
            for n in range(mebibytes):
                file.write(n.to_bytes(8, "big") + block[8:])
        shelf.digest = disk.sha256_of(shelf.source)
        async with listening(shelf) as port:
            local = httpx.ASGITransport(app_of(shelf))
            for how, transport, url in (
                ("in process", local, "http://here"),
                ("uvicorn", None, f"http://127.0.0.1:{port}"),
            ):
                async with httpx.AsyncClient(transport=transport, base_url=url, timeout=60) as client:
                    await big(client, jobs, shelf, folder, how)
                    for hands in (1, 8):
                        await small(client, jobs, folder, how, hands)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 512))
