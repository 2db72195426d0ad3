"""Which task a job goes to, and what its pipeline is told."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts import selectors
from contracts.events import PipelineRequested
from contracts.identity import launch_word
from contracts.models import Job, PipelineParams, Task
from contracts.operators import SelectorFailed


@dataclass(frozen=True)
class Choice:
    """The first task that wants the job, if any, and which tasks could not be asked and why."""

    task: Task | None = None
    troubles: Mapping[str, str] = field(default_factory=dict)


def choose(tasks: Sequence[Task], job: Job) -> Choice:
    """Ask the tasks in their order, but for the disabled ones; one whose rule fails is passed over and named, it stops
    nobody."""
    document = job.model_dump(mode="json", by_alias=True)
    troubles: dict[str, str] = {}
    for task in tasks:
        if task.disabled:
            continue
        try:
            if selectors.matches(task.job_selector, document):
                return Choice(task, troubles)
        except (SelectorFailed, selectors.BadSelector) as error:
            troubles[task.id] = str(error)
    return Choice(None, troubles)


@dataclass(frozen=True)
class Addresses:
    """Where pipelines call back: base URLs as they can reach them."""

    job_repository: str
    task_launcher: str
    secret: bytes = b""
    """Of the gateway's services: with it, URLs bear a word that is good for one launch of one job; else none."""


def params_for(job: Job, request: PipelineRequested, to: Addresses) -> PipelineParams:
    """What a pipeline is told: the contract's five keys, URLs fully substituted."""
    folder, task_id = job.input_file.dir_name.rstrip("/"), request.task_id
    word = f"?token={launch_word(to.secret, job.id, task_id, request.launch)}" if to.secret else ""
    return PipelineParams(
        input_file_location=f"{folder}/{job.input_file.name}",
        output_file_folder=request.output_folder,
        model_params=dict(request.parameters),
        job_update_url=f"{to.job_repository}/api/v1/job/pipeline/{job.id}/{task_id}{word}",
        pipeline_status_url=f"{to.task_launcher}/api/v1/pipelineStatus/{job.id}/{task_id}{word}",
    )


def merged(old: Task, new: Task) -> Task:
    """A task after the contract's PUT: only what is not empty replaces, parameters key by key."""
    changes: dict[str, Any] = {
        name: value
        for name in ("description", "job_selector", "pipeline_id", "result_file_folder")
        if (value := getattr(new, name))
    }
    if new.model_parameters:
        changes["model_parameters"] = dict(old.model_parameters or {}) | dict(new.model_parameters)
    return old.evolve(**changes)


_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(duration: str) -> float:
    """Seconds of a Go duration such as ``1h30m`` or ``15s``. Raises ``ValueError`` as Go words it."""
    if duration == "0":
        return 0.0
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f'time: invalid duration "{duration}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds * 1e9 >= 2**63:
        raise ValueError(f'time: invalid duration "{duration[:40]}"')  # Go's durations are int64 ns
    return seconds
