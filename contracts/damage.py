"""What becomes of a job one of whose files is found damaged on the gateway, as pure functions."""

from contracts import events as ev
from contracts.models import Job, State, Trouble
from contracts.states import MAX_ATTEMPTS, enter, gave_up, unprocessed


def input_damaged(job: Job, fact: ev.InputDamaged, _at: int) -> Job:
    """The instrument is to send its file again."""
    if job.state is State.RUNNING and (job.lease_holder, job.attempts) != (fact.worker, fact.attempt):
        return job  # another run has it, and looks for itself
    attempts = job.attempts + (job.state is State.RECEIVED)
    if job.origin_host in ("", job.input_file.hostname) or _too_often(job, attempts):
        # Nobody can send it again, or it was sent so often that the disk here is to blame.
        return gave_up(job, State.QUARANTINED, Trouble.VALIDATE_FILE, fact.reason, fact.by)
    file = job.input_file.evolve(hostname=job.origin_host, dir_name=job.origin_dir)
    return enter(job, State.SENDING, input_file=file, reason=fact.reason, attempts=attempts)


def output_damaged(job: Job, fact: ev.OutputDamaged, _at: int) -> Job:
    """The pipeline is to make its outputs again, of the image, which is here until they are delivered."""
    if job.attempts != fact.attempt:
        return job  # they have been made again meanwhile
    attempts = job.attempts + 1
    if _too_often(job, attempts):
        return gave_up(job, State.QUARANTINED, Trouble.VALIDATE_FILE, fact.reason, fact.by)
    return enter(job, State.RECEIVED, pipeline_details=unprocessed(job), reason=fact.reason, attempts=attempts)


def _too_often(job: Job, attempts: int) -> bool:
    return attempts - job.spared >= MAX_ATTEMPTS
