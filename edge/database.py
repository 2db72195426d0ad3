"""One SQLite file behind two threads: writers share commits, readers see what was committed."""

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from contracts.disk import keep_folder, sync_folder
from contracts.errors import AppError, Conflict, Full, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
log = logging.getLogger(__name__)

SHARED = 500
"""At most so many pieces of work ride in one commit."""


@dataclass(frozen=True)
class _Asked:
    """A piece of work, and who waits for it."""

    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]


class Database:
    """What ``write`` has returned survives a crash and a power cut (WAL, ``synchronous=FULL``).

    A file that is damaged is put aside under another name and a new one begun; ``put_aside`` then says so.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self._path, self._schema, self._version = path, schema, version
        self._writer = _Thread(f"{path.name} writer", shared=True)
        self._reader = _Thread(f"{path.name} reader", shared=False)
        self.put_aside = ""

    async def open(self) -> None:
        """Raises ``Conflict`` for a file of a newer version and ``Unavailable`` where none can be opened."""
        self.put_aside = await asyncio.to_thread(self._prepare)

    async def close(self) -> None:
        """All work that was asked for is done and answered first."""
        await asyncio.to_thread(self._reader.stop)
        await asyncio.to_thread(self._writer.stop)

    async def write(self, work: Work[T]) -> T:
        """Do the work in a transaction; returns after the commit. An error undoes this work alone."""
        return await self._writer.ask(work)

    async def read(self, work: Work[T]) -> T:
        """Look at what was committed."""
        return await self._reader.ask(work)

    def _prepare(self) -> str:
        try:
            keep_folder(self._path.parent)
            put_aside = self._put_aside() if not self._sound() else ""
            self._migrate()
            sync_folder(self._path.parent)  # SQLite syncs the names of its logs only
            self._writer.start(self._connect())
            self._reader.start(self._connect())
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"cannot open {self._path}: {error}") from error
        return put_aside

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;")
            return connection
        except sqlite3.Error:
            connection.close()
            raise

    def _sound(self) -> bool:
        try:
            with contextlib.closing(self._connect()) as connection:
                return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        except sqlite3.OperationalError:
            # Out of reach or busy is not damaged.
            raise
        except sqlite3.DatabaseError:
            return False

    def _put_aside(self) -> str:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            number += 1
        for ending in ("", "-wal", "-shm"):
            part = Path(f"{self._path}{ending}")
            if part.exists():
                os.replace(part, f"{aside}{ending}")
        log.error("%s is damaged; it is now %s, and a new one was begun", self._path, aside.name)
        return str(aside)

    def _migrate(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > self._version:
                raise Conflict(f"{self._path} has version {found}, this program knows {self._version}: update it")
            if found == 0:
                connection.executescript(f"BEGIN; {self._schema} PRAGMA user_version={self._version}; COMMIT;")


class _Thread:
    """A connection and the thread that alone uses it. Whoever asks is answered, whatever happens."""

    def __init__(self, name: str, *, shared: bool) -> None:
        self._name, self._shared = name, shared
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, connection: sqlite3.Connection) -> None:
        self._thread = threading.Thread(target=self._run, args=(connection,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()
            self._thread = None

    async def ask(self, work: Work[T]) -> T:
        if self._thread is None:
            raise Unavailable(f"the {self._name} is not running")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.put(_Asked(work, answer))
        return await answer

    def _run(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(connection):
            while batch := self._next_batch():
                _answer(_together(connection, batch) if self._shared else [_alone(connection, batch[0])])

    def _next_batch(self) -> list[_Asked]:
        """What waits now, at least one; empty when it is time to stop."""
        batch: list[_Asked] = []
        try:
            while len(batch) < (SHARED if self._shared else 1):
                asked = self._asked.get(block=not batch)
                if asked is None:
                    if batch:
                        self._asked.put(None)
                    return batch
                batch.append(asked)
        except queue.Empty:
            pass
        return batch


_Answered = tuple[_Asked, Any, Exception | None]


def _together(connection: sqlite3.Connection, batch: list[_Asked]) -> list[_Answered]:
    """All the work in one transaction; each piece fails alone, a failed commit fails all."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        answered = [_within(connection, asked) for asked in batch]
        connection.execute("COMMIT")
        return answered
    except Exception as error:
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        return [(asked, None, _translated(error)) for asked in batch]


def _within(connection: sqlite3.Connection, asked: _Asked) -> _Answered:
    connection.execute("SAVEPOINT one")
    try:
        result = asked.work(connection)
    except Exception as error:
        if not connection.in_transaction:
            # SQLite itself gave the whole transaction up (disk full, I/O error).
            raise
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return asked, None, _translated(error)
    connection.execute("RELEASE one")
    return asked, result, None


def _alone(connection: sqlite3.Connection, asked: _Asked) -> _Answered:
    try:
        return asked, asked.work(connection), None
    except Exception as error:
        return asked, None, _translated(error)


def _translated(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.OperationalError):
        return error
    kind: type[AppError] = Full if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL else Unavailable
    return kind(f"the journal cannot be used: {error}")


def _answer(answered: list[_Answered]) -> None:
    """Hand the answers over, one wake-up for each event loop that waits."""
    for loop in {asked.answer.get_loop() for asked, _, _ in answered}:
        own = [item for item in answered if item[0].answer.get_loop() is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(answered: list[_Answered]) -> None:
    for asked, result, error in answered:
        if asked.answer.done():
            continue
        if error is None:
            asked.answer.set_result(result)
        else:
            asked.answer.set_exception(error)
