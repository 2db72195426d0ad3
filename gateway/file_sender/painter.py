"""Makes previews in a process of its own: whatever a file does to a decoder, the gateway goes on."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Lock, Thread

from contracts.errors import AppError

_SPAWN = multiprocessing.get_context("spawn")
IDLE_SECONDS = 30.0
"""After so long without work the process ends, and its memory is free."""
START_SECONDS = 60.0
Answer = str
"""Empty: the preview was made; else why not."""


class Painter:
    """One process at a time, started when it is needed, killed when it takes too long. Used by one thread at a time."""

    def __init__(self, *, seconds: float = 60.0, memory_bytes: int = 4 * 2**30) -> None:
        """``seconds`` for one preview at most; ``memory_bytes`` of address space, where the system can limit it."""
        self._seconds, self._memory = seconds, memory_bytes
        self._process: SpawnProcess | None = None
        self._connection: Connection[tuple[Path, Path], Answer] | None = None
        self._lock = Lock()
        self._closed = False

    def paint(self, source: Path, target: Path) -> None:
        """The preview of a file lies at its target, synced. Blocks. Raises ``ValueError`` when there can be none."""
        for fresh in (False, True):
            connection = self._opened(fresh)
            try:
                connection.send((source, target))
                if not connection.poll(self._seconds):
                    self._end()
                    raise ValueError(f"{source.name}: no preview within {self._seconds:g} s")
                answer = connection.recv()
            except (EOFError, OSError):
                if fresh or self._closed:
                    self._end()
                    raise ValueError(f"{source.name}: making its preview ended the process") from None
                continue  # it may have ended for want of work
            if answer:
                raise ValueError(answer)
            return

    def close(self) -> None:
        """End the process, whatever it does. From any thread."""
        self._closed = True
        self._end()

    def _opened(self, fresh: bool) -> "Connection[tuple[Path, Path], Answer]":
        if fresh or self._connection is None or self._process is None or not self._process.is_alive():
            self._end()
            self._start()
        if self._connection is None:
            raise ValueError("previews are no longer made: the gateway stops")
        return self._connection

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                return
            mine, theirs = _SPAWN.Pipe()
            with theirs:
                self._process = _SPAWN.Process(target=serve, args=(theirs, self._memory), name="painter", daemon=True)
                self._process.start()
            self._connection = mine

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            connection, self._connection = self._connection, None
            if process is not None:
                process.kill()
                process.join()
            if connection is not None:
                connection.close()


def serve(connection: "Connection[Answer, tuple[Path, Path]]", memory_bytes: int) -> None:
    """Answer requests until there are none for a while, or nobody who asks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent's to deal with
    parent = parent_process()
    if parent is not None:
        Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    from gateway.file_sender.archive import make_preview

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is told by exception
    _limit_memory(memory_bytes)
    with contextlib.suppress(EOFError, OSError):
        while connection.poll(IDLE_SECONDS):
            source, target = connection.recv()
            connection.send(_painted(make_preview, source, target))


def _painted(make: Callable[[Path, Path], None], source: Path, target: Path) -> Answer:
    try:
        make(source, target)
    except (OSError, ValueError, AppError, MemoryError) as error:
        return f"{source.name} cannot be shown: {type(error).__name__}: {error}"[:500]
    return ""


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _limit_memory(limit: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
