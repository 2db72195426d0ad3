"""A gateway to which people submit files: its repository, its receiver and its sender, with a client."""

import base64
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tifffile

from contracts import events as ev
from contracts import transfer
from contracts.batches import HttpBatches
from contracts.client import HttpJobs
from contracts.hosting import app_of
from contracts.models import Job, OutputFile
from contracts.ports import JobQuery
from gateway.batches.service import BatchRoutes
from gateway.batches.store import BatchStore
from gateway.file_receiver.admission import Admission
from gateway.file_receiver.service import FileReceiver
from gateway.job_repository.service import JobRepository
from gateway.submission.rules import Limits
from gateway.submission.service import Submissions
from tests.support.house import House
from tests.support.waiting import eventually

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": transfer.MEDIA_TYPE}


def image(seed: int = 0, size: int = 16) -> bytes:
    """A small TIFF."""
    made = io.BytesIO()
    tifffile.imwrite(made, np.random.default_rng(seed).integers(0, 4000, (size, size), dtype=np.uint16))
    return made.getvalue()


def packed(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


class Desk:
    """Where somebody submits."""

    def __init__(self, house: House, receiver: FileReceiver, repository: JobRepository, client: httpx.AsyncClient):
        self.house, self.receiver, self.repository, self.client = house, receiver, repository, client

    async def batch(self, **said: str) -> str:
        answer = await self.house.call(
            self.repository, "POST", "/api/v1/batches", json={k.title(): v for k, v in said.items()}
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["Id"]

    async def create(
        self, batch: str, name: str, content: bytes, body: bytes = b"", *, length: int | None = None, **more: str
    ) -> httpx.Response:
        told = transfer.format_metadata({"batch": batch, "filename": name, "modified": "1700000000000", **more})
        headers = {"Upload-Length": str(len(content) if length is None else length), "Upload-Metadata": told}
        headers |= BODY if body else TUS
        return await self.client.post("/api/v1/submissions", headers=headers, content=body)

    async def patch(self, url: str, offset: int, body: bytes, **headers: str) -> httpx.Response:
        checksum = "sha256 " + base64.b64encode(hashlib.sha256(body).digest()).decode()
        return await self.client.patch(
            url, headers={**BODY, "Upload-Offset": str(offset), "Upload-Checksum": checksum, **headers}, content=body
        )

    async def submit(self, batch: str, name: str, content: bytes) -> httpx.Response:
        """The whole file at once."""
        return await self.create(batch, name, content, content)

    async def told(self, batch: str) -> dict[str, Any]:
        return (await self.house.call(self.repository, "GET", f"/api/v1/batches/{batch}")).json()

    async def jobs(self, batch: str) -> list[Job]:
        return list((await self.house.store.find(JobQuery(batch=batch, newest_first=False))).jobs)

    async def entries(self, batch: str) -> dict[str, tuple[str, str]]:
        return {one["Name"]: (one["What"], one["Said"]) for one in (await self.told(batch))["Entries"]}

    async def unpacked(self, batch: str, name: str) -> dict[str, tuple[str, str]]:
        """What is told of a batch once an archive of it is dealt with."""

        async def done() -> bool:
            found = (await self.entries(batch)).get(name)
            return found is not None and found[0] != "unpacking"

        await eventually(done)
        return await self.entries(batch)


@asynccontextmanager
async def desk_in(
    house: House, *, admission: Admission | None = None, limits: Limits | None = None, apart: bool = False
) -> AsyncIterator[Desk]:
    """Running; a house may have several, one after the other, as if it were started anew. ``apart``: the receiver
    reaches the repository over HTTP."""
    database = house.database
    batches = BatchStore(database.writer, database.readers, house.clock)
    repository = JobRepository(house.store, house.outbox_store, house.bus, house.clock, beside=BatchRoutes(batches))
    over = httpx.AsyncClient(transport=httpx.ASGITransport(app_of(repository)), base_url="http://there")
    async with over:
        jobs, told = (HttpJobs(over), HttpBatches(over)) if apart else (repository, batches)
        folder, bounds = house.files.input, limits or Limits()
        submissions = Submissions(jobs, told, folder, "gateway", admission=admission, limits=bounds)
        receiver = FileReceiver(jobs, folder, "gateway", beside=submissions)
        transport = httpx.ASGITransport(app_of(receiver))
        async with receiver.running(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield Desk(house, receiver, repository, client)


async def processed(house: House, job: Job, outputs: Mapping[str, bytes], folder: Path | None = None) -> Job:
    """The job with these outputs, archived: as the launcher, a pipeline and the sender do it."""
    folder = folder or house.files.output / job.id
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, content in outputs.items():
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        made.append(OutputFile(dir_name=str(folder), name=name, extension=".x", sha256=digest, size=len(content)))
    told = {"job_id": job.id, "by": "test"}
    facts = [
        ev.PipelineRequested(
            **told, task_id="t", pipeline_id="p", output_host="gateway", output_folder=str(folder), launch="l"
        ),
        ev.PipelineReported(
            **told, task_id="t", status="PipelineComplete", outputs=tuple(made), results='{"count": 3}'
        ),
        ev.PipelineConfirmed(**told),
    ]
    for verdict in await house.store.apply(facts):
        assert not verdict.error, verdict.error
    await house.sender.archive((await house.store.get(job.id),))
    return await house.store.get(job.id)
