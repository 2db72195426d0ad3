"""The files of one ended job, wherever on the gateway they lie. Blocking functions, but for those that ask."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from contracts.disk import bare_name, sha256_of, sync_folder
from contracts.errors import AppError
from contracts.models import FINAL, InputFile, Job, OutputFile, State, Verification
from contracts.ports import JobQuery, Jobs
from contracts.rules import EXPIRING
from gateway.file_sender.rules import reject_folder
from gateway.files import GatewayFiles, output_path

STAYING = tuple(state for state in State if state not in FINAL or state not in EXPIRING)
"""The states of jobs whose files are not touched, whoever else names them."""


async def belongings(job: Job, files: GatewayFiles, jobs: Jobs) -> set[Path]:
    """What may be removed with a job: nothing that another job still needs, nothing outside the gateway's folders."""
    mine = set(_archived(job, files))
    placed = {path for path in _placed(job, files) if path not in mine}
    if placed:
        names = {path.name for path in placed}
        for name in names:
            others = await _others(job, jobs, name, STAYING)
            placed -= {path for other in others for path in _placed(other, files)}
    if (copy := _reject_copy(job, files)) is not None:
        others = await _others(job, jobs, copy.name, (State.COMPLETE,))
        if not any(_reject_copy(other, files) == copy and not other.files for other in others):
            placed.add(copy)
    return mine | placed


async def _others(job: Job, jobs: Jobs, name: str, states: tuple[State, ...]) -> list[Job]:
    found, after = [], None
    while True:
        page = await jobs.find(JobQuery(states=states, name_contains=name, after=after))
        found += [one for one in page.jobs if one.id != job.id]
        after = page.next
        if after is None:
            return found


def _named(job: Job) -> list[InputFile | OutputFile]:
    """Also what was archived before a task was applied to the job again."""
    found: list[InputFile | OutputFile] = []
    for file, details in [(one.input_file, one.pipeline_details) for one in job.earlier] + [
        (job.input_file, job.pipeline_details)
    ]:
        found += [file, *(details.output_files or ())]
    return found


def _archived(job: Job, files: GatewayFiles) -> Iterator[Path]:
    home = files.archive.resolve()
    for file in _named(job):
        for name in {file.archive_name, file.viewable} - {""}:
            path = Path(name).resolve()
            # A client may write any path into a job; ours bear the job's id.
            if path.is_relative_to(home) and path != home and f"_archive_{job.id}_" in path.name:
                yield path


def _placed(job: Job, files: GatewayFiles) -> Iterator[Path]:
    """The image and the outputs of a job that was not archived."""
    for file in _named(job):
        if not file.archive_name:
            with contextlib.suppress(AppError):
                yield output_path(OutputFile(dir_name=file.dir_name, name=file.name), (files.input, files.output))


def _reject_copy(job: Job, files: GatewayFiles) -> Path | None:
    if job.verification != Verification.REJECTED:
        return None
    with contextlib.suppress(AppError):
        folder = bare_name(reject_folder(job.pipeline_details.pipeline_id))
        return files.reject / folder / bare_name(job.input_file.name)
    return None


def sizes(job: Job, paths: set[Path], files: GatewayFiles) -> dict[Path, int]:
    """The bytes of those that are there. A copy among the rejects must be the job's by its content."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_symlink() or not path.is_file():
                continue
            if path.is_relative_to(files.reject) and sha256_of(path) != job.input_file.sha256:
                continue
            found[path] = path.stat().st_size
    return found


def remove(paths: set[Path], files: GatewayFiles) -> None:
    """They are gone, durably, with folders of ours that held nothing else. Raises ``OSError``."""
    keep = {files.archive, files.input, files.output, files.reject}
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        if folder.is_dir():
            sync_folder(folder)
            if folder not in keep:
                with contextlib.suppress(OSError):
                    folder.rmdir()
