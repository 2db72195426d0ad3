"""What a restore must not take back: whom the database that is replaced has shut out, or let in, since the backup."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from gateway import tables as db
from gateway.identity.tables import GONE, account, enrolment, word

Row = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """Identities as the replaced database has them. ``is_there`` is False where it has none, or cannot be read."""

    words: tuple[Row, ...] = ()
    accounts: tuple[Row, ...] = ()
    codes: tuple[Row, ...] = ()
    gone: dict[str, int] = field(default_factory=dict)
    """Removed users: name -> when (ns)."""

    @property
    def is_there(self) -> bool:
        return bool(self.words or self.accounts)


@dataclass(frozen=True)
class Reapplied:
    """What of it the backup did not know: words by kind and name, users, codes (by the instrument's name)."""

    known: bool = False
    revoked: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    voided: tuple[str, ...] = ()


def known(connection: sa.Connection) -> Known:
    """Read before the tables are replaced, whatever their revision; what is damaged is as if it were not there."""
    try:
        with connection.begin_nested():
            present = set(sa.inspect(connection).get_table_names())
            if not {"word", "account", "enrolment", "note"} <= present:
                return Known()
            notes = connection.execute(sa.select(db.note).where(db.note.c.name.startswith(GONE, autoescape=True)))
            gone = {row.name.removeprefix(GONE): int(row.value) for row in notes}
            words, accounts, codes = (_rows(connection, name) for name in ("word", "account", "enrolment"))
            return Known(words, accounts, codes, gone)
    except sa.exc.DatabaseError:
        return Known()


def _rows(connection: sa.Connection, name: str) -> tuple[Row, ...]:
    """With the columns that it has there."""
    found = sa.inspect(connection).get_columns(name)
    columns: list[sa.ColumnClause[Any]] = [sa.column(column["name"]) for column in found]
    return tuple(dict(row) for row in connection.execute(sa.select(*columns).select_from(sa.table(name))).mappings())


def reapply(connection: sa.Connection, before: Known) -> Reapplied:
    """Bring into the restored tables what the replaced ones knew: nobody who was shut out comes in again, and who was
    let in since stays in. Where these knew nobody, nothing is changed."""
    if not before.is_there:
        return Reapplied()
    revoked, kept = _words(connection, before.words)
    changed = _accounts(connection, before.accounts)
    removed = [name for name, at in before.gone.items() if _removed(connection, name, at)]
    voided = _codes(connection, before.codes)
    return Reapplied(True, *(tuple(sorted(set(names))) for names in (revoked, kept, changed, removed, voided)))


def _words(connection: sa.Connection, words: tuple[Row, ...]) -> tuple[list[str], list[str]]:
    restored = {row["digest"]: row for row in _rows(connection, "word")}
    revoked, kept = [], []
    for row in words:
        then, who = restored.get(row["digest"]), f"{row['kind']} {row['name']}".strip()
        if then is None:
            connection.execute(word.insert(), [row])
            kept += [who] if not row["revoked"] and row["kind"] in ("edge", "user") else []
        elif row["revoked"] and not then["revoked"]:
            connection.execute(word.update().where(word.c.digest == row["digest"]).values(revoked=row["revoked"]))
            revoked.append(who)
    return revoked, kept


def _accounts(connection: sa.Connection, accounts: tuple[Row, ...]) -> list[str]:
    restored, changed = {row["name"]: row for row in _rows(connection, "account")}, []
    for row in accounts:
        then = restored.get(row["name"])
        if then == {"subject": ""} | row:
            continue
        connection.execute(account.delete().where(account.c.name == row["name"]))
        connection.execute(account.insert(), [row])
        changed.append(row["name"])
    return changed


def _removed(connection: sa.Connection, name: str, at: int) -> bool:
    """Remove a user once more; one who was made after that is another."""
    connection.execute(db.note.delete().where(db.note.c.name == GONE + name))
    connection.execute(db.note.insert(), [{"name": GONE + name, "value": str(at)}])
    here = (account.c.name == name) & (account.c.created <= at)
    if not connection.execute(account.delete().where(here)).rowcount:
        return False
    mine = word.c.kind.in_(("user", "session")) & (word.c.name == name) & (word.c.revoked == 0)
    connection.execute(word.update().where(mine, word.c.created <= at).values(revoked=at))
    return True


def _codes(connection: sa.Connection, codes: tuple[Row, ...]) -> list[str]:
    """Codes as they were last: one that was used or voided since does not open the door a second time."""
    last = {row["digest"] for row in codes if not row["redeemed"]}
    live = [row for row in _rows(connection, "enrolment") if not row["redeemed"]]
    connection.execute(enrolment.delete())
    if codes:
        connection.execute(enrolment.insert(), list(codes))
    return [row["name"] for row in live if row["digest"] not in last]
