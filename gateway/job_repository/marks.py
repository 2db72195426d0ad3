"""Up to which line of the histories all lines are known, where several gateways write them at the same time.

PostgreSQL gives numbers out before transactions commit, so line 6 may be seen while line 5 is still being written. Who
writes lines therefore says first, by a shared advisory lock that ends with the transaction, after which number its own
will come; who reads goes no further than the least number that somebody still holds.
"""

import sqlalchemy as sa

TAG = 0x6379 << 48
"""The first sixteen bits of these locks' keys; the number is in the other forty-eight."""
MARK = sa.text(
    "SELECT pg_advisory_xact_lock_shared(CAST(:tag AS bigint) + last_value - CASE WHEN is_called THEN 0 ELSE 1 END)"
    " FROM history_seq_seq"
)
HELD = sa.text(
    "SELECT min((classid::bigint << 32) + objid::bigint - CAST(:tag AS bigint)) FROM pg_locks"
    " WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = CAST(:tag AS bigint) >> 48"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def mark(tx: sa.Connection) -> None:
    """To be said before a transaction adds lines. SQLite has one writer anyway."""
    if tx.dialect.name == "postgresql":
        tx.execute(MARK, {"tag": TAG})


def known(connection: sa.Connection, newest: int) -> int:
    """The last line before which nobody is going to add one. ``newest``: a line that was seen before; whoever had a
    number below it then either holds a lock now, or is done and can be seen from now on."""
    if connection.dialect.name != "postgresql":
        return newest
    held = connection.execute(HELD, {"tag": TAG}).scalar()
    return newest if held is None else min(newest, int(held))
