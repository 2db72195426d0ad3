"""The states of a job: their order, the contract's words for them, and how a job enters one."""

from typing import Any

from contracts.models import (
    ErrorDetails,
    Job,
    Owner,
    PipelineDetails,
    PipelineStatus,
    State,
    Status,
    Trouble,
)

MAX_FAILURES = 5
"""So many failed tries of one step, and the job goes to quarantine."""
MAX_ATTEMPTS = 25
"""So many starts of its pipeline, whoever was to blame, and the job goes to quarantine."""

ON_ITS_WAY = [
    State.CREATED,
    State.SENDING,
    State.RECEIVED,
    State.RUNNING,
    State.PROCESSED,
    State.DELIVERING,
    State.DELIVERED,
    State.COMPLETE,
]
RANK = {state: rank for rank, state in enumerate(ON_ITS_WAY)}

WORDS: dict[State, tuple[Owner, Status]] = {
    State.CREATED: (Owner.DATA_ORGANIZER, Status.INCOMPLETE),
    State.SENDING: (Owner.FILE_SENDER_EDGE, Status.INCOMPLETE),
    State.RECEIVED: (Owner.FILE_RECEIVER_GATEWAY, Status.INCOMPLETE),
    State.RUNNING: (Owner.TASK_LAUNCHER, Status.INCOMPLETE),
    State.PROCESSED: (Owner.TASK_LAUNCHER, Status.INCOMPLETE),
    State.DELIVERING: (Owner.FILE_SENDER_GATEWAY, Status.INCOMPLETE),
    State.DELIVERED: (Owner.FILE_RECEIVER_EDGE, Status.INCOMPLETE),
    State.COMPLETE: (Owner.NONE, Status.COMPLETE),
    State.UNMATCHED: (Owner.NONE, Status.NO_PIPELINE_FOUND),
    State.FAILED: (Owner.NONE, Status.PIPELINE_ERROR),
    State.QUARANTINED: (Owner.NONE, Status.PIPELINE_ERROR),
    State.CANCELLED: (Owner.NONE, Status.FILE_ERRORED),
}
"""The contract's two words for each state; ``gave_up`` says more of those failed and in quarantine. The contract
has no word for what an operator ended: it says that nothing becomes of the file, and the reason says who wanted it."""

ENDED: dict[str, State] = {
    Status.COMPLETE: State.COMPLETE,
    Status.NO_PIPELINE_FOUND: State.UNMATCHED,
    Status.PIPELINE_ERROR: State.FAILED,
    Status.TRANSMISSION_FAILED: State.FAILED,
    Status.FILE_ERRORED: State.FAILED,
}
"""What a status word says of a job that nobody owns any more."""

NO_ERROR = ErrorDetails()


def enter(job: Job, state: State, **changes: Any) -> Job:
    """The job in a new state, with the contract's words for it and the marks of the last step cleared."""
    owner, status = WORDS[state]
    fresh: dict[str, Any] = {
        "state": state,
        "owner": str(owner),
        "status": str(status),
        "error_details": NO_ERROR,
        "reason": "",
        "failures": 0,
        "not_before": 0,
        "lease_holder": "",
        "lease_until": 0,
        "held_state": None,
    }
    return job.evolve(**(fresh | changes))


def unprocessed(job: Job) -> PipelineDetails:
    """What a job says of its pipeline, without what that has reported."""
    fresh = {"status": str(PipelineStatus.NONE), "qc_flags": "", "output_files": None, "results": ""}
    return job.pipeline_details.evolve(**fresh)


def gave_up(job: Job, state: State, trouble: str, reason: str, by: str) -> Job:
    """The job failed or in quarantine, with the contract's status for the place where it happened."""
    details = job.pipeline_details
    match trouble:
        case Trouble.TRANSMIT_FILE | Trouble.TRANSMIT_JOB:
            status = Status.TRANSMISSION_FAILED if job.state in (State.CREATED, State.SENDING) else None
        case Trouble.PIPELINE | Trouble.VALIDATE_FILE | Trouble.VALIDATE_JOB | Trouble.PUBLISH:
            status = Status.PIPELINE_ERROR
            word = PipelineStatus.FAILED if trouble == Trouble.PIPELINE else PipelineStatus.FILE_NOT_FOUND
            details = details.evolve(status=str(word))
        case _:
            status = None
    return enter(
        job,
        state,
        status=str(status or Status.FILE_ERRORED),
        pipeline_details=details,
        error_details=ErrorDetails(owner=by, error=trouble),
        reason=reason,
        failures=job.failures,
        held_state=job.state,
    )
