"""The nouns of the journal: versions of files, and how far each has come."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

NEVER = 2**63 - 1
"""A time that does not come: looked at again only when the file has changed."""
SECOND = 10**9
"""in nanoseconds"""


class FileState(StrEnum):
    """How far a file has come on the instrument's side."""

    FOUND = "found"
    HASHED = "hashed"
    REGISTERED = "registered"
    SENT = "sent"
    DONE = "done"
    HELD = "held"


class Signature(NamedTuple):
    """What tells one version of a file from the next without reading it: bytes, and times in ns."""

    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Row:
    """One content version of a file. Times in ns since the epoch, size in bytes."""

    id: int
    root: str
    folder: str
    name: str
    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str
    job_id: str
    state: str
    outcome: str
    reason: str
    tries: int
    not_before: int
    seen_at: int

    @property
    def signature(self) -> Signature:
        return Signature(self.size, self.mtime_ns, self.ctime_ns)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(self.root, self.folder, self.name)


@dataclass(frozen=True)
class Sighting:
    """A file as the watcher has judged it: to be taken, or held for a reason.

    A held file is looked at again when it changes, or with ``retry`` also after a growing while.
    """

    root: str
    folder: str
    name: str
    signature: Signature
    hold: str = ""
    retry: bool = False


@dataclass(frozen=True)
class Step:
    """A row's next state. It is taken only if the row is still in ``was``. None leaves a field as it is."""

    id: int
    was: FileState
    state: FileState
    outcome: str = ""
    reason: str = ""
    job_id: str | None = None
    sha256: str | None = None
    not_before: int = 0
    tries: int | None = None


@dataclass(frozen=True)
class Tally:
    """Files by watched folder and state: how many, and when the first of them was seen (ns since the epoch). ``held``:
    the row that was put aside last."""

    files: Mapping[tuple[str, FileState], tuple[int, int]]
    held: Row | None = None
