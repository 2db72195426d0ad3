"""Jobs' lives as lists of facts, for tests that need a job somewhere on its way."""

from contracts import events as ev
from contracts import rules
from contracts.errors import AppError
from contracts.models import InputFile, Job, OutputFile, Trouble

NOW = 1_800_000_000_000_000_000
"""A time (ns since the epoch) at which the stories take place."""
DIGEST = "ab" * 32
OUTPUT = OutputFile(dir_name="/out", name="o.tiff", extension=".tiff", sha256="cd" * 32, size=7)


def created(job_id: str = "job-1", name: str = "a.tiff", host: str = "oem", folder: str = "/oem/in/", **file: object):
    """The first fact of every job."""
    fields = {"hostname": host, "dir_name": folder, "name": name, "extension": ".tiff", "attributes": {"Lab": "L"}}
    return ev.JobCreated(job_id=job_id, by="data-organizer", input_file=InputFile(**(fields | file)))


def submitted(job_id: str = "job-1", name: str = "a.tiff", batch: str = "batch-1", place: str = "/gw/in", **more):
    """The first fact of a job whose file a person brings."""
    file = InputFile(hostname="gateway", dir_name=place, name=name, extension=".tiff", sha256=DIGEST, size=3)
    return ev.JobSubmitted(job_id=job_id, by="anna", batch=batch, input_file=file, **more)


def sending(job_id: str = "job-1"):
    return ev.TransferStarted(job_id=job_id, by="file-sender-oem")


def input_delivered(job_id: str = "job-1", folder: str = "/gw/in", sha256: str = DIGEST):
    return ev.InputDelivered(
        job_id=job_id, by="file-receiver-gateway", hostname="gateway", dir_name=folder, sha256=sha256, size=3
    )


def damaged(job_id: str = "job-1", worker: str = "w1", attempt: int = 1, by: str = "pipeline-runner"):
    return ev.InputDamaged(job_id=job_id, by=by, reason="not what arrived", worker=worker, attempt=attempt)


def output_damaged(job_id: str = "job-1", attempt: int = 1, by: str = "file-sender-gateway"):
    return ev.OutputDamaged(job_id=job_id, by=by, reason="not what was made", attempt=attempt)


def requested(job_id: str = "job-1", pipeline: str = "only-file", lease_until: int = 0, **more: object):
    fields = {"task_id": "task-1", "pipeline_id": pipeline, "output_host": "gateway", "output_folder": "/out"}
    return ev.PipelineRequested(job_id=job_id, by="task-launcher", lease_until=lease_until, **(fields | more))


def started(job_id: str = "job-1", worker: str = "w1", until: int = NOW + 60):
    return ev.PipelineStarted(job_id=job_id, by="pipeline-runner", worker=worker, lease_until=until)


def reported(job_id: str = "job-1", status: str = "PipelineComplete", outputs=(OUTPUT,), **more: object):
    return ev.PipelineReported(
        job_id=job_id, by="pipeline", task_id="task-1", status=status, outputs=outputs, results="CellCount, 5", **more
    )


def confirmed(job_id: str = "job-1", **more: object):
    return ev.PipelineConfirmed(job_id=job_id, by="task-launcher", **more)


def outputs_delivered(job_id: str = "job-1"):
    return ev.OutputsDelivered(job_id=job_id, by="file-receiver-oem", hostname="oem")


def archived(job_id: str = "job-1"):
    file = InputFile(hostname="gateway", dir_name="/gw/in", name="a.tiff", archive_name="/archive/a_input.tiff")
    kept = OUTPUT.evolve(archive_name="/archive/o_output.tiff", status="FileComplete")
    return ev.OutputsArchived(job_id=job_id, by="file-sender-gateway", input_file=file, outputs=(kept,))


def previewed(job_id: str = "job-1"):
    pictures = {"/archive/a_input.tiff": "/archive/a_input.jpeg"}
    return ev.PreviewsMade(job_id=job_id, by="file-sender-gateway", viewables=pictures)


def failed_step(state: object, job_id: str = "job-1", retry_at: int = NOW + 1, trouble: str = Trouble.ARCHIVE, **more):
    fields = {"job_id": job_id, "by": "file-sender-gateway", "state": state, "trouble": trouble, "reason": "disk gone"}
    return ev.StepFailed(retry_at=retry_at, **(fields | more))


def waits(state: object = "received", job_id: str = "job-1", reason: str = "waits for room", **more):
    fields = {"job_id": job_id, "by": "task-launcher", "state": state, "reason": reason}
    return ev.JobWaits(**(fields | more))


def expired(job_id: str = "job-1"):
    return ev.FilesExpired(job_id=job_id, by="retention")


def removed(job_id: str = "job-1"):
    return ev.FilesRemoved(job_id=job_id, by="retention")


def unmatched(job_id: str = "job-1"):
    return ev.JobUnmatched(job_id=job_id, by="data-organizer")


def released(job_id: str = "job-1", **more: object):
    return ev.JobReleased(job_id=job_id, by="operator", **more)


def retried(job_id: str = "job-1", **more: object):
    return ev.JobRetried(job_id=job_id, by="operator", **more)


def cancelled(job_id: str = "job-1", reason: str = "wrong plate"):
    return ev.JobCancelled(job_id=job_id, by="operator", reason=reason)


def applied(job_id: str = "job-1", task: str = "task-2", version: int = NOW + 1):
    return ev.TaskApplied(job_id=job_id, by="operator", task_id=task, version=version, reason="a better model")


def worker_released(job_id: str = "job-1", worker: str = "w1"):
    return ev.WorkerReleased(job_id=job_id, by="task-launcher", worker=worker)


def full_story(job_id: str = "job-1") -> list[ev.Fact]:
    """From the instrument and back."""
    steps = (created, sending, input_delivered, requested, started, reported, confirmed, outputs_delivered, archived)
    return [*(step(job_id) for step in steps), previewed(job_id)]


def told(facts, at: int = NOW, job: Job | None = None) -> Job | None:
    """The job after the facts; those that are refused are passed over."""
    for fact in facts:
        try:
            job = rules.advance(job, fact, at)
        except AppError:
            continue
    return job
