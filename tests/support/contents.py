"""What a deployment keeps: every row of its databases and every file, to be compared with what it kept before."""

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

NOTED = frozenset({"audit", "edge_status"})
"""What was asked for and refused is written down, and should be; edges tell again and again how they are."""
BOOKKEEPING = frozenset({"used", "last_seen"})
"""Columns that say when somebody was last seen."""
CURSOR = "jobs ended until"
"""How far the edge has asked for jobs that have ended: it goes on asking by itself."""
Contents = Counter[tuple[str, ...]]


def contents(data: Path) -> Contents:
    """Of a data folder: rows (``"gateway.db", table, values …``) and files (``"file", path, SHA-256``)."""
    found: Contents = Counter()
    for database in sorted(data.glob("*.db")):
        found.update(_rows(database))
    for path in sorted(data.rglob("*")):
        if path.is_file() and ".db" not in path.name:
            found["file", str(path.relative_to(data)), hashlib.sha256(path.read_bytes()).hexdigest()] += 1
    return found


def is_shown(data: Path) -> bool:
    """Whether there is a preview of every image of which there is to be one."""
    with closing(sqlite3.connect(f"{(data / 'gateway.db').as_uri()}?mode=ro", uri=True)) as connection:
        (unseen,) = connection.execute("SELECT count(*) FROM job WHERE wants_preview").fetchone()
    return not unseen


def differences(before: Contents, after: Contents) -> list[str]:
    """What went and what came."""
    gone = [f"- {' | '.join(line)}"[:400] for line in before - after]
    return gone + [f"+ {' | '.join(line)}"[:400] for line in after - before]


def _rows(database: Path) -> Contents:
    found: Contents = Counter()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in named:
            if table not in NOTED and not table.startswith("sqlite_"):
                cursor = connection.execute(f'SELECT * FROM "{table}"')  # the name is the database's own
                kept = [place for place, column in enumerate(cursor.description) if column[0] not in BOOKKEEPING]
                rows = (tuple(str(row[place]) for place in kept) for row in cursor)
                found.update((database.name, table, *row) for row in rows if CURSOR not in row)
    return found
