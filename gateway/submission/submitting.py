"""Makes jobs of submitted files."""

import asyncio
from pathlib import Path, PurePosixPath

from contracts.batches import Batches
from contracts.errors import NotFound, error_of
from contracts.events import JobSubmitted
from contracts.models import InputFile
from contracts.names import attributes_of
from contracts.ports import Jobs
from contracts.vendors import ANY_VENDOR
from gateway.submission.rules import job_id_of
from gateway.submission.spool import Spool, Submitted
from gateway.threads import finished


class Submitting:
    """A file becomes a job of its batch once, whoever brings it how often: by its name and content."""

    def __init__(self, jobs: Jobs, batches: Batches, spool: Spool, hostname: str) -> None:
        self._jobs, self._batches, self._spool, self._hostname = jobs, batches, spool, hostname
        self._tasks: dict[str, str] = {}

    async def submit(
        self, of: Submitted, folder: str, name: str, source: Path, sha256: str, size: int, *, as_well: bool = True
    ) -> None:
        """``source`` is whole and synced; ``as_well``: it stays there too, else it is gone afterwards. ``of`` is what
        was submitted: the file itself, or the archive it was in. Raises ``Unavailable`` where it is to be repeated."""
        job_id = job_id_of(of.job_id, folder, name, sha256)
        if await self._is_known(job_id):
            if not as_well:
                await asyncio.to_thread(source.unlink, missing_ok=True)
            return
        task = await self._task(of.job_id)
        target = await finished(asyncio.to_thread(self._spool.keep, source, job_id, name, as_well=as_well))
        attributes = attributes_of(f"{folder}/{name}" if folder else name, [ANY_VENDOR])
        if folder:
            attributes = {"folder": folder, **attributes}
        file = InputFile(
            hostname=self._hostname,
            dir_name=str(target.parent),
            name=name,
            extension=PurePosixPath(name).suffix,
            attributes=attributes,
            sha256=sha256,
            size=size,
        )
        fact = JobSubmitted(job_id=job_id, by=of.host, batch=of.job_id, task_id=task, folder=folder, input_file=file)
        (verdict,) = await self._jobs.report([fact])
        if verdict.status >= 400:
            refusal = error_of(verdict.status, verdict.error)
            if not refusal.retry:
                await asyncio.to_thread(self._spool.take_back, target)
            raise refusal
        if not verdict.changed and verdict.job is not None and verdict.job.input_file.archive_name:
            # Somebody else brought it at the same moment, and it is through already.
            await asyncio.to_thread(self._spool.take_back, target)

    async def _is_known(self, job_id: str) -> bool:
        try:
            await self._jobs.get(job_id)
        except NotFound:
            return False
        return True

    async def _task(self, batch_id: str) -> str:
        """The task chosen for a batch, which never changes."""
        if batch_id not in self._tasks:
            if len(self._tasks) > 1000:
                self._tasks.clear()
            self._tasks[batch_id] = (await self._batches.get(batch_id)).task
        return self._tasks[batch_id]
