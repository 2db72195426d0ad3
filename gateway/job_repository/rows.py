"""Rows of jobs and lines of their history, as pure functions."""

from typing import Any

from contracts import rules
from contracts.events import Fact, FilesExpired, FilesRemoved, JobWaits, PipelineStarted
from contracts.models import Files, Job, State


def row_of(job: Job) -> dict[str, Any]:
    """What stands of a job in its table's columns."""
    return {
        "id": job.id,
        "state": str(job.state),
        "owner": job.owner,
        "status": job.status,
        "origin_host": job.origin_host,
        "origin_dir": job.origin_dir,
        "name": job.input_file.name,
        "sha256": job.input_file.sha256,
        "pipeline": job.pipeline_details.pipeline_id,
        "task": job.pipeline_details.task_id,
        "batch": job.batch,
        "lease_holder": job.lease_holder,
        "lease_until": job.lease_until,
        "not_before": job.not_before,
        "wants_preview": job.state is State.COMPLETE and not job.previewed,
        "last_updated": job.last_updated,
        "kept_since": _kept_since(job),
        "verification": job.verification,
        "doc": job.model_dump_json(by_alias=True),
    }


def _kept_since(job: Job) -> int:
    """Since when files of an ended job lie here (ns), 0 for never; a removal that has begun goes before all others."""
    if job.state not in rules.EXPIRING or job.files is Files.REMOVED:
        return 0
    return 1 if job.files is Files.REMOVING else max(1, job.created)


def line(job_id: str, at: int, by: str, what: str, old: str, new: str, why: str) -> dict[str, Any]:
    """A line of a job's history."""
    return {"job_id": job_id, "at": at, "by": by, "what": what, "from_state": old, "to_state": new, "why": why}


def told(old: Job | None, new: Job, fact: Fact, at: int) -> dict[str, Any] | None:
    """The history line of a change; a lease that is merely kept alive, or a wait that goes on, is not worth one."""
    if isinstance(fact, JobWaits) and old is not None and old.reason == new.reason:
        return None
    kept_alive = old is not None and isinstance(fact, PipelineStarted) and old.lease_holder == new.lease_holder
    if kept_alive and new.state is State.RUNNING:
        return None
    if isinstance(fact, FilesExpired | FilesRemoved):
        gone = isinstance(fact, FilesRemoved)
        why = "archived files removed by retention" if gone else "archived files are being removed by retention"
        return line(new.id, at, fact.by, fact.kind, new.state, new.state, why)
    said = f"taken by {new.lease_holder}" if isinstance(fact, PipelineStarted) else getattr(fact, "reason", "")
    why = new.reason or said
    return line(new.id, at, fact.by, fact.kind, old.state if old else "", new.state, why)


def is_news(old: Job | None, new: Job) -> bool:
    """Whether others should hear of it: a new state, or a job that may be taken up again or has trouble."""
    if old is None or old.state is not new.state:
        return True
    return old.reason != new.reason or bool(old.lease_holder and not new.lease_holder)
