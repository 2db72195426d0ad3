"""What an operator's word makes of a job, as pure functions: retry, release, cancel, apply a task again."""

from contracts import events as ev
from contracts.errors import Conflict, TooEarly
from contracts.models import FINAL, ErrorDetails, Files, Job, PipelineDetails, Round, State, Trouble
from contracts.states import enter, unprocessed
from contracts.submitted import check_sendable

MOST_ROUNDS = 20
"""So many earlier ends a job remembers; files of still earlier ones lie in the archive under the job's id."""
APART = 1_000_000
"""ns between the beginnings of two rounds at least, whatever the clock does: names in the archive differ by it."""
GIVEN_UP = (State.FAILED, State.QUARANTINED)
APPLICABLE = (State.UNMATCHED, State.COMPLETE, *GIVEN_UP)
"""States of jobs to which a task may be applied."""


def released(job: Job, _fact: ev.JobReleased, _at: int) -> Job:
    """A job that was given up or cancelled, back where it stood. Raises ``Conflict`` for any other."""
    if job.state not in (*GIVEN_UP, State.CANCELLED) or job.held_state is None:
        raise Conflict(f"job {job.id} is {job.state}: only a failed, quarantined or cancelled job can be released")
    return _back(job, job.held_state)


def retried(job: Job, fact: ev.JobRetried, at: int) -> Job:
    """A job that waits out its back-off may be worked on at once; one whose pipeline is silent is launched anew; one
    that was given up is released. Raises ``Conflict`` for one that ended in another way."""
    if job.state in GIVEN_UP and job.held_state is not None:
        return _back(job, job.held_state)
    if job.state in FINAL:
        remedy = "release it" if job.state is State.CANCELLED else "apply a task to it"
        raise Conflict(f"job {job.id} is {job.state}: there is nothing to retry; {remedy}")
    if job.not_before > at:
        return job.evolve(not_before=0)
    if job.state is State.RUNNING and not job.lease_holder and job.lease_until > at:
        return _back(job, State.RUNNING).evolve(failures=job.failures)
    return job


def _back(job: Job, to: State) -> Job:
    """The job in an earlier state, with all that was held against it forgiven."""
    _check_settled(job)
    file, details = job.input_file, job.pipeline_details
    if to in (State.RUNNING, State.PROCESSED) or job.files is Files.REMOVED:
        # It is launched anew: a pipeline that does not claim its jobs must be told again.
        to = State.RECEIVED
        details = unprocessed(job)
    if job.files is Files.REMOVED:
        # Retention has removed its image: the instrument is to send it again.
        check_sendable(job)
        to, file = State.SENDING, file.evolve(hostname=job.origin_host, dir_name=job.origin_dir)
    if to is State.CREATED:
        to = State.SENDING  # the instrument has closed its file, and looks only for jobs that it is to send
    fresh = {"spared": job.attempts, "files": Files.HERE}
    return enter(job, to, pipeline_details=details, input_file=file, **fresh)


def _check_settled(job: Job) -> None:
    if job.files is Files.REMOVING:
        raise TooEarly(f"the files of job {job.id} are being removed; try again in a moment")


def cancelled(job: Job, fact: ev.JobCancelled, _at: int) -> Job:
    """The end of a job on its way; who ended it stands in the reason. Raises ``Conflict`` for one that has ended."""
    if job.state is State.CANCELLED:
        return job
    if job.state in FINAL:
        raise Conflict(f"job {job.id} is {job.state}: only a job on its way can be cancelled")
    reason = f"cancelled by {fact.by}" + (f": {fact.reason}" if fact.reason else "")
    details = ErrorDetails(owner=job.owner, error=Trouble.CANCELLED)
    return enter(job, State.CANCELLED, error_details=details, reason=reason, held_state=job.state)


def applied(job: Job, fact: ev.TaskApplied, at: int) -> Job:
    """A job that has ended, on its way again for a task. One on its way, or to which this version of the task was
    applied before, stays as it is. Raises ``Conflict`` for a job whose file nobody can send again."""
    if job.state is State.CANCELLED:
        raise Conflict(f"job {job.id} is cancelled: release it instead")
    if job.state not in APPLICABLE or _had(job, fact):
        return job
    _check_settled(job)
    file = job.input_file
    came = job.batch or (job.origin_host and file.hostname != job.origin_host)
    here = bool(came) and not file.archive_name and not job.files
    if not here:
        check_sendable(job)
    if not here and not job.origin_host:
        raise Conflict(f"job {job.id} does not say which instrument has its file: copy the file in again")
    place = {} if here else {"hostname": job.origin_host, "dir_name": job.origin_dir}
    earlier = job.earlier if job.state is State.UNMATCHED else (*job.earlier, _round(job))
    return enter(
        job,
        State.RECEIVED if here else State.SENDING,
        input_file=file.evolve(archive_name="", viewable="", **place),
        pipeline_details=PipelineDetails(),
        verification=0,
        spared=job.attempts,
        files=Files.HERE,
        applied_task=fact.task_id,
        applied_version=fact.version,
        begun=max(at, job.last_updated + APART),
        earlier=earlier[-MOST_ROUNDS:],
    )


def _had(job: Job, fact: ev.TaskApplied) -> bool:
    """Whether the job was processed by, or is on record for, this version of the task."""
    versions = {(job.applied_task, job.applied_version)}
    for details in (job.pipeline_details, *(one.pipeline_details for one in job.earlier)):
        # Jobs that were launched before versions were written down: a task older than the job is the one they had.
        version = details.task_version or (fact.version if 0 < fact.version <= job.created else 0)
        versions.add((details.task_id, version))
    return (fact.task_id, fact.version) in versions


def _round(job: Job) -> Round:
    return Round(
        state=job.state,
        ended=job.last_updated,
        input_file=job.input_file,
        pipeline_details=job.pipeline_details,
        verification=job.verification,
    )


def restorable(job: Job) -> bool:
    """Whether a job is on its way again that had been complete."""
    return bool(job.applied_task and job.earlier) and job.earlier[-1].state is State.COMPLETE


def restored(job: Job, reason: str) -> Job:
    """A job that was complete, and is so still: the task could not be applied to it. It may be tried again."""
    last = job.earlier[-1]
    return enter(
        job,
        State.COMPLETE,
        reason=f"a task could not be applied, the results are those from before: {reason}",
        input_file=last.input_file,
        pipeline_details=last.pipeline_details,
        verification=last.verification,
        applied_task="",
        applied_version=0,
        earlier=job.earlier[:-1],
    )
