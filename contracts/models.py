"""The nouns: jobs, files, tasks. Snake case inside, the contract's PascalCase on the wire."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SHA256 = r"^[0-9a-f]{64}$"


def _pascal(name: str) -> str:
    special = {"qc_flags": "QCFlags"}
    return special.get(name) or "".join(part.capitalize() for part in name.split("_"))


def _text(value: object) -> object:
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | None)]
"""A string; null on the wire means empty, as in the predecessor's Go structs."""


class Model(BaseModel):
    """A value: frozen, typed strictly, read and written with the contract's names."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=_pascal, populate_by_name=True)

    def evolve(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return self.model_copy(update=changes)


class State(StrEnum):
    """Where a job is on its way. Without an operator's word it only ever moves down this list."""

    CREATED = "created"
    SENDING = "sending"
    RECEIVED = "received"
    RUNNING = "running"
    PROCESSED = "processed"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    COMPLETE = "complete"
    UNMATCHED = "unmatched"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


FINAL = frozenset({State.COMPLETE, State.UNMATCHED, State.FAILED, State.QUARANTINED, State.CANCELLED})


class Owner(StrEnum):
    """The contract's owners of a job."""

    NONE = "none"
    FILE_WATCHER = "file-watcher"
    DATA_ORGANIZER = "data-organizer"
    FILE_SENDER_EDGE = "file-sender-oem"
    FILE_RECEIVER_GATEWAY = "file-receiver-gateway"
    TASK_LAUNCHER = "task-launcher"
    FILE_SENDER_GATEWAY = "file-sender-gateway"
    FILE_RECEIVER_EDGE = "file-receiver-oem"


class Status(StrEnum):
    """The contract's job status words."""

    COMPLETE = "Complete"
    INCOMPLETE = "Incomplete"
    NO_PIPELINE_FOUND = "NoPipelineFound"
    PIPELINE_ERROR = "PipelineError"
    TRANSMISSION_FAILED = "TransmissionFailed"
    FILE_ERRORED = "FileErrored"


class PipelineStatus(StrEnum):
    """The contract's words for what a pipeline has made of a job."""

    NONE = ""
    PROCESSING = "PipelineProcessing"
    COMPLETE = "PipelineComplete"
    FAILED = "PipelineFailed"
    FILE_NOT_FOUND = "FileNotFound"


class OutputStatus(StrEnum):
    """The contract's words for one output file."""

    NONE = ""
    COMPLETE = "FileComplete"
    INCOMPLETE = "FileIncomplete"
    TRANSMISSION_FAILED = "FileTransmissionFailed"
    ARCHIVAL_FAILED = "FileArchivalFailed"
    WRITE_FAILED = "FileWriteFailed"
    INVALID = "FileInvalid"


class Files(StrEnum):
    """What retention has made of an ended job's files at the gateway."""

    HERE = ""
    REMOVING = "removing"
    REMOVED = "removed"


class Trouble(StrEnum):
    """The contract's texts of ``ErrorDetails.Error``."""

    NO_TASK = "no tasks could be matched to the input file name"
    TRANSMIT_JOB = "failed to transmit job"
    TRANSMIT_FILE = "failed to transmit file"
    PIPELINE = "an error occurred in the processing pipeline"
    VALIDATE_JOB = "failed to validate job"
    VALIDATE_FILE = "failed to validate file"
    PUBLISH = "failed to publish message to message bus"
    ARCHIVE = "failed to archive file"
    WRITE = "failed to write file"
    CANCELLED = "the job was cancelled"  # a text of our own


class Verification(IntEnum):
    """A reviewer's word on a result."""

    PENDING = 0
    ACCEPTED = 1
    REJECTED = 2


class ErrorDetails(Model):
    """Who had the last trouble with a job or file, and which."""

    owner: Text = ""
    error: Text = ""


class InputFile(Model):
    """Where the image lies now, and what is known of it. ``sha256`` and ``size`` (bytes) extend the contract."""

    hostname: Text = ""
    dir_name: Text = ""
    name: Text = ""
    extension: Text = ""
    archive_name: Text = ""
    viewable: Text = ""
    attributes: Mapping[str, str] | None = None
    sha256: Text = ""
    size: int | None = None


