"""Sends and fetches a big sparse file and says by how many MiB memory has grown: flat.py FOLDER MEBIBYTES."""

import asyncio
import sys
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import disk
from contracts.hosting import app_of
from contracts.models import InputFile, Job, State
from edge.file_receiver.download import fetch
from edge.file_sender.upload import upload
from gateway.file_receiver.service import FileReceiver
from gateway.file_sender.serving import file_response
from tests.support.jobs import FakeJobs
from tests.support.serving import listening

MIB = 2**20


class Shelf(FileReceiver):
    """The file receiver, which here also hands out one file."""

    source = Path()
    digest = ""

    def routes(self) -> list[BaseRoute]:
        return [*super().routes(), Route("/source", self.serve)]

    async def serve(self, request: Request) -> Response:
        return await file_response(request, self.source, self.digest)


class Meter:
    """How far memory has risen above where it stood at the beginning (MiB), at its highest.

    Linux' own mark of this process: ``ru_maxrss`` would begin with the peak of the process that started it.
    """

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._start = _mark("VmRSS")

    def say(self, what: str) -> None:
        sys.stdout.write(f"{what} {_mark('VmHWM') - self._start}\n")


def _mark(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1024


async def rounds(client: httpx.AsyncClient, shelf: Shelf, folder: Path, how: str) -> None:
    size = shelf.source.stat().st_size
    meter = Meter()
    await upload(client, shelf.source, job_id=how, name="big", folder=how, sha256=shelf.digest, size=size)
    (folder / "files" / how / "big").unlink()
    meter.say(f"{how}-up")
    await fetch(client, "/source", folder / "part", sha256=shelf.digest, size=size)
    (folder / "part").unlink()
    meter.say(f"{how}-down")


async def main(folder: Path, mebibytes: int) -> None:
    jobs = FakeJobs(*(Job(id=how, state=State.SENDING, input_file=InputFile(name="big")) for how in ("tcp", "asgi")))
    shelf = Shelf(jobs, folder / "files", "gateway")
    shelf.source = folder / "source"
    with shelf.source.open("wb") as file:
        file.truncate(mebibytes * MIB)
    shelf.digest = disk.sha256_of(shelf.source)
    async with listening(shelf) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            await rounds(client, shelf, folder, "tcp")
        transport = httpx.ASGITransport(app_of(shelf))
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=600) as client:
            await rounds(client, shelf, folder, "asgi")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
