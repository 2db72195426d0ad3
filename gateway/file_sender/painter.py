"""Decodes images in a process of its own: whatever a file does to a decoder, the gateway goes on."""

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
from typing import Any, TypeVar

from gateway.file_sender.archive import make_preview

T = TypeVar("T")
_SPAWN = multiprocessing.get_context("spawn")
IDLE_SECONDS = 30.0
"""After so long without work the process ends, and its memory is free."""
START_SECONDS = 60.0
Question = tuple[Callable[..., Any], tuple[Any, ...]]
Answer = tuple[str, Any]
"""Why there is no answer, or nothing and the answer."""


class Painter:
    """One process at a time, started when it is needed, killed when it takes too long. Used by one thread at a time."""

    def __init__(self, *, seconds: float = 60.0, memory_bytes: int = 4 * 2**30) -> None:
        """``seconds`` for one preview at most; ``memory_bytes`` of address space, where the system can limit it."""
        self._seconds, self._memory = seconds, memory_bytes
        self._process: SpawnProcess | None = None
        self._connection: Connection[Question, Answer] | None = None
        self._lock = Lock()
        self._closed = False

    def paint(self, source: Path, target: Path) -> None:
        """The preview of a file lies at its target, synced. Blocks. Raises ``ValueError`` when there can be none."""
        self.ask(make_preview, source, target)

    def ask(self, work: Callable[..., T], source: Path, *more: object) -> T:
        """What a function of a module makes of a file over there. Blocks. Raises ``ValueError`` when it cannot, takes
        too long, or ends the process."""
        for fresh in (False, True):
            connection = self._opened(fresh)
            try:
                connection.send((work, (source, *more)))
                if not connection.poll(self._seconds):
                    self._end()
                    raise ValueError(f"{source.name}: nothing to show within {self._seconds:g} s")
                why, answer = connection.recv()
            except (EOFError, OSError):
                if fresh or self._closed:
                    self._end()
                    raise ValueError(f"{source.name}: decoding it ended the process") from None
                continue  # it may have ended for want of work
            if why:
                raise ValueError(why)
            found: T = answer
            return found
        raise AssertionError("the second try returns or raises")

    def close(self) -> None:
        """End the process, whatever it does. From any thread."""
        self._closed = True
        self._end()

    def _opened(self, fresh: bool) -> "Connection[Question, Answer]":
        if fresh or self._connection is None or self._process is None or not self._process.is_alive():
            self._end()
            self._start()
        if self._connection is None:
            raise ValueError("nothing is decoded any more: the gateway stops")
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


def serve(connection: "Connection[Answer, Question]", memory_bytes: int) -> None:
    """Answer requests until there are none for a while, or nobody who asks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent's to deal with
    parent = parent_process()
    if parent is not None:
        Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is told by exception
    _limit_memory(memory_bytes)
    with contextlib.suppress(EOFError, OSError):
        while connection.poll(IDLE_SECONDS):
            work, asked = connection.recv()
            connection.send(_answered(work, asked))


def _answered(work: Callable[..., Any], asked: tuple[Any, ...]) -> Answer:
    try:
        return "", work(*asked)
    except Exception as error:  # decoders throw what they like at a damaged file
        return f"{asked[0].name} cannot be shown: {type(error).__name__}: {error}"[:500], None


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _limit_memory(limit: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
