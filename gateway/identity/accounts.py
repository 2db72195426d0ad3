"""Users as rows: what changes of them have in common, each within the transaction of whoever asks."""

from dataclasses import dataclass

import sqlalchemy as sa

from contracts.errors import Conflict
from contracts.identity import Role
from gateway.identity.tables import GONE, account, word
from gateway.tables import note

USERS_LOCK = 0x6379746F627573
"""The key of PostgreSQL's advisory lock for changes of users."""


@dataclass(frozen=True)
class Account:
    """Somebody with a name, a role, and the hash of a password (empty: logs in elsewhere)."""

    name: str
    role: Role
    password: str


def one_at_a_time(tx: sa.Connection) -> None:
    """Until the transaction ends no other gateway changes users: of two administrators, each might else be removed
    for the other's sake. SQLite has one writer anyway."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(USERS_LOCK)))


def keep_an_admin(tx: sa.Connection, name: str) -> None:
    """Raises ``Conflict`` where this one is the last administrator."""
    others = sa.select(account.c.name).where(account.c.role == Role.ADMIN, account.c.name != name).limit(1)
    if tx.execute(others).first() is None:
        raise Conflict(f"{name} is the only administrator: make another one first")


def named_by(tx: sa.Connection, subject: str) -> set[str]:
    """What the provider's user is called here."""
    return set(tx.scalars(sa.select(account.c.name).where(account.c.subject == subject)))


def remove(tx: sa.Connection, name: str, now: int) -> None:
    """Forget a user; their words are good no more."""
    tx.execute(account.delete().where(account.c.name == name))
    note_gone(tx, name, str(now))
    end_words(tx, name, now)


def note_gone(tx: sa.Connection, name: str, when: str) -> None:
    """That a user was removed (or is there again: an empty ``when``), for a restore of a backup that knows them yet."""
    tx.execute(note.delete().where(note.c.name == GONE + name))
    if when:
        tx.execute(note.insert(), [{"name": GONE + name, "value": when}])


def end_words(tx: sa.Connection, name: str, now: int) -> None:
    """All words of a user are good no more."""
    mine = word.c.kind.in_(("user", "session")) & (word.c.name == name) & (word.c.revoked == 0)
    tx.execute(word.update().where(mine).values(revoked=now))


def end_sessions(tx: sa.Connection, name: str, now: int) -> None:
    """A user has to log in again; their other words stay."""
    mine = (word.c.kind == "session") & (word.c.name == name) & (word.c.revoked == 0)
    tx.execute(word.update().where(mine).values(revoked=now))
