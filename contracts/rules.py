"""The job's life as pure functions: what a fact makes of a job, and what may not happen.

Facts may come twice, late or early. Twice or late changes nothing; early is ``TooEarly`` (tell it again);
what can never be is ``Conflict``.
"""

from collections.abc import Callable

from contracts import events as ev
from contracts.damage import input_damaged, output_damaged
from contracts.errors import Conflict, NotFound, TooEarly
from contracts.models import (
    FINAL,
    ErrorDetails,
    Files,
    Job,
    OutputStatus,
    Owner,
    PipelineStatus,
    State,
    Trouble,
)
from contracts.operations import applied, cancelled, released, restorable, restored, retried
from contracts.states import ENDED, MAX_ATTEMPTS, MAX_FAILURES, RANK, WORDS, enter, gave_up
from contracts.submitted import submitted, with_results

FARTHEST = 15 * 60 * 10**9
"""ns; longer than the longest pause before a step is tried again. Whatever would have to wait longer waits only
because a clock was wrong when its time was set, or has been put right since: it is due."""

NEEDS: dict[type[ev.Reported], tuple[State, ...]] = {
    ev.TransferStarted: (State.CREATED,),
    ev.JobUnmatched: (State.CREATED, State.RECEIVED),
    ev.InputDelivered: (State.CREATED, State.SENDING),
    ev.InputDamaged: (State.RECEIVED, State.RUNNING),
    ev.OutputDamaged: (State.PROCESSED, State.DELIVERING),
    ev.PipelineRequested: (State.RECEIVED, State.RUNNING),
    ev.PipelineStarted: (State.RUNNING,),
    ev.PipelineReported: (State.RUNNING, State.PROCESSED),
    ev.PipelineConfirmed: (State.PROCESSED,),
    ev.OutputsDelivered: (State.DELIVERING,),
    ev.OutputsArchived: (State.DELIVERED, State.DELIVERING),
}
"""In which states a fact has something to say."""


def advance(job: Job | None, fact: ev.Fact, at: int) -> Job:
    """What a job becomes when a fact is reported at a time (ns since the epoch).

    Raises ``NotFound`` for a job that does not exist, ``TooEarly`` for a fact that came before its turn and
    ``Conflict`` for one that contradicts the job.
    """
    if isinstance(fact, ev.JobCreated):
        return job if job is not None else _created(fact, at)
    if isinstance(fact, ev.JobSubmitted):
        return job if job is not None else submitted(fact, at)
    if job is None:
        raise NotFound(f"{fact.kind}: no job {fact.job_id}")
    if type(fact) in NEEDS and not _its_turn(job, fact):
        return job
    changed: Job = DECISIONS[type(fact)](job, fact, at)
    return job if changed == job else changed


def _its_turn(job: Job, fact: ev.Fact) -> bool:
    """Whether a fact has something to say now; False when its time has passed."""
    needs = NEEDS[type(fact)]
    if job.state in needs:
        return True
    if job.state in FINAL or RANK[job.state] > RANK[needs[-1]]:
        return False
    raise TooEarly(f"{fact.kind}: job {job.id} is still {job.state}")


def is_open(job: Job, launch: str) -> bool:
    """Whether a pipeline that was told of the job in this launch may still report on it."""
    return job.pipeline_details.launch == launch and job.state in NEEDS[ev.PipelineReported]


def _created(fact: ev.JobCreated, at: int) -> Job:
    file = fact.input_file
    job = Job(id=fact.job_id, input_file=file, origin_host=file.hostname, origin_dir=file.dir_name, created=at)
    return enter(job, State.CREATED)


def _unmatched(job: Job, fact: ev.JobUnmatched, _at: int) -> Job:
    if restorable(job):
        return restored(job, "no task wants this file any more")
    details = ErrorDetails(owner=fact.by, error=Trouble.NO_TASK)
    return enter(job, State.UNMATCHED, error_details=details, reason="no task's rule matches this file")


def _delivered_input(job: Job, fact: ev.InputDelivered, _at: int) -> Job:
    known = job.input_file.sha256
    if known and known != fact.sha256:
        raise Conflict(f"job {job.id} is for content {known[:12]}…, but {fact.sha256[:12]}… was delivered")
    place = {"hostname": fact.hostname, "dir_name": fact.dir_name, "sha256": fact.sha256, "size": fact.size}
    return enter(job, State.RECEIVED, input_file=job.input_file.evolve(**place))


