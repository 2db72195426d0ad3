"""The inside of a worker process: settle in, load plug-ins, answer requests until the parent is gone."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from pipelines.execution import Outcome, RunRequest, execute, pipeline

READY, BEGUN = "ready", "begun"
ROOM = 4
"""A process that has grown by this part of a limit since its start is not used under another limit than before."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Setup:
    """How a worker is to be furnished."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Set before any plug-in, and with it numpy, is imported."""
    memory_bytes: int | None = None
    """Limit of the address space, where the system has such a limit; beyond it Python raises MemoryError."""
    preload: tuple[str, ...] = ()
    """Plug-ins to be imported and made before the first request, as ``module:Class``."""


def serve(connection: "Connection[Outcome | str, RunRequest]", setup: Setup) -> None:
    """Answer requests, one at a time, until the other end is closed."""
    _live_and_die_with_the_parent()
    _stand_alone(connection)
    os.environ.update(setup.environment)
    _limit_memory(setup.memory_bytes)
    for plugin in setup.preload:
        with contextlib.suppress(Exception, SystemExit):  # its first request will say what is wrong
            pipeline(plugin)
    with contextlib.suppress(EOFError, OSError):
        connection.send(READY)
        at_first, last = address_space(), setup.memory_bytes
        while True:
            request = connection.recv()
            limit = request.memory_bytes or setup.memory_bytes
            if limit is not None and limit != last and address_space() - at_first > limit // ROOM:
                # What pipelines with other limits have left behind would count against this one. Whoever has sent the
                # request sends it to the process that takes our place.
                return
            last = limit
            _limit_memory(limit)
            connection.send(BEGUN)
            connection.send(execute(request))


def _live_and_die_with_the_parent() -> None:
    """Ctrl-C and a supervisor's SIGTERM reach the whole group, but are the parent's to deal with."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return
    threading.Thread(target=_follow, args=(parent.sentinel,), name="parent-watch", daemon=True).start()
    if sys.platform == "linux":  # also works while a library keeps the interpreter's lock
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stand_alone(connection: "Connection[Outcome | str, RunRequest]") -> None:
    """Programs that a plug-in calls do not hold the pipe open when the process ends, and ``end`` finds them."""
    if sys.platform == "win32":
        return  # handles are not inherited there
    os.set_inheritable(connection.fileno(), False)
    os.setpgrp()


def end(process: BaseProcess) -> None:
    """End a worker process at once, and with it the programs that it has called and still waits for."""
    if sys.platform != "win32" and process.pid is not None and process.is_alive():
        # A moment after its start it has no group yet, and has called nothing.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def address_space() -> int:
    """Bytes of address space that this process has now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _limit_memory(limit: int | None) -> None:
    if sys.platform == "win32":
        return
    import resource

    _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
    wanted = resource.RLIM_INFINITY if limit is None else limit
    soft = wanted if ceiling == resource.RLIM_INFINITY else min(limit or ceiling, ceiling)
    resource.setrlimit(resource.RLIMIT_AS, (soft, ceiling))
