"""Facts that services report to the job repository. All in the past tense; hearing one twice is harmless."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.models import InputFile, Job, OutputFile, State
from contracts.topics import device_topic

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number, of bytes or ns since the epoch too, that every database and every Go program can hold."""


class Message(BaseModel):
    """Something for the bus that must leave if, and only if, a fact is taken."""

    model_config = ConfigDict(frozen=True)

    topic: str
    payload: str


class Reported(BaseModel):
    """A fact about one job, and who reports it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    by: str
    messages: tuple[Message, ...] = ()
    """Sent through the outbox of the transaction in which the fact changes the job."""


class JobCreated(Reported):
    """A new file was registered at its instrument."""

    kind: Literal["job-created"] = "job-created"
    input_file: InputFile


class JobSubmitted(Reported):
    """A person has put a file into a batch at the gateway, and it lies there, whole, verified and synced."""

    kind: Literal["job-submitted"] = "job-submitted"
    batch: str = Field(min_length=1)
    task_id: str = ""
    """The task that was chosen for it; empty: the first that wants it."""
    folder: str = ""
    """In which folder the person had it, levels joined by ``/``."""
    input_file: InputFile
    """Where it lies at the gateway."""


class TransferStarted(Reported):
    """A task matches the file, and its way to the gateway begins."""

    kind: Literal["transfer-started"] = "transfer-started"


class JobUnmatched(Reported):
    """No task wants this file."""

    kind: Literal["job-unmatched"] = "job-unmatched"


class InputDelivered(Reported):
    """The whole file lies on the gateway's disk, verified and synced."""

    kind: Literal["input-delivered"] = "input-delivered"
    hostname: str
    dir_name: str
    sha256: str
    size: Count


class InputDamaged(Reported):
    """The file on the gateway is not, or no longer, what was delivered; the instrument is to send it again."""

    kind: Literal["input-damaged"] = "input-damaged"
    reason: str
    worker: str = ""
    """Who found it, where the job is leased, and in which run of it."""
    attempt: Count = 0


class PipelineRequested(Reported):
    """A task was chosen; the pipeline is to be told."""

    kind: Literal["pipeline-requested"] = "pipeline-requested"
    task_id: str
    pipeline_id: str
    output_host: str
    output_folder: str
    parameters: Mapping[str, str] = Field(default_factory=dict)
    task_version: Count = 0
    """The task's ``last_updated``."""
    lease_until: Count = 0
    """When to tell it again if nobody has taken the job (ns since the epoch); 0: never."""
    launch: str = ""
    """Names this launch; when the pipeline is told again, it stays."""
    again: bool = False
    """An operator wants the pipeline told now, although there is still time for its answer."""


class PipelineStarted(Reported):
    """A worker has claimed the job, or still works on it, until the lease ends."""

    kind: Literal["pipeline-started"] = "pipeline-started"
    worker: str
    lease_until: Count
    seconds: float = Field(default=0.0, ge=0)
    """The lease from the repository's own present on; then ``lease_until``, by the worker's clock, does not matter."""


class PipelineReported(Reported):
    """What the pipeline has to say (the contract's PUT)."""

    kind: Literal["pipeline-reported"] = "pipeline-reported"
    task_id: str
    status: Literal["PipelineComplete", "PipelineFailed"]
    qc_flags: str = ""
    results: str = ""
    outputs: tuple[OutputFile, ...] | None = None
    reason: str = ""
    confirm_from: Count = 0
    """When the report may be taken as final without the pipeline's second call (ns); 0: at once."""
    worker: str = ""
    """Who holds the job's lease, where it is leased; a report of anybody else is refused."""
    attempt: Count = 0
    """Which run of the job is reported, where it is leased; only the last one counts."""


class PipelineConfirmed(Reported):
    """The report is final (the contract's POST), and its output files were looked at."""

    kind: Literal["pipeline-confirmed"] = "pipeline-confirmed"
    outputs: tuple[OutputFile, ...] | None = None
    missing: str = ""
    """Names of outputs that are not there, or may not be sent; empty when all is well."""


class OutputDamaged(Reported):
    """An output on the gateway is not, or no longer, what its pipeline made; it is to be made again."""

    kind: Literal["output-damaged"] = "output-damaged"
    reason: str
    attempt: Count = 0
    """The job's ``attempts`` when it was found."""