def _requested(job: Job, fact: ev.PipelineRequested, at: int) -> Job:
    if job.state is State.RUNNING:
        # Two launchers may have looked at the same time: the pipeline is told by the first of them only.
        told = job.lease_until > at and not fact.again
        if job.lease_holder or not fact.lease_until or told:
            return job
    details = job.pipeline_details.evolve(
        task_id=fact.task_id,
        status=str(PipelineStatus.PROCESSING),
        output_file_host=fact.output_host,
        pipeline_id=fact.pipeline_id,
        output_folder=fact.output_folder,
        parameters=dict(fact.parameters),
        launch=fact.launch,
        task_version=fact.task_version,
    )
    running = enter(job, State.RUNNING, pipeline_details=details, lease_until=fact.lease_until)
    if job.state is State.RUNNING:
        return running.evolve(failures=job.failures, error_details=job.error_details, reason=job.reason)
    return running


def _started(job: Job, fact: ev.PipelineStarted, at: int) -> Job:
    until = at + int(fact.seconds * 1e9) if fact.seconds else fact.lease_until
    if job.lease_holder and job.lease_holder != fact.worker and job.lease_until > at:
        raise Conflict(f"job {job.id} is being worked on by {job.lease_holder}")
    if until <= at:
        return job  # it comes so late that nothing is left of the lease
    again = job.lease_holder == fact.worker and job.lease_until > at
    if again:
        return job.evolve(lease_until=max(job.lease_until, until))
    if job.attempts - job.spared >= MAX_ATTEMPTS:
        reason = f"its pipeline was started {job.attempts - job.spared} times and never finished"
        return gave_up(job, State.QUARANTINED, Trouble.PIPELINE, reason, Owner.TASK_LAUNCHER)
    reason = job.reason if job.failures else ""  # what it waited for is there
    return job.evolve(lease_holder=fact.worker, lease_until=until, attempts=job.attempts + 1, reason=reason)


def _reported(job: Job, fact: ev.PipelineReported, _at: int) -> Job:
    if fact.task_id != job.pipeline_details.task_id:
        raise Conflict(f"job {job.id} was launched for task {job.pipeline_details.task_id}, not {fact.task_id}")
    if fact.worker:
        if job.state is State.PROCESSED:
            return job  # told before
        if (job.lease_holder, job.attempts) != (fact.worker, fact.attempt):
            now = job.lease_holder or "nobody"
            raise Conflict(
                f"run {fact.attempt} of job {job.id} by {fact.worker} is over: {now} has it, run {job.attempts}"
            )
    details = job.pipeline_details.evolve(
        status=fact.status, qc_flags=fact.qc_flags, results=fact.results, output_files=fact.outputs
    )
    return enter(job, State.PROCESSED, pipeline_details=details, reason=fact.reason, not_before=fact.confirm_from)


def _confirmed(job: Job, fact: ev.PipelineConfirmed, _at: int) -> Job:
    details = job.pipeline_details
    outputs = fact.outputs if fact.outputs is not None else details.output_files
    job = job.evolve(pipeline_details=details.evolve(output_files=outputs))
    if details.status == PipelineStatus.FAILED:
        reason = job.reason or "the pipeline reported a failure without a reason"
        return gave_up(job, State.FAILED, Trouble.PIPELINE, reason, Owner.TASK_LAUNCHER)
    if fact.missing:
        reason = f"the pipeline named outputs that cannot be sent: {fact.missing}"
        return gave_up(job, State.FAILED, Trouble.VALIDATE_FILE, reason, Owner.TASK_LAUNCHER)
    if not outputs:
        return enter(job, State.COMPLETE)
    waiting = tuple(
        file.evolve(status=str(OutputStatus.INCOMPLETE), owner=str(Owner.FILE_SENDER_GATEWAY)) for file in outputs
    )
    return enter(job, with_results(job), pipeline_details=details.evolve(output_files=waiting))


def _delivered(job: Job, fact: ev.OutputsDelivered, _at: int) -> Job:
    details = job.pipeline_details.evolve(output_file_host=fact.hostname)
    return enter(job, State.DELIVERED, pipeline_details=details)


def _archived(job: Job, fact: ev.OutputsArchived, _at: int) -> Job:
    details = job.pipeline_details.evolve(output_files=fact.outputs)
    return enter(job, State.COMPLETE, input_file=fact.input_file, pipeline_details=details, previewed=False)


def _previewed(job: Job, fact: ev.PreviewsMade, _at: int) -> Job:
    def shown(archive_name: str, viewable: str) -> str:
        return fact.viewables.get(archive_name, viewable)

    file, details = job.input_file, job.pipeline_details
    outputs = details.output_files
    if outputs is not None:
        outputs = tuple(o.evolve(viewable=shown(o.archive_name, o.viewable)) for o in outputs)
    return job.evolve(
        input_file=file.evolve(viewable=shown(file.archive_name, file.viewable)),
        pipeline_details=details.evolve(output_files=outputs),
        previewed=True,
    )


