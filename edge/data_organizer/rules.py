"""What a file's job is called, and what the job says of the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

from contracts.models import FINAL, InputFile, Job, State
from edge.rows import FileState, Row, Step

JOBS = UUID("5e0f6c3a-2b0e-5d0f-9c0a-6a1f0c2d7b11")
"""The namespace of our job ids."""

ON_THE_EDGE = {State.CREATED: FileState.HASHED, State.SENDING: FileState.REGISTERED}


@dataclass(frozen=True)
class Laboratory:
    """What every job of this instrument says of where it comes from; empty fields are left out."""

    name: str = ""
    equipment: str = ""
    operator: str = ""

    def attributes(self) -> dict[str, str]:
        """By the contract's names."""
        every = {"LabName": self.name, "LabEquipment": self.equipment, "Operator": self.operator}
        return {key: value for key, value in every.items() if value}


def job_id_of(host: str, folder: str, name: str, sha256: str) -> str:
    """The same for the same content under the same name, however often it is asked."""
    return str(uuid5(JOBS, f"{host}\n{folder}\n{name}\n{sha256}"))


def folder_of(row: Row) -> str:
    """The contract's ``DirName``: absolute, parted by ``/``, ``/`` at its end."""
    return row.path.parent.as_posix().rstrip("/") + "/"


def extension_of(name: str) -> str:
    """From the last dot on, as Go's ``filepath.Ext``; empty without a dot."""
    _, dot, ending = name.rpartition(".")
    return dot + ending if dot else ""


def input_file(row: Row, host: str, attributes: Mapping[str, str]) -> InputFile:
    """The file as its job describes it."""
    return InputFile(
        hostname=host,
        dir_name=folder_of(row),
        name=row.name,
        extension=extension_of(row.name),
        attributes=dict(attributes),
        sha256=row.sha256,
        size=row.size,
    )


def step_after(row: Row, job: Job) -> Step:
    """Where a row goes whose job is known to the gateway: the job tells how far it has come."""
    was = FileState(row.state)
    if row.outcome == "duplicate" and job.state not in ON_THE_EDGE:
        return Step(row.id, was, FileState.DONE, outcome="duplicate")
    if job.state in FINAL:
        return Step(row.id, was, FileState.DONE, outcome=str(job.state), reason=job.reason)
    return Step(row.id, was, ON_THE_EDGE.get(job.state, FileState.SENT))
