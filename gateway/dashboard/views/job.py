"""One job: its files by what they are, its history as a time line, and what can be done with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.models import FINAL, Job, Round, State, Trouble
from contracts.operations import APPLICABLE, GIVEN_UP
from gateway.dashboard.views.jobs import TONES, result_line

PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".gif")
ARRIVED = "input-delivered"
"""What the history says of an image that has come to the gateway."""
TABLES = (".csv", ".tsv")
LABELS = ("label", "mask")
"""Parts of the names of images whose values are numbers of objects."""


@dataclass(frozen=True)
class File:
    """A file of a job. ``place`` is what the pictures' API calls it."""

    place: str
    name: str
    size: int | None
    kind: str
    """picture, labels, table or other"""


def files(job: Job) -> list[File]:
    """The input and all outputs."""
    found = [File("input", job.input_file.name, job.input_file.size, kind_of(job.input_file.name, made=False))]
    for number, output in enumerate(job.pipeline_details.output_files or ()):
        found.append(File(str(number), output.name, output.size, kind_of(output.name, made=True)))
    return found


def pictures(job: Job, files: Sequence[File], history: Sequence[Mapping[str, Any]]) -> list[File]:
    """Those of the files that can be looked at: they have come to the gateway, and retention has left them there."""
    if job.files:
        return []
    here = bool(job.input_file.archive_name) or _has_arrived(history)
    return [one for one in files if one.kind in ("picture", "labels") and (here or one.place != "input")]


def _has_arrived(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the image has come to the gateway, and is not being sent again."""
    for line in reversed(history):
        if line["What"] == ARRIVED or line.get("To") == State.SENDING:
            return bool(line["What"] == ARRIVED)
    return False


def kind_of(name: str, *, made: bool) -> str:
    """What a file is, by its name; ``made``: by a pipeline."""
    low = name.lower()
    if low.endswith(PICTURES):
        stem = low.rpartition(".")[0]
        return "labels" if made and any(word in stem.rpartition("_")[2] for word in LABELS) else "picture"
    return "table" if low.endswith(TABLES) else "other"


def actions(job: Job) -> list[str]:
    """What an operator can do with it now."""
    if job.state not in FINAL:
        return ["retry", "cancel"]
    stopped = job.state in (*GIVEN_UP, State.CANCELLED)
    return ["release"] if stopped and job.held_state is not None else []


def may_be_reviewed(job: Job) -> bool:
    """There is a result to judge."""
    return job.state is State.COMPLETE


def others(job: Job, tasks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tasks by which the job can be processed again; none while it is on its way."""
    if job.state not in APPLICABLE:
        return []
    return [task for task in tasks if not task.get("Disabled")]


@dataclass(frozen=True)
class Model:
    """Which model made the result, as far as the pipeline tells. ``digest``: of its metadata; empty: not known here."""

    name: str
    version: str
    digest: str
    place: str


def model_of(job: Job) -> Model | None:
    """What the results say of it, if they do."""
    try:
        said = json.loads(job.pipeline_details.results or "null")
    except ValueError:
        return None
    model = said.get("model") if isinstance(said, dict) else None
    if not isinstance(model, dict):
        return None
    return Model(*(str(model.get(name) or "") for name in ("name", "version", "sha256", "place")))


REMEDIES: Mapping[str, str] = {
    Trouble.NO_TASK: "no-task",
    Trouble.TRANSMIT_JOB: "line",
    Trouble.TRANSMIT_FILE: "line",
    Trouble.PIPELINE: "pipeline",
    Trouble.VALIDATE_JOB: "files",
    Trouble.VALIDATE_FILE: "files",
    Trouble.PUBLISH: "launch",
    Trouble.ARCHIVE: "disk",
    Trouble.WRITE: "disk",
    Trouble.CANCELLED: "cancelled",
}


def remedy(job: Job) -> str:
    """The word for what helps a job that is in trouble; empty for one that is not."""
    trouble = job.error_details.error if job.error_details else ""
    if job.state is State.COMPLETE or not trouble:
        return ""
    return REMEDIES.get(trouble, "other")


@dataclass(frozen=True)
class Ended:
    """How a job ended once, before it was processed again."""

    at: int
    state: str
    tone: str
    said: str
    verification: int


def ended(one: Round) -> Ended:
    """As the page shows it."""
    details = one.pipeline_details
    return Ended(one.ended, str(one.state), TONES[one.state], result_line(details.results), one.verification)


@dataclass(frozen=True)
class Step:
    """A line of the history. ``after`` is how long it took from the line before (ns)."""

    at: int
    after: int
    by: str
    what: str
    state: str
    why: str


def steps(history: Sequence[Mapping[str, Any]]) -> list[Step]:
    """The time line, oldest first. A clock that was put back makes no negative times."""
    found: list[Step] = []
    for line in history:
        at = int(line["At"])
        state = str(line["To"]) if line["To"] != line["From"] else ""
        after = max(0, at - found[-1].at) if found else 0
        found.append(Step(at, after, str(line["By"]), str(line["What"]), state, str(line["Why"])))
    return found


def took(history: Sequence[Mapping[str, Any]]) -> int:
    """From the first line to the last (ns)."""
    return max(0, int(history[-1]["At"]) - int(history[0]["At"])) if history else 0