def _step_failed(job: Job, fact: ev.StepFailed, _at: int) -> Job:
    told_before = 0 < fact.retry_at == job.not_before and job.failures > 0 and job.reason == fact.reason
    stale = fact.worker and job.lease_holder and job.lease_holder != fact.worker
    stale = stale or (fact.lease is not None and fact.lease != job.lease_until)
    if job.state is not fact.state or job.state in FINAL or told_before or stale:
        return job
    failures = job.failures + 1
    job = job.evolve(failures=failures)
    if not fact.retry_at and job.state is State.SENDING and restorable(job):
        return restored(job, fact.reason)
    if not fact.retry_at:
        return gave_up(job, State.FAILED, fact.trouble, fact.reason, fact.by)
    if failures >= (fact.tries or MAX_FAILURES):
        reason = f"{fact.reason} (tried {failures} times)"
        return gave_up(job, State.QUARANTINED, fact.trouble, reason, fact.by)
    return job.evolve(
        error_details=ErrorDetails(owner=fact.by, error=fact.trouble),
        reason=fact.reason,
        not_before=fact.retry_at,
        lease_holder="",
        lease_until=0,
    )


def _waits(job: Job, fact: ev.JobWaits, _at: int) -> Job:
    if job.state is not fact.state or job.state in FINAL:
        return job
    if not fact.worker:
        return job if job.lease_holder else job.evolve(reason=fact.reason, not_before=fact.until)
    if (job.lease_holder, job.attempts) != (fact.worker, fact.attempt):
        return job
    free = {"lease_holder": "", "lease_until": 0, "spared": job.spared + 1}
    return job.evolve(reason=fact.reason, not_before=fact.until, **free)


def _worker_released(job: Job, fact: ev.WorkerReleased, _at: int) -> Job:
    if job.state is not State.RUNNING or job.lease_holder != fact.worker:
        return job
    return job.evolve(lease_holder="", lease_until=0)


EXPIRING = (State.COMPLETE, State.FAILED, State.UNMATCHED, State.CANCELLED)
"""The states in which files may be removed; those of quarantined jobs never are."""


def _expired(job: Job, _fact: ev.FilesExpired, _at: int) -> Job:
    if job.state not in EXPIRING:
        raise Conflict(f"job {job.id} is {job.state}: its files are not removed")
    return job if job.files else job.evolve(files=Files.REMOVING, previewed=True)


def _removed(job: Job, _fact: ev.FilesRemoved, _at: int) -> Job:
    return job.evolve(files=Files.REMOVED) if job.files is Files.REMOVING else job


DECISIONS: dict[type[ev.Reported], Callable[..., Job]] = {
    ev.TransferStarted: lambda job, _fact, _at: enter(job, State.SENDING),
    ev.JobUnmatched: _unmatched,
    ev.InputDelivered: _delivered_input,
    ev.InputDamaged: input_damaged,
    ev.OutputDamaged: output_damaged,
    ev.PipelineRequested: _requested,
    ev.PipelineStarted: _started,
    ev.PipelineReported: _reported,
    ev.PipelineConfirmed: _confirmed,
    ev.OutputsDelivered: _delivered,
    ev.OutputsArchived: _archived,
    ev.PreviewsMade: _previewed,
    ev.StepFailed: _step_failed,
    ev.JobWaits: _waits,
    ev.WorkerReleased: _worker_released,
    ev.FilesExpired: _expired,
    ev.FilesRemoved: _removed,
    ev.JobReleased: released,
    ev.JobRetried: retried,
    ev.JobCancelled: cancelled,
    ev.TaskApplied: applied,
}


def read_back(owner: str, status: str, pipeline_status: str) -> State | None:
    """The state that the contract's three words stand for; None when they stand for none.

    Used for clients that set the words themselves (``PUT /api/v1/job/{id}``).
    """
    if owner == Owner.NONE:
        return ENDED.get(status)
    if owner == Owner.TASK_LAUNCHER:
        done = pipeline_status in (PipelineStatus.COMPLETE, PipelineStatus.FAILED)
        return State.PROCESSED if done else State.RUNNING
    if owner == Owner.FILE_RECEIVER_EDGE:
        # In the contract this owner means "pulling"; ours names it only when all is pulled.
        return State.DELIVERING
    return next((state for state, (name, _) in WORDS.items() if name == owner and state not in FINAL), None)
