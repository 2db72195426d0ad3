"""What a pipeline has named as its job's outputs: whether it may, and what is there."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import AppError, Conflict, NotFound
from contracts.models import Job, OutputFile
from contracts.ports import JobQuery, Jobs
from gateway.files import GatewayFiles, Stray, belongs, inspected, invalid


@dataclass(frozen=True)
class Looked:
    """The outputs, with digests filled in; why some cannot be sent, and why some are not the job's to name."""

    outputs: tuple[OutputFile, ...]
    missing: tuple[str, ...] = ()
    refused: AppError | None = None


class Outputs:
    """Looks at outputs. Folders are shared by jobs (the contract's pipelines are told their task's): what lies in one
    may be another job's."""

    def __init__(self, jobs: Jobs, files: GatewayFiles) -> None:
        self._jobs, self._files = jobs, files

    async def look(self, job: Job) -> Looked:
        """What a job's pipeline has reported. Raises ``Unavailable`` where the repository does not answer."""
        folder = job.pipeline_details.output_folder or str(self._files.root)
        found: list[OutputFile] = []
        missing: list[str] = []
        refused: AppError | None = None
        for said in job.pipeline_details.output_files or ():
            file = said.evolve(dir_name=said.dir_name or folder)
            try:
                file, reason = await asyncio.to_thread(inspected, file, folder, self._files.root)
                if not reason:
                    await self._check_whose(job, file, folder)
            except (Stray, Conflict) as error:
                refused, reason, file = refused or error, f"{file.name} ({error})", invalid(file)
            found.append(file)
            missing += [reason] if reason else []
        return Looked(tuple(found), tuple(missing), refused)

    async def _check_whose(self, job: Job, file: OutputFile, folder: str) -> None:
        """Raises ``Conflict`` for the image of another job, or what lies in the subfolder of one. Outputs of others
        the repository knows."""
        place = Path(file.dir_name, file.name)
        level, among_images = await asyncio.to_thread(_situation, place, Path(folder), self._files.input)
        owner = await self._known(level) if level else None
        if owner is None and among_images:
            owner = await self._sent_as(place)
        if owner is not None and owner.id != job.id:
            raise belongs(str(place), owner.id)

    async def _known(self, job_id: str) -> Job | None:
        try:
            return await self._jobs.get(job_id)
        except NotFound:
            return None

    async def _sent_as(self, path: Path) -> Job | None:
        """The job whose image lies there."""
        after: int | None = None
        while True:
            page = await self._jobs.find(JobQuery(name_contains=path.name, after=after))
            unmoved = [job for job in page.jobs if job.input_file.name == path.name and not job.input_file.archive_name]
            for job in unmoved:
                if await asyncio.to_thread(Path(job.input_file.dir_name).resolve) == path.parent:
                    return job
            after = page.next
            if after is None:
                return None


def _situation(place: Path, folder: Path, images: Path) -> tuple[str, bool]:
    """The subfolder of a job's folder in which a file lies (empty: in none), and whether it lies among images."""
    levels = place.parent.relative_to(folder.resolve()).parts
    return levels[0] if levels else "", place.is_relative_to(images.resolve())
