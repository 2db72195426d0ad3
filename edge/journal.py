"""What the edge knows of its files: one row per content version, kept until its job is done and after."""

import json
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from sqlite3 import Connection

from contracts.desk import pause_after
from contracts.ports import Clock
from contracts.rules import FARTHEST
from edge.database import Database
from edge.rows import NEVER, SECOND, FileState, Row, Sighting, Step, Tally

VERSION = 1
SCHEMA = """
CREATE TABLE file (
  id INTEGER PRIMARY KEY,
  root TEXT NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL,
  size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
  sha256 TEXT NOT NULL DEFAULT '', job_id TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
  tries INTEGER NOT NULL DEFAULT 0, not_before INTEGER NOT NULL DEFAULT 0, seen_at INTEGER NOT NULL
);
CREATE INDEX file_place ON file (root, folder, name, id);
CREATE INDEX file_state ON file (state, id);
CREATE INDEX file_job ON file (job_id, id) WHERE job_id <> '';
CREATE TABLE output (path TEXT PRIMARY KEY, job_id TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


COLUMNS = ", ".join(field.name for field in fields(Row))
PLACE = "root = ? AND folder = ? AND name = ?"


class Journal:
    """Everything it has answered survives ``kill -9`` and power cuts. Names are kept as they are; what is not
    valid Unicode in a name is kept as a backslash escape (such files are held and never opened)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.database = Database(path, SCHEMA, VERSION)
        self._clock = clock
        self._listeners: dict[FileState, list[Callable[[], None]]] = {state: [] for state in FileState}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open while the context is. Raises ``Conflict`` or ``Unavailable`` where it cannot be opened."""
        await self.database.open()
        try:
            yield
        finally:
            await self.database.close()

    @property
    def put_aside(self) -> str:
        """Where the damaged journal lies that was found at the start; empty when all was well."""
        return self.database.put_aside

    def listen(self, state: FileState, wake: Callable[[], None]) -> None:
        """Call ``wake`` in the event loop whenever rows have come into a state."""
        self._listeners[state].append(wake)

    def wake(self, states: Iterable[FileState]) -> None:
        """Tell the listeners of these states, each once."""
        for call in dict.fromkeys(call for state in states for call in self._listeners[state]):
            call()

    async def sight(self, sightings: Sequence[Sighting]) -> list[Row]:
        """Take or hold files, all in one commit; the row of each as it is then. What is known stays as it is."""
        now = self._clock()
        rows = await self.database.write(lambda connection: [_sight(connection, one, now) for one in sightings])
        self.wake({FileState(row.state) for row in rows})
        return rows

    async def step(self, steps: Sequence[Step]) -> int:
        """Move rows on, all in one commit; the number of those that were still where they were expected."""
        moved = await self.database.write(lambda connection: sum([_step(connection, one) for one in steps]))
        self.wake({one.state for one in steps})
        return moved

    async def hashed(self, row: Row, sha256: str, job_id: str) -> Row:
        """A found row's content is known now. ``duplicate`` is noted where an earlier row has its job."""
        fresh = await self.database.write(lambda connection: _hashed(connection, row, sha256, job_id))
        self.wake({FileState(fresh.state)})
        return fresh

    async def adopt(self, one: Sighting, job_id: str, sha256: str) -> None:
        """A file whose job was made elsewhere and is to be sent."""
        now = self._clock()
        await self.database.write(lambda connection: _adopt(connection, one, job_id, sha256, now))
        self.wake([FileState.REGISTERED])

    async def put_back(self, row: Row, reason: str, *, retry: bool) -> None:
        """A found row is for the watcher to look at again: at once, or with ``retry`` after a growing while."""
        tries = row.tries + 1 if retry else row.tries
        not_before = self._clock() + _pause(tries, random.random()) if retry else 0
        step = Step(row.id, FileState.FOUND, FileState.HELD, reason=reason, not_before=not_before, tries=tries)
        await self.step([step])

    async def gone(self, places: Sequence[tuple[str, str, str]]) -> None:
        """Close the held rows of files (root, folder, name) that are no longer there."""
        await self.database.write(lambda connection: connection.executemany(_GONE, map(_plain, places)))

    async def latest(self, root: str, folder: str, names: Sequence[str]) -> dict[str, Row]:
        """The last row of each of these names, as far as they are known."""
        plain = {escaped(name): name for name in names}
        last = "SELECT max(id) FROM file WHERE root = ? AND folder = ? AND name = value"
        where = f"id IN (SELECT ({last}) FROM json_each(?))"
        rows = await self._rows(where, escaped(root), escaped(folder), json.dumps(list(plain)))
        return {plain[row.name]: row for row in rows}

    async def waiting(self, state: FileState, limit: int) -> list[Row]:
        """Rows in a state whose back-off is over, oldest first."""
        now = self._clock()
        due = "(not_before <= ? OR not_before > ? AND not_before < ?)"
        return await self._rows(f"state = ? AND {due} ORDER BY id LIMIT ?", state, now, now + FARTHEST, NEVER, limit)

    async def page(self, state: FileState, limit: int, after: int = 0) -> list[Row]:
        """Rows in a state, oldest first, from the row after ``after`` on."""
        return await self._rows("state = ? AND id > ? ORDER BY id LIMIT ?", state, after, limit)

    async def of_job(self, job_id: str) -> Row | None:
        """The row that a job was made of; None where there is none."""
        return (await self.of_jobs([job_id])).get(job_id)

    async def of_jobs(self, job_ids: Sequence[str]) -> dict[str, Row]:
        """The rows that jobs were made of, as far as there are any."""
        where = "job_id <> '' AND job_id IN (SELECT value FROM json_each(?)) ORDER BY outcome <> 'duplicate', id"
        return {row.job_id: row for row in await self._rows(where, json.dumps(job_ids))}

    async def row(self, row_id: int) -> Row | None:
        """One row; None where there is none."""
        rows = await self._rows("id = ?", row_id)
        return rows[0] if rows else None

    async def counts(self) -> dict[str, int]:
        """How many rows are in each state."""
        text = "SELECT state, count(*) FROM file GROUP BY state"
        found = await self.database.read(lambda connection: connection.execute(text).fetchall())
        return {str(state): 0 for state in FileState} | dict(found)

    async def tally(self) -> Tally:
        """How many files of each watched folder are in each state, and what was put aside last."""
        return await self.database.read(_tallied)

    async def change(self) -> int:
        """Another number after each commit, and the same as long as nothing was written."""
        text = "PRAGMA data_version"
        return await self.database.read(lambda connection: int(connection.execute(text).fetchone()[0]))

    async def reserve_output(self, path: str, job_id: str, sha256: str) -> bool:
        """Whether this place among the outputs is the job's now; False where it is another job's."""

        def reserve(connection: Connection) -> bool:
            connection.execute("INSERT OR IGNORE INTO output VALUES (?, ?, ?)", (escaped(path), job_id, sha256))
            owner = connection.execute("SELECT job_id, sha256 FROM output WHERE path = ?", (escaped(path),))
            return bool(owner.fetchone() == (job_id, sha256))

        return await self.database.write(reserve)

    async def outputs_of(self, paths: Sequence[str]) -> dict[str, str]:
        """The job of each of these output files, as far as they are known."""
        text = "SELECT path, job_id FROM output WHERE path IN (SELECT value FROM json_each(?))"
        asked = json.dumps([escaped(path) for path in paths])
        return dict(await self.database.read(lambda connection: connection.execute(text, (asked,)).fetchall()))

    async def retell(self, epoch: str) -> int:
        """The gateway is a restored one: every file whose job it may have forgotten is to be registered again, but for
        those whose results are here. One commit with the note of the epoch; the number of files."""

        def work(connection: Connection) -> int:
            count = connection.execute(_RETELL).rowcount
            connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (EPOCH, epoch))
            return count

        count: int = await self.database.write(work)
        self.wake([FileState.HASHED])
        return count

    async def note(self, name: str, value: str) -> None:
        """Remember a value under a name."""
        await self.database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
        )

    async def noted(self, name: str) -> str:
        """The value remembered under a name; empty where there is none."""
        text = "SELECT value FROM note WHERE name = ?"
        found = await self.database.read(lambda connection: connection.execute(text, (name,)).fetchone())
        return str(found[0]) if found else ""

    async def _rows(self, where: str, *values: object) -> list[Row]:
        text = f"SELECT {COLUMNS} FROM file WHERE {where}"
        return await self.database.read(lambda connection: [Row(*one) for one in connection.execute(text, values)])


