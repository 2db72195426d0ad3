"""What the operating system says about watched folders; hints only, the rescan is the truth."""

import asyncio
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from watchdog import events as wd
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from contracts.condition import Condition
from contracts.errors import Unavailable

MOST = 50_000
"""So many hints are kept; beyond that a rescan is cheaper, and ``Hints.overflowed`` is set."""

HEARD: list[type[wd.FileSystemEvent]] = [
    wd.FileCreatedEvent,
    wd.FileClosedEvent,
    wd.FileMovedEvent,
    wd.DirCreatedEvent,
    wd.DirMovedEvent,
    wd.DirDeletedEvent,
]
if sys.platform != "linux":
    # Where closing is not reported, writing has to be.
    HEARD.append(wd.FileModifiedEvent)


@dataclass(frozen=True)
class Hint:
    """Something happened at a path. ``arrived``: it was closed after writing, or renamed to this name."""

    path: str
    arrived: bool = False
    folder: bool = False


class Hints:
    """Collects hints from the observer's threads and wakes the event loop once for many."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._hints: deque[Hint] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observer: BaseObserver | None = None
        self._watches: dict[str, ObservedWatch] = {}
        self._woken = False
        self.overflowed = False
        self.condition = Condition("file events")

    def start(self) -> None:
        """Hear from now on (in the running event loop); folders are added by ``watch``.

        Where the system has no room for it (inotify's limits), ``condition`` says so and nothing is heard.
        """
        self._loop = asyncio.get_running_loop()
        # Trees that grow fast are met twice, which does no harm; as an error it would end watchdog's thread.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        try:
            observer = Observer()
            observer.start()
        except OSError as error:
            self.condition.trouble = f"no events from the system, folders are polled: {error.strerror or error}"
            return
        self._observer = observer

    def stop(self) -> None:
        """Blocks until the observer's threads have ended."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()
        self._watches.clear()

    def watch(self, root: str, *, recursive: bool) -> None:
        """Hear of a folder, from the start again if it was heard of before. Blocks.

        Raises ``Unavailable`` where the system cannot do it.
        """
        self.unwatch(root)
        if self._observer is None:
            return
        try:
            real = os.path.realpath(root)
            ear = _Ear(self._hear, real, root)
            self._watches[root] = self._observer.schedule(ear, real, recursive=recursive, event_filter=HEARD)
        except OSError as error:
            raise Unavailable(f"no events from {root}, it is only rescanned: {error.strerror or error}") from error

    def unwatch(self, root: str) -> None:
        """Hear no more of a folder. Blocks."""
        watch = self._watches.pop(root, None)
        if watch is not None and self._observer is not None:
            self._observer.unschedule(watch)

    def take(self) -> list[Hint]:
        """What was heard since the last time."""
        self._woken = False
        taken = []
        while self._hints:
            taken.append(self._hints.popleft())
        return taken

    def _hear(self, hint: Hint) -> None:
        if len(self._hints) >= MOST:
            self.overflowed = True
        else:
            self._hints.append(hint)
        if not self._woken and self._loop is not None and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake)


class _Ear(wd.FileSystemEventHandler):
    """Turns watchdog's events into hints. The folder it hears of may be called by another name (a link)."""

    def __init__(self, hear: Callable[[Hint], None], real: str, root: str) -> None:
        self._hear, self._real, self._root = hear, real, root

    def on_any_event(self, event: wd.FileSystemEvent) -> None:
        moved = isinstance(event, wd.FileMovedEvent | wd.DirMovedEvent)
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        if path.startswith(self._real):
            path = self._root + path[len(self._real) :]
            arrived = moved or isinstance(event, wd.FileClosedEvent)
            self._hear(Hint(path, arrived=arrived, folder=event.is_directory))
