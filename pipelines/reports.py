"""What the job repository is told of a run, by how it ended."""

import logging
from pathlib import PurePosixPath

from contracts.desk import pause_after
from contracts.events import Fact, InputDamaged, JobWaits, PipelineReported, StepFailed
from contracts.models import Job, OutputFile, State, Trouble
from pipelines.execution import Outcome, Status

log = logging.getLogger(__name__)
BY = "pipeline-runner"
LONGEST_TURN = 600.0
"""Seconds for which a job that took its worker long lets others go first, at most; less than ``rules.FARTHEST``."""
LONGEST_WAIT = 30.0
"""Seconds after which a job that was put off is tried again at the latest, unless its pipeline asks for more."""
FULL_PAUSE = 5 * 10**9
"""ns for which a job is left alone whose run found a disk full."""


def fact_of(job: Job, outcome: Outcome, *, worker: str, tries: int, now: int, chance: float) -> Fact:
    """What to tell of a run; ``tries``: how often the job may fail, ``now`` in ns, ``chance`` in 0…1."""
    details = job.pipeline_details
    if outcome.status in (Status.DONE, Status.BAD_INPUT):
        done = outcome.status is Status.DONE
        return PipelineReported(
            job_id=job.id,
            by=BY,
            task_id=details.task_id,
            status="PipelineComplete" if done else "PipelineFailed",
            qc_flags=outcome.qc_flags,
            results=outcome.results,
            outputs=_listed(outcome) or None,
            reason=outcome.reason,
            worker=worker,
            attempt=job.attempts,
        )
    if outcome.status is Status.DAMAGED:
        log.warning("job %s: %s", job.id, outcome.reason)
        return InputDamaged(job_id=job.id, by=BY, reason=outcome.reason, worker=worker, attempt=job.attempts)
    log.warning("job %s: %s", job.id, outcome.reason)
    if outcome.status is Status.NO_ROOM:
        return _waits(job, f"waits for room on the disk of {details.output_folder}", now + FULL_PAUSE, worker)
    if outcome.status is Status.LATER:
        # The oftener it was in vain the longer the pause, so that thousands of jobs that wait cost little.
        pause = max(outcome.wait, pause_after(job.spared, first=2.0, longest=LONGEST_WAIT, chance=chance))
        return _waits(job, outcome.reason, now + int(pause * 1e9), worker)
    # A run that took its worker long is not repeated at once: the others come first, longer each time.
    pause = pause_after(job.failures, first=0.5, chance=chance)
    pause += min(outcome.seconds * (job.failures + 1), LONGEST_TURN)
    return StepFailed(
        job_id=job.id,
        by=BY,
        state=State.RUNNING,
        trouble=Trouble.PIPELINE,
        reason=outcome.reason or str(outcome.status),
        retry_at=now + int(pause * 1e9),
        worker=worker,
        tries=tries,
    )


def _waits(job: Job, reason: str, until: int, worker: str) -> JobWaits:
    return JobWaits(
        job_id=job.id, by=BY, state=State.RUNNING, reason=reason, until=until, worker=worker, attempt=job.attempts
    )


def _listed(outcome: Outcome) -> tuple[OutputFile, ...]:
    return tuple(
        OutputFile(
            dir_name=str(outcome.folder),
            name=output.name,
            extension=PurePosixPath(output.name).suffix,
            sha256=output.sha256,
            size=output.size,
        )
        for output in outcome.outputs
    )