EPOCH = "epoch of the gateway"
_RETELL = (
    "UPDATE file SET state = 'hashed', outcome = '', reason = '', not_before = 0, tries = 0 WHERE job_id <> '' AND"
    " (state = 'sent' OR (state = 'done' AND outcome NOT IN ('delivered', 'duplicate')))"
)
_GONE = f"UPDATE file SET state = 'done', outcome = 'gone' WHERE {PLACE} AND state = 'held'"


def _tallied(connection: Connection) -> Tally:
    """Its statements see one moment only where nobody writes: figures for people may be a file apart."""
    text = "SELECT root, state, count(*), min(seen_at) FROM file GROUP BY root, state"
    counts = connection.execute(text).fetchall()
    last = f"SELECT {COLUMNS} FROM file WHERE state = 'held' ORDER BY id DESC LIMIT 1"
    found = connection.execute(last).fetchone()
    return Tally(
        {(root, FileState(state)): (number, since) for root, state, number, since in counts},
        Row(*found) if found else None,
    )


def escaped(text: str) -> str:
    """The text with what is not Unicode as backslash escapes, so that it can be stored and shown."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(place: Iterable[str]) -> tuple[str, ...]:
    return tuple(escaped(part) for part in place)


def _sight(connection: Connection, one: Sighting, now: int) -> Row:
    place = _plain((one.root, one.folder, one.name))
    found = connection.execute(f"SELECT {COLUMNS} FROM file WHERE {PLACE} ORDER BY id DESC LIMIT 1", place).fetchone()
    last = Row(*found) if found else None
    if last and last.signature == one.signature and last.state != FileState.HELD:
        return last
    state = FileState.HELD if one.hold else FileState.FOUND
    again = last is not None and last.state == FileState.HELD and last.signature == one.signature
    tries = (last.tries if last and again else 0) + bool(one.hold)
    not_before = 0 if not one.hold else now + _pause(tries, random.random()) if one.retry else NEVER
    values = (*one.signature, str(state), one.hold, tries, not_before, now)
    if last and _reusable(last):
        text = (
            "UPDATE file SET size = ?, mtime_ns = ?, ctime_ns = ?, state = ?, reason = ?, tries = ?, not_before = ?,"
            f" seen_at = ?, outcome = '', sha256 = '', job_id = '' WHERE id = ? RETURNING {COLUMNS}"
        )
        return Row(*connection.execute(text, (*values, last.id)).fetchone())
    text = (
        "INSERT INTO file (root, folder, name, size, mtime_ns, ctime_ns, state, reason, tries, not_before, seen_at)"
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING {COLUMNS}"
    )
    return Row(*connection.execute(text, (*place, *values)).fetchone())


def _adopt(connection: Connection, one: Sighting, job_id: str, sha256: str, now: int) -> None:
    values = (*_plain((one.root, one.folder, one.name)), *one.signature, sha256, job_id, "registered", now)
    connection.execute(
        "INSERT INTO file (root, folder, name, size, mtime_ns, ctime_ns, sha256, job_id, state, seen_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )


def _pause(tries: int, chance: float) -> int:
    """How long a file that cannot be read is left alone (ns); ``chance`` (0…1) keeps many from coming back at once."""
    return int(pause_after(tries, first=2.0, longest=600.0, chance=chance) * SECOND)


NO_JOB = "('gone', 'changed', 'duplicate')"


def _reusable(last: Row) -> bool:
    """Whether the row stands for no job of its own yet, so that the new version can take its place."""
    return last.state in (FileState.FOUND, FileState.HELD) or last.outcome == "duplicate"


def _step(connection: Connection, one: Step) -> int:
    text = (
        "UPDATE file SET state = ?, outcome = ?, reason = ?, not_before = ?, job_id = coalesce(?, job_id),"
        " sha256 = coalesce(?, sha256), tries = coalesce(?, tries) WHERE id = ? AND state = ?"
    )
    values = (str(one.state), one.outcome, escaped(one.reason), one.not_before, one.job_id, one.sha256, one.tries)
    moved: int = connection.execute(text, (*values, one.id, str(one.was))).rowcount
    return moved


def _hashed(connection: Connection, row: Row, sha256: str, job_id: str) -> Row:
    """A row whose job another row is still bringing on its way is done. One whose job was brought there is
    registered once more: should the gateway have forgotten the job, the file becomes a new one."""
    earlier = "SELECT max(state NOT IN ('sent', 'done')) FROM file WHERE job_id = ? AND id <> ? AND outcome NOT IN {}"
    (on_its_way,) = connection.execute(earlier.format(NO_JOB), (job_id, row.id)).fetchone()
    state = FileState.DONE if on_its_way else FileState.HASHED
    outcome = "" if on_its_way is None else "duplicate"
    text = (
        "UPDATE file SET sha256 = ?, job_id = ?, state = ?, outcome = ? WHERE id = ? AND state = 'found'"
        " AND size = ? AND mtime_ns = ? AND ctime_ns = ?"
    )
    connection.execute(text, (sha256, job_id, str(state), outcome, row.id, *row.signature))
    return Row(*connection.execute(f"SELECT {COLUMNS} FROM file WHERE id = ?", (row.id,)).fetchone())
