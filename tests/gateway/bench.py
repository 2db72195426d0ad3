"""A file receiver, the jobs it knows, and who sends to it."""

import hashlib
import uuid
from pathlib import Path

import httpx

from contracts import transfer
from contracts.errors import Unavailable
from contracts.models import InputFile, Job, State
from tests.support.jobs import FakeJobs

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": transfer.MEDIA_TYPE}
AWAY = Unavailable("the repository is away")


class Bench:
    """A receiver, its jobs and a client."""

    def __init__(self, client: httpx.AsyncClient, jobs: FakeJobs, folder: Path) -> None:
        self.client, self.jobs, self.folder = client, jobs, folder

    def job(self, name: str = "a.tif", **file: object) -> str:
        job_id = str(uuid.uuid4())
        told = InputFile.model_validate({"name": name, **file})
        self.jobs.jobs[job_id] = Job(id=job_id, state=State.SENDING, input_file=told)
        return job_id

    async def create(
        self, job_id: str, content: bytes, *, body: bytes = b"", headers: dict[str, str] | None = None, **told: str
    ) -> httpx.Response:
        metadata = {"jobid": job_id, "sha256": hashlib.sha256(content).hexdigest(), "folder": "", **told}
        fixed = {"Upload-Length": str(len(content)), "Upload-Metadata": transfer.format_metadata(metadata)}
        return await self.client.post(
            "/api/v1/files", headers={**(BODY if body else TUS), **fixed, **(headers or {})}, content=body
        )

    async def patch(self, url: str, offset: int, body: bytes, **headers: str) -> httpx.Response:
        return await self.client.patch(url, headers={**BODY, "Upload-Offset": str(offset), **headers}, content=body)

    def files(self) -> dict[str, bytes]:
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}
