"""Where a job's files lie, for those who may have them."""

from pathlib import Path

from contracts.errors import Conflict, Gone
from contracts.models import Job, OutputFile, OutputStatus, State
from gateway.files import GatewayFiles, archived_path, output_path, own_place


def input_of(job: Job, files: GatewayFiles) -> Path:
    """Where a job's input lies: in the archive, or, where nothing was archived yet, as it was received."""
    file = job.input_file
    return archived_path(file, files.archive) if file.archive_name else files.input_path(file)


def place_of(job: Job, output: OutputFile, files: GatewayFiles) -> Path:
    """Where an output lies. Raises ``Conflict`` for one that was not found to be the job's own, or as ``own_place``."""
    if output.archive_name:
        return archived_path(output, files.archive)
    if output.status == OutputStatus.INVALID or job.state in (State.RUNNING, State.PROCESSED):
        raise Conflict(
            f"output {output.name!r} of job {job.id} is not confirmed, and not sent: {job.reason or job.state}"
        )
    folder = job.pipeline_details.output_folder
    return own_place(output, folder, files.root) if folder else output_path(output, (files.root,))


def check_kept(job: Job) -> None:
    """Raises ``Gone`` where retention has removed a job's files."""
    if job.files:
        raise Gone(
            f"the files of job {job.id} were removed by retention (gateway.retention); what the job says of them stays"
        )
