# ruff: noqa: SLF001 - mistakes are planted inside
"""Runs cytobus with a mistake built in, to see whether the machine finds it.

``python -m tests.faults.planted MISTAKE up …``; each is one that programs of this kind are known for.
"""

import os
import sqlite3
import sys
from collections.abc import Callable
from typing import Any

CHOSEN = "CYTOBUS_TEST_PLANTED"
"""Tells worker processes, which begin anew, what is planted."""


def no_file_sync() -> None:
    """Files get their names without being synced."""
    os.fsync = lambda handle: None  # folders too: the program asks for both by this call


def no_folder_sync() -> None:
    """The names of files are not synced."""
    import compose.edge
    import compose.gateway  # noqa: F401 - whatever they import is loaded then

    for module in list(sys.modules.values()):
        if getattr(module, "sync_folder", None) is not None and module.__name__ != __name__:
            module.sync_folder = lambda path: None  # type: ignore[attr-defined]


def lazy_database() -> None:
    """The databases answer before they have synced (SQLite's ``synchronous=OFF``)."""
    from edge import database as edge
    from gateway import database as gateway

    prepare, connect = gateway._prepare, edge.Database._connect

    def lazily(connection: sqlite3.Connection) -> None:
        prepare(connection)
        connection.execute("PRAGMA synchronous=OFF")

    def connected(self: edge.Database) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    gateway._prepare, edge.Database._connect = lazily, connected


def early_acknowledgement() -> None:
    """The instrument says that it has the results before it has them."""
    from edge.file_receiver.service import FileReceiver

    async def hasty(self: Any, job: Any) -> None:
        await self._delivered(job)
        await self._bring_all(job)

    FileReceiver._receive = hasty


def no_checksum() -> None:
    """Nobody looks whether what lies on the gateway is what was sent."""
    from pipelines import execution

    execution._damage = lambda request: ""


def no_rescan() -> None:
    """The watcher trusts the system's notifications alone."""
    from edge.file_watcher.rescan import Rescan

    look = Rescan._look_through

    async def deaf(self: Any, root: str, folder: str) -> None:
        if folder or self.finished:  # a folder that was heard of
            await look(self, root, folder)

    async def never(self: Any) -> None:
        for watch in self.watches.values():
            await self._reach(watch)
        self._all_now = False
        self.finished += 1

    Rescan._look_through, Rescan._look_through_all = deaf, never


def no_idempotency() -> None:
    """Results that are already there are not recognised: they are put down once more."""
    from edge.file_receiver import service

    service._holds = lambda path, sha256: False


PLANTED: dict[str, Callable[[], None]] = {
    "no-file-sync": no_file_sync,
    "no-folder-sync": no_folder_sync,
    "lazy-database": lazy_database,
    "early-acknowledgement": early_acknowledgement,
    "no-checksum": no_checksum,
    "no-rescan": no_rescan,
    "no-idempotency": no_idempotency,
}

if __name__ == "__main__":
    os.environ[CHOSEN] = sys.argv.pop(1)
if __name__ in ("__main__", "__mp_main__"):
    PLANTED[os.environ[CHOSEN]]()
if __name__ == "__main__":
    from compose.cli import app

    app()