class OutputFile(Model):
    """One file a pipeline made. ``sha256`` and ``size`` (bytes) extend the contract."""

    dir_name: Text = ""
    name: Text = ""
    extension: Text = ""
    archive_name: Text = ""
    viewable: Text = ""
    status: Text = ""
    error_details: ErrorDetails | None = None
    owner: Text = ""
    sha256: Text = ""
    size: int | None = None


class PipelineDetails(Model):
    """What was asked of a pipeline and what it answered. ``pipeline_id`` (its topic), ``output_folder``,
    ``parameters``, ``launch`` (which launch of the job it was) and ``task_version`` (the task's ``last_updated``)
    extend the contract: they are what this job was launched with, whatever becomes of the task."""

    task_id: Text = ""
    status: Text = ""
    qc_flags: Text = ""
    output_file_host: Text = ""
    output_files: tuple[OutputFile, ...] | None = Field(default=None, strict=False)
    results: Text = ""
    pipeline_id: Text = ""
    output_folder: Text = ""
    parameters: Mapping[str, str] | None = None
    launch: Text = ""
    task_version: int = 0


class Round(Model):
    """How a job ended once, before a task was applied to it again; its archived files are named in it."""

    state: State = Field(default=State.COMPLETE, strict=False)
    ended: int = 0
    """ns since the epoch"""
    input_file: InputFile = InputFile()
    pipeline_details: PipelineDetails = PipelineDetails()
    verification: int = 0


class Job(Model):
    """One input file on its way through one pipeline. Fields after ``verification`` extend the contract.

    ``attempts`` only grows, so that it tells each run of the job from all others; of these ``spared`` do not count.
    ``applied_task`` and ``applied_version`` name the task that an operator last applied to it, ``begun`` when (ns), and
    ``earlier`` what had become of it before.
    """

    id: Text = ""
    owner: Text = ""
    input_file: InputFile = InputFile()
    pipeline_details: PipelineDetails = PipelineDetails()
    last_updated: int = 0
    status: Text = ""
    error_details: ErrorDetails | None = ErrorDetails()
    verification: int = 0
    state: State = Field(default=State.CREATED, strict=False)
    reason: Text = ""
    origin_host: Text = ""
    origin_dir: Text = ""
    created: int = 0
    attempts: int = 0
    failures: int = 0
    not_before: int = 0
    lease_holder: Text = ""
    lease_until: int = 0
    held_state: State | None = Field(default=None, strict=False)
    previewed: bool = True
    spared: int = 0
    """runs that do not count: a disk was full, or an operator has forgiven them"""
    applied_task: Text = ""
    applied_version: int = 0
    begun: int = 0
    earlier: tuple[Round, ...] = Field(default=(), strict=False)
    files: Files = Field(default=Files.HERE, strict=False)
    batch: Text = ""
    """The batch in which a person submitted the file at the gateway; empty for an instrument's. Nobody elsewhere has
    the file, and nobody waits for its results: they stay at the gateway."""


class Task(Model):
    """Which jobs go to which pipeline, with which parameters. ``job_selector`` is a JSONLogic rule as text.

    ``order`` (its place among all tasks, from 1 on; of two that want a file the earlier gets it) and ``disabled`` (it
    wants nothing) extend the contract; they have calls of their own, and what a task is sent with says nothing of them.
    """

    id: Text = ""
    description: Text = ""
    job_selector: Text = ""
    pipeline_id: Text = ""
    result_file_folder: Text = ""
    model_parameters: Mapping[str, str] | None = None
    last_updated: int = 0
    order: int = 0
    disabled: bool = False


class PipelineParams(Model):
    """What a pipeline is told at launch: exactly the contract's five keys."""

    input_file_location: str
    output_file_folder: str
    model_params: Mapping[str, str]
    job_update_url: str
    pipeline_status_url: str


class PipelineInfo(BaseModel):
    """An entry of the pipeline listing; lower camel case on the wire, as the contract has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    description: str
    subscriptionTopic: str  # noqa: N815 - the wire's name
    status: str = "Running"
