"""What the file receiver decides: whether a job's file is still awaited, and in which folder it belongs."""

from collections.abc import Mapping

from contracts.disk import bare_name
from contracts.errors import BadRequest, Conflict, Unavailable
from contracts.models import FINAL, Job, State
from contracts.states import RANK
from contracts.transfer import TooLong

PARTS = ".uploads"
"""The folder of unfinished uploads, below the folder for the files."""


def awaited(job: Job) -> bool:
    """Whether the job's file has yet to come; False when it was delivered.

    Raises ``Conflict`` for a job that was given up before: nothing would become of its file.
    """
    stood = job.held_state or job.state
    if stood not in (State.CREATED, State.SENDING, State.UNMATCHED):
        return RANK.get(stood, len(RANK)) <= RANK[State.SENDING]
    if job.state in FINAL:
        raise Conflict(f"job {job.id} is {job.state} ({job.reason or 'no reason given'}): its file is not awaited")
    return True


def came_in_vain(job: Job) -> bool:
    """Whether a file that has just arrived is not to be kept: its job was cancelled before."""
    return job.state is State.CANCELLED and job.held_state in (State.CREATED, State.SENDING)


WAITING = (State.RECEIVED, State.RUNNING, State.PROCESSED)
"""The states of jobs that wait at the gateway for their pipelines or are in them."""
COME_BACK = 5.0
"""Seconds after which a sender may ask again whether fewer wait."""


def waiting_in(counts: Mapping[str, int]) -> int:
    """How many of all jobs, counted by state, wait at the gateway."""
    return sum(counts.get(str(state), 0) for state in WAITING)


def check_waiting(waiting: int, most: int) -> None:
    """Raises ``Unavailable`` when as many jobs wait here as may (0: any number)."""
    if most and waiting >= most:
        error = Unavailable(f"{waiting} jobs wait at the gateway, and {most} may (gateway.max_waiting)")
        error.after = COME_BACK
        error.waits = f"waits at the instrument: more than {most} jobs wait at the gateway (gateway.max_waiting)"
        raise error


def check_size(size: int, most: int) -> None:
    """Raises ``TooLong`` for a file of more bytes than are taken (0: any number)."""
    if most and size > most:
        raise TooLong(
            f"the file has {size} bytes and this gateway takes {most} at most: raise gateway.max_file_mb there, then"
            " release the job"
        )


def folder_in(text: str) -> str:
    """A sub-folder as the sender names it, levels joined by ``/``, '' for none. Raises ``BadRequest``."""
    levels = [unicode_name(level) for level in text.split("/")] if text else []
    if PARTS in (level.casefold() for level in levels):
        raise BadRequest(f"the folder {PARTS} is not for files")
    return "/".join(levels)


def unicode_name(name: str) -> str:
    """The same bare name, if a job can hold it: jobs are JSON. Raises ``BadRequest``."""
    try:
        bare_name(name).encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{name!r} is not UTF-8: rename it") from None
    return name


def folder_of(dir_name: str) -> str:
    """The sub-folder for an instrument's folder, as the contract has it (section 4.4). Raises ``BadRequest``."""
    if ":\\" in dir_name:
        _, found, rest = dir_name.partition("\\oem-files\\")
        if not found:
            raise BadRequest(f"the Windows folder {dir_name} does not lie below \\oem-files\\")
        rest = rest.replace("\\", "/")
    else:
        folder = f"{dir_name}/"
        rest = folder.rpartition("/input/")[2] if "/input/" in folder else folder
    return folder_in("/".join(level for level in rest.split("/") if level not in ("", ".")))