class OutputsDelivered(Reported):
    """Every output lies on the instrument's disk, verified and synced."""

    kind: Literal["outputs-delivered"] = "outputs-delivered"
    hostname: str


class OutputsArchived(Reported):
    """Input and outputs were moved to the archive."""

    kind: Literal["outputs-archived"] = "outputs-archived"
    input_file: InputFile
    outputs: tuple[OutputFile, ...]


class PreviewsMade(Reported):
    """Pictures a browser can show were made of archived files: archive name -> picture's name."""

    kind: Literal["previews-made"] = "previews-made"
    viewables: Mapping[str, str]


class StepFailed(Reported):
    """A step on the job's way did not succeed. It is tried again at ``retry_at`` (ns), or never if that is 0."""

    kind: Literal["step-failed"] = "step-failed"
    state: State
    trouble: str
    reason: str
    retry_at: Count = 0
    worker: str = ""
    """Who failed, where the step is leased: once another holds the lease, nobody minds."""
    lease: Count | None = None
    """Until when the lease lasted that is complained of (ns): once there is another, nobody minds."""
    tries: Count = 0
    """So many failed tries of this step end in quarantine; 0: as many as usual."""


class JobWaits(Reported):
    """A step cannot be begun now, through no fault of the job: a disk is full, or too many others wait. It costs
    neither a try nor a run."""

    kind: Literal["job-waits"] = "job-waits"
    state: State
    reason: str
    until: Count = 0
    """Not looked at again before (ns); 0: whenever there is time."""
    worker: str = ""
    """Who gives the job back, where it is leased, and which run of it."""
    attempt: int = 0


class WorkerReleased(Reported):
    """A worker gave the job back unfinished (it stops, or it has been started anew)."""

    kind: Literal["worker-released"] = "worker-released"
    worker: str


class FilesExpired(Reported):
    """Retention is about to remove an ended job's files from the gateway, and nobody may begin anything with them."""

    kind: Literal["files-expired"] = "files-expired"


class FilesRemoved(Reported):
    """They are gone."""

    kind: Literal["files-removed"] = "files-removed"


class JobReleased(Reported):
    """An operator lets a job out of quarantine, or has a failed or cancelled one tried again."""

    kind: Literal["job-released"] = "job-released"
    reason: str = ""


class JobRetried(Reported):
    """An operator wants a job looked at now: its back-off or a silent pipeline is not waited for any longer."""

    kind: Literal["job-retried"] = "job-retried"
    reason: str = ""


class JobCancelled(Reported):
    """An operator ends a job that is on its way."""

    kind: Literal["job-cancelled"] = "job-cancelled"
    reason: str = ""


class TaskApplied(Reported):
    """An operator wants a job that has ended processed by a task, at the version that the task has now."""

    kind: Literal["task-applied"] = "task-applied"
    task_id: str
    version: Count
    """The task's ``last_updated``: each version is applied to a job once."""
    reason: str = ""


Fact = (
    JobCreated
    | JobSubmitted
    | TransferStarted
    | JobUnmatched
    | InputDelivered
    | InputDamaged
    | PipelineRequested
    | PipelineStarted
    | PipelineReported
    | PipelineConfirmed
    | OutputDamaged
    | OutputsDelivered
    | OutputsArchived
    | PreviewsMade
    | StepFailed
    | JobWaits
    | WorkerReleased
    | FilesExpired
    | FilesRemoved
    | JobReleased
    | JobRetried
    | JobCancelled
    | TaskApplied
)

FACTS: TypeAdapter[list[Fact]] = TypeAdapter(list[Annotated[Fact, Field(discriminator="kind")]])


class Verdict(BaseModel):
    """The repository's answer to one fact: the job as it is now, or why the fact was not taken."""

    model_config = ConfigDict(frozen=True)

    job: Job | None = None
    changed: bool = False
    status: int = 200
    error: str = ""


VERDICTS: TypeAdapter[list[Verdict]] = TypeAdapter(list[Verdict])


def jobs_in(state: State, host: str = "") -> str:
    """The topic on which jobs of an instrument that have reached a state are announced; without a host, the
    pattern for those of all instruments. It is EdgeX's: an unchanged app service that listens to
    ``edgex/events/#`` hears it."""
    topic = device_topic("job-repository", "Job", host, state)
    return topic if host else topic.replace("/_/", "/+/")
