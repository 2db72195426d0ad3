"""One run of one plug-in, inside a worker process: asked for with a request, answered with an outcome."""

import errno
import os
import re
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

from contracts.disk import LONGEST, no_room, sha256_of
from contracts.states import MAX_FAILURES
from pipelines.delivery import Output, deliver, scratch
from pipelines.plugin import BadInput, Later, Pipeline, Result, Work
from pipelines.registry import make

_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_REASON = 500


class Status(StrEnum):
    """How a run ended."""

    DONE = "done"
    BAD_INPUT = "bad-input"
    """The file can never be processed."""
    ERROR = "error"
    """The plug-in raised an exception or broke a rule; trying again may help."""
    DAMAGED = "damaged"
    """The input is not the file that it should be; the plug-in was not run."""
    CRASHED = "crashed"
    """The worker's interpreter is gone: a segmentation fault, ``os._exit``, the out-of-memory killer."""
    NO_ROOM = "no-room"
    """A disk was full; it is not the job's fault."""
    LATER = "later"
    """What the plug-in needs is away; it is not the job's fault."""
    TIMED_OUT = "timed-out"


@dataclass(frozen=True)
class Limits:
    """What one run of a pipeline may take (s, bytes of address space or None) and how often a job may fail."""

    timeout: float = 600.0
    memory_bytes: int | None = None
    attempts: int = MAX_FAILURES


@dataclass(frozen=True)
class RunRequest:
    """What a worker is to do. Everything in it can be pickled."""

    job: str
    """Names the job's folders: letters, digits, dots, dashes and underscores."""
    topic: str
    plugin: str
    """Where the plug-in's class is found, ``module:Class``."""
    image: Path
    folder: Path
    """Where the outputs are to lie; made if missing."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300.0
    """Seconds."""
    attempt: int = 0
    """Which run of the job this is."""
    sha256: str = ""
    """What the image must be, in hexadecimal; empty: anything."""
    model: Path | None = None
    """Folder of the model to be used; None: the plug-in's own."""
    memory_bytes: int | None = None
    """Address space of the process during this run at most; None: what the worker has always."""

    def __post_init__(self) -> None:
        if not _JOB.fullmatch(self.job):
            raise ValueError(f"job id {self.job!r} cannot name a folder")


@dataclass(frozen=True)
class Outcome:
    """How a run ended and what it left behind."""

    status: Status
    folder: Path | None = None
    """Where the outputs really are."""
    outputs: tuple[Output, ...] = ()
    results: str = ""
    qc_flags: str = ""
    reason: str = ""
    """For the operator: why it is not done."""
    wait: float = 0.0
    """Where it is put off: so long it is of no use to try again (s)."""
    seconds: float = 0.0
    """Spent in the plug-in's own ``run``; where that ended its process, in all."""


@cache
def pipeline(plugin: str) -> Pipeline:
    """The one instance of a plug-in in this process."""
    return make(plugin)


def execute(request: RunRequest) -> Outcome:
    """Run the plug-in and deliver its outputs. Never raises: whatever goes wrong is the outcome."""
    started = time.perf_counter()
    try:
        if damage := _damage(request):
            return Outcome(Status.DAMAGED, reason=damage)
        plugin = pipeline(request.plugin)
        with scratch(request.folder, request.job, request.attempt) as folder:
            work = Work(request.image, folder, request.parameters, request.attributes, request.model, request.job)
            started = time.perf_counter()
            result = plugin.run(work)
            seconds = time.perf_counter() - started
            if not isinstance(result, Result):
                raise TypeError(f"{request.plugin} returned a {type(result).__name__}, not a Result")
            where, outputs = deliver(folder, result.outputs, request.folder, request.job)
        return Outcome(Status.DONE, where, outputs, str(result.results), str(result.qc_flags), seconds=seconds)
    except BadInput as error:
        return Outcome(Status.BAD_INPUT, reason=_short(str(error)), seconds=time.perf_counter() - started)
    except Later as error:
        return Outcome(Status.LATER, reason=_short(str(error)), wait=error.seconds)
    except (Exception, SystemExit) as error:
        if no_room(error) or (error.__cause__ is not None and no_room(error.__cause__)):
            return Outcome(Status.NO_ROOM, reason=why(error), seconds=time.perf_counter() - started)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            reason = f"{request.image.name[:80]}…: its results' names would be too long for a file system; "
            return Outcome(Status.BAD_INPUT, reason=_short(reason + "give the image and its folder a shorter name"))
        return Outcome(Status.ERROR, reason=why(error), seconds=time.perf_counter() - started)


def _damage(request: RunRequest) -> str:
    """What is wrong with the image: disks forget. Empty if nothing is. Raises ``OSError`` where it cannot be read.

    A damaged image is put aside. One that was put aside before, by a run that ended before it could say so, is damaged
    still.
    """
    aside = request.image.with_name(_aside_name(request.image.name, request.job))
    if not request.sha256 or (request.image.exists() and sha256_of(request.image) == request.sha256):
        return ""
    if request.image.exists():
        os.replace(request.image, aside)
    elif not aside.exists():
        if request.image.parent.is_dir():
            return f"{request.image.name} is not there any more"
        # Perhaps the folder is not mounted here.
        raise FileNotFoundError(errno.ENOENT, "the image is not there", str(request.image))
    return f"{request.image.name} is not the file that arrived: it is {aside.name} now"


def _aside_name(name: str, job: str) -> str:
    """The name of a damaged image that was put aside; the longest names give way."""
    end = f".{job}.damaged"
    return "." + name.encode()[: LONGEST - 1 - len(end)].decode(errors="ignore") + end


def why(error: BaseException) -> str:
    """An exception in one line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return _short(f"{type(error).__name__}: {error}", room=_LONGEST_REASON - len(place)) + place


def _short(text: str, room: int = _LONGEST_REASON) -> str:
    line = " ".join(text.split())
    return line if len(line) <= room else line[: room - 1] + "…"
