"""What is different of a job whose file a person submitted at the gateway, as pure functions."""

from contracts import events as ev
from contracts.errors import Conflict
from contracts.models import Job, State
from contracts.states import enter


def submitted(fact: ev.JobSubmitted, at: int) -> Job:
    """The new job. Its file is there already: no instrument is waited for."""
    file = fact.input_file
    job = Job(
        id=fact.job_id,
        input_file=file,
        origin_host=file.hostname,
        origin_dir=fact.folder,
        created=at,
        batch=fact.batch,
        applied_task=fact.task_id,
    )
    return enter(job, State.RECEIVED)


def with_results(job: Job) -> State:
    """The state in which a job goes on that has outputs: those of a submitted file are where they belong."""
    return State.DELIVERED if job.batch else State.DELIVERING


def check_sendable(job: Job) -> None:
    """Raises ``Conflict`` for a job whose file would have to be sent again, and that nobody has."""
    if job.batch:
        raise Conflict(
            f"the image of job {job.id} was submitted by hand and lies no longer where pipelines take it from:"
            " submit the file once more, in a new batch"
        )
