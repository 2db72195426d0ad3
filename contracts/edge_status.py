"""How an instrument is, as it tells its gateway now and then. Of each only the last report is kept."""

from typing import Annotated, Protocol

from pydantic import Field, StringConstraints

from contracts.models import Model

LONGEST = 500
"""Characters of a path or a reason; more are cut off."""
MOST = 50
"""Folders, disks or troubles in one report."""
Count = Annotated[int, Field(ge=0, lt=2**63)]
Words = Annotated[str, StringConstraints(max_length=LONGEST)]


class WatchedFolder(Model):
    """A watched folder and its files by how far they have come; ``oldest``: since when the first of the waiting ones
    has been known (ns since the epoch), 0 where none waits."""

    path: Words
    waiting: Count = 0
    """Not handed over to the gateway yet."""
    held: Count = 0
    """Put aside, with the reason: they cannot be read, or are nothing that can be sent."""
    sent: Count = 0
    """With the gateway; their results are awaited."""
    done: Count = 0
    oldest: Count = 0


class Disk(Model):
    """The disk of a folder (bytes). ``trouble``: why it cannot be looked at; then both are 0."""

    what: Words
    path: Words
    free: Count = 0
    total: Count = 0
    trouble: Words = ""


class Trouble(Model):
    """What of the edge cannot do its work now, and why."""

    what: Words
    why: Words


class EdgeStatus(Model):
    """Body of ``PUT /api/v1/edges/{name}/status``. Times in ns since the epoch, by the instrument's own clock."""

    version: Words
    """Of cytobus."""
    system: Words
    at: Count
    started: Count
    folders: tuple[WatchedFolder, ...] = Field(default=(), max_length=MOST)
    disks: tuple[Disk, ...] = Field(default=(), max_length=MOST)
    pending: Count = 0
    """Files that are not complete yet."""
    troubles: tuple[Trouble, ...] = Field(default=(), max_length=MOST)
    last_error: Words = ""
    """Of the file that was put aside last."""
    last_error_file: Words = ""
    last_error_at: Count = 0


class Statuses(Protocol):
    """Who wants to know how instruments are. Raises one of ``contracts.errors`` where it is not heard."""

    async def tell(self, name: str, status: EdgeStatus) -> None: ...


def cut(text: str) -> str:
    """The text as a report may hold it: what is no Unicode as backslash escapes, and not too long."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
