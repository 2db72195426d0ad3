"""Arms faults in running programs, through the shim between them and the C library."""

import errno
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class Call(IntEnum):
    """What a program asks of its files."""

    CREATE = 0
    WRITE = 1
    SYNC = 2
    SYNC_FOLDER = 3
    RENAME = 4
    LINK = 5
    UNLINK = 6
    TRUNCATE = 7
    MKDIR = 8
    READ = 9
    OPEN = 10


CHANGES = (
    Call.CREATE, Call.WRITE, Call.SYNC, Call.SYNC_FOLDER, Call.RENAME, Call.LINK, Call.UNLINK, Call.TRUNCATE,
    Call.MKDIR,
)  # fmt: skip
"""The calls between which a crash leaves different states behind."""


class Action(IntEnum):
    """What is done to a call."""

    NOTHING = 0
    KILL_BEFORE = 1
    KILL_AFTER = 2
    TORN = 3
    FAIL = 4
    FLIP = 5


class Role(IntEnum):
    """Whose calls count: the main process's, or those of a worker that runs pipelines."""

    MAIN = 1
    WORKER = 2


@dataclass(frozen=True)
class Fault:
    """A fault at the ``turn``-th call of some kinds, by some processes, on paths that contain ``only``."""

    action: Action
    kinds: tuple[Call, ...]
    turn: int = 1
    roles: tuple[Role, ...] = (Role.MAIN,)
    error: int = 0
    times: int = 1
    only: str = ""

    def __str__(self) -> str:
        what = errno.errorcode[self.error] if self.action is Action.FAIL else self.action.name.lower().replace("_", " ")
        return f"{what} at call {self.turn} of {'/'.join(kind.name.lower() for kind in self.kinds)}"


class Notices(IntEnum):
    """What becomes of the system's notifications of files."""

    HEARD = 0
    DROPPED = 1
    DOUBLED = 2
    OVERFLOWN = 3


FORM = struct.Struct("@8i64s512s12q4i")
CLOCK, NOTICES = 696, 704
"""Where they stand in the page."""


class Control:
    """The shared page of one program and its children."""

    def __init__(self, file: Path) -> None:
        self._path = file
        file.write_bytes(bytes(FORM.size))
        with file.open("r+b") as handle:
            self._page = mmap.mmap(handle.fileno(), FORM.size)

    def environment(self, root: Path, shadow: Path | None = None) -> dict[str, str]:
        """Variables under which a program is watched."""
        found = {"LD_PRELOAD": str(shim()), "FAULTS_ROOT": str(root), "FAULTS_CONTROL": str(self._path)}
        return found | ({"FAULTS_SHADOW": str(shadow)} if shadow is not None else {})

    def arm(self, fault: Fault) -> None:
        """From now on the fault waits for its turn."""
        kinds, roles = sum(1 << kind for kind in fault.kinds), sum(fault.roles)
        self._set(0, Action.NOTHING)
        for place, value in enumerate((kinds, roles, fault.turn, fault.times, fault.error, 0, 0), 1):
            self._set(place, value)
        self._page[32:96] = fault.only.encode()[:63].ljust(64, b"\0")
        self._page[96:608] = bytes(512)
        self._set(0, fault.action)

    def disarm(self) -> None:
        """No more faults."""
        self._set(0, Action.NOTHING)

    @property
    def fired(self) -> int:
        """How often the fault has happened."""
        return int(struct.unpack_from("@i", self._page, 24)[0])

    @property
    def kind(self) -> Call:
        """The kind of the call at which it happened last."""
        return Call(struct.unpack_from("@i", self._page, 28)[0])

    @property
    def where(self) -> str:
        """The path at which it happened last."""
        return self._page[96:608].split(b"\0")[0].decode(errors="replace")

    def seen(self) -> dict[Call, int]:
        """How many calls of each kind there were."""
        return dict(zip(Call, struct.unpack_from("@11q", self._page, 608), strict=True))

    def step_clock(self, seconds: int) -> None:
        """The clock on the wall is wrong by so much from now on; the one that only runs forward is right."""
        struct.pack_into("@q", self._page, CLOCK, seconds)

    def disturb(self, notices: Notices, reads: int) -> None:
        """So many reads of the system's notifications of files come to grief."""
        struct.pack_into("@3i", self._page, NOTICES, notices, reads, 0)

    @property
    def disturbed(self) -> int:
        """How many reads of notifications came to grief."""
        return int(struct.unpack_from("@i", self._page, NOTICES + 8)[0])

    def _set(self, place: int, value: int) -> None:
        struct.pack_into("@i", self._page, 4 * place, value)


def why_not() -> str:
    """Why calls cannot be interposed here; empty if they can."""
    if os.uname().sysname != "Linux":
        return "calls are interposed on Linux only"
    return "" if shutil.which("cc") else "there is no C compiler (cc)"


@lru_cache
def shim() -> Path:
    """The shim, compiled."""
    target = Path(tempfile.mkdtemp(prefix="cytobus-faults-")) / "shim.so"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(target), str(SOURCE), "-ldl", "-pthread"]
    subprocess.run(command, check=True, capture_output=True)
    return target
