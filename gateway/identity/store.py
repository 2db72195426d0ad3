"""Users, words, enrolments and the audit in SQL. No password and no word is kept as it is said."""

import itertools
from typing import Any

import sqlalchemy as sa

from contracts.errors import Conflict, Forbidden, NotFound
from contracts.guard import Entry
from contracts.identity import EDGE, PEOPLE, SESSION, USER, WORDS, Identity, Role, digest_of, new_word
from contracts.ports import Clock
from gateway.identity.accounts import (
    Account,
    end_sessions,
    end_words,
    keep_an_admin,
    named_by,
    note_gone,
    one_at_a_time,
    remove,
)
from gateway.identity.tables import account, audit, enrolment, word
from gateway.reader import Reader
from gateway.writer import Writer

DAY = 86_400 * 10**9
SESSION_DAYS, IDLE_DAYS = 7, 0.5
"""A session ends after so long; or when it was not used for so long."""
NOTE_USE = 60 * 10**9
"""ns; that a word is used is written down at most so often."""
KINDS = {EDGE: "edge", USER: "user", SESSION: "session"}


class IdentityStore:
    """Implements ``contracts.identity.Authenticator`` and ``contracts.guard.Auditor`` beside the database."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer, self._reader, self._clock = writer, reader, clock

    # --- who

    async def identify(self, said: str) -> Identity | None:
        """Whose word it is, by the state of this moment."""
        if not said.startswith(WORDS):
            return None
        digest, now = digest_of(said), self._clock()
        row = await self._reader.run(lambda tx: _known(tx, digest), quick=True)
        if row is None or row.revoked or (row.expires and row.expires <= now):
            return None
        if row.kind == "session" and row.used + IDLE_DAYS * DAY < now:
            return None
        if row.used + NOTE_USE < now:
            await self._writer.run(lambda tx: _note_use(tx, digest, row.replaces, now))
        if row.kind == "edge":
            return Identity(row.name, Role.EDGE)
        return Identity(row.name, Role(row.role), session=row.kind == "session") if row.role else None

    async def record(self, entry: Entry) -> None:
        """Into the audit; on disk when it returns."""
        values = {
            "at": self._clock(),
            "actor": entry.actor,
            "role": str(entry.role),
            "address": entry.address,
            "what": entry.what,
            "outcome": entry.outcome,
        }
        await self._writer.run(lambda tx: tx.execute(audit.insert(), [values]))

    async def audited(self, limit: int = 200, before: int | None = None) -> list[dict[str, Any]]:
        """What was asked for by people, newest first."""
        query = sa.select(audit).order_by(audit.c.seq.desc()).limit(limit)
        query = query.where(audit.c.seq < before) if before is not None else query
        return [dict(row._mapping) for row in await self._reader.run(lambda tx: tx.execute(query).all())]  # noqa: SLF001

    async def forget_audit(self, before: int, most: int = 1000) -> int:
        """Remove the oldest lines of the audit, of those from before a time (ns), so many at most; how many."""

        def work(tx: sa.Connection) -> int:
            oldest = tx.execute(sa.select(audit.c.seq, audit.c.at).order_by(audit.c.seq).limit(most)).all()
            old = [row.seq for row in itertools.takewhile(lambda row: row.at < before, oldest)]
            if old:
                tx.execute(audit.delete().where(audit.c.seq <= old[-1]))
            return len(old)

        return await self._writer.run(work)

    # --- words

    async def give(self, prefix: str, name: str, days: float = 0) -> str:
        """A new word for somebody, told this once; good for so many days (0: until it is revoked)."""
        said, now = new_word(prefix), self._clock()
        row = _word(digest_of(said), KINDS[prefix], name, now, int(days * DAY))
        await self._writer.run(lambda tx: tx.execute(word.insert(), [row]))
        return said

    async def revoke(self, said: str) -> None:
        """This word is good no more."""
        now, digest = self._clock(), digest_of(said)
        change = word.update().where(word.c.digest == digest, word.c.revoked == 0).values(revoked=now)
        await self._writer.run(lambda tx: tx.execute(change))

    async def revoke_all(self, kinds: tuple[str, ...], name: str) -> int:
        """All words of somebody are good no more, and enrolments that wait for an instrument; how many there were."""
        now = self._clock()

        def work(tx: sa.Connection) -> int:
            if "edge" in kinds:
                tx.execute(enrolment.delete().where(enrolment.c.name == name, enrolment.c.redeemed == ""))
            mine = (word.c.kind.in_(kinds)) & (word.c.name == name) & (word.c.revoked == 0)
            # A renewal that another gateway is just writing down is waited for, and its word found then.
            tx.execute(sa.select(word.c.digest).where(mine).order_by(word.c.digest).with_for_update()).all()
            return tx.execute(word.update().where(mine).values(revoked=now)).rowcount

        return await self._writer.run(work)

    async def edges(self) -> list[dict[str, Any]]:
        """Instruments: name, since when, last seen, revoked (ns; 0: not)."""
        c = word.c
        query = (
            sa.select(c.name, sa.func.min(c.created), sa.func.max(c.used), sa.func.min(c.revoked))
            .where(c.kind == "edge")
            .group_by(c.name)
            .order_by(c.name)
        )
        rows = await self._reader.run(lambda tx: tx.execute(query).all())
        return [{"Name": name, "Since": since, "Seen": seen, "Revoked": gone} for name, since, seen, gone in rows]

    # --- instruments come in

    async def invite(self, name: str, code: str, seconds: float) -> None:
        """A code by which an instrument of that name may come in, once, within so many seconds. Earlier ones of that
        name that nobody has used are good no more, nor is a word that came of one and was never used."""
        now = self._clock()
        row = {
            "digest": digest_of(code),
            "name": name,
            "created": now,
            "expires": now + int(seconds * 1e9),
            "redeemed": "",
        }

        def work(tx: sa.Connection) -> None:
            tx.execute(enrolment.delete().where(enrolment.c.name == name, enrolment.c.redeemed == ""))
            idle = (word.c.kind == "edge") & (word.c.name == name) & (word.c.used == 0) & (word.c.replaces == "")
            tx.execute(word.update().where(idle, word.c.revoked == 0).values(revoked=now))
            tx.execute(enrolment.insert(), [row])

        await self._writer.run(work)

    async def redeem(self, code: str, digest: str) -> str:
        """The instrument's name; from now on the word with this digest is its. Asking again with the same digest
        changes nothing: the answer may have been lost. Raises ``Forbidden``."""
        now = self._clock()

        def work(tx: sa.Connection) -> str:
            here = enrolment.c.digest == digest_of(code)
            row = tx.execute(sa.select(enrolment).where(here).with_for_update()).first()
            if row is not None and row.redeemed == digest:
                _check_good(tx, digest)
                return str(row.name)
            if row is None or row.redeemed or row.expires <= now:
                raise Forbidden("this code is not good (any more): ask an administrator for a new one (cytobus invite)")
            if tx.execute(sa.select(word.c.digest).where(word.c.digest == digest)).first() is not None:
                raise Forbidden("this word is somebody's already: make a new one; the code is good still")
            tx.execute(enrolment.update().where(here).values(redeemed=digest))
            tx.execute(word.insert(), [_word(digest, "edge", row.name, now, 0) | {"used": 0}])
            return str(row.name)

        return await self._writer.run(work)

    async def rotate(self, old: str, digest: str) -> None:
        """The instrument's next word; the old one is good until the next one is first used. Repeatable."""
        now, was = self._clock(), digest_of(old)

        def work(tx: sa.Connection) -> None:
            row = tx.execute(sa.select(word).where(word.c.digest == was).with_for_update()).first()
            if row is None or row.kind != "edge" or row.revoked:
                raise Forbidden("only an instrument's own, good word can be replaced")
            if tx.execute(sa.select(word.c.digest).where(word.c.digest == digest)).first() is None:
                tx.execute(word.insert(), [_word(digest, "edge", row.name, now, 0) | {"replaces": was, "used": 0}])

        await self._writer.run(work)

    # --- users whom a provider vouches for

    async def admit(self, subject: str, name: str, role: Role) -> None:
        """Make or change the user that is ``subject`` at the provider: what it says of them holds, here too.

        Raises ``Conflict`` where the name is somebody else's: names can be chosen or given anew, subjects cannot.
        """
        now = self._clock()

        def work(tx: sa.Connection) -> None:
            row = tx.execute(sa.select(account).where(account.c.name == name).with_for_update()).first()
            if row is not None and row.subject != subject:
                whose = "another user of the provider" if row.subject else "a user of this gateway"
                raise Conflict(
                    f"{name} is {whose} already: an administrator can remove that one (cytobus users remove {name})"
                )
            for former in named_by(tx, subject) - {name}:
                remove(tx, former, now)
            if row is None:
                fresh = {"name": name, "role": str(role), "password": "", "created": now, "subject": subject}
                tx.execute(account.insert(), [fresh])
                note_gone(tx, name, "")
            elif row.role != role:
                tx.execute(account.update().where(account.c.name == name).values(role=str(role)))
                end_sessions(tx, name, now)

        await self._writer.run(work)

    async def turn_away(self, subject: str) -> None:
        """The provider vouches no more for whoever this is: their words are good no more."""
        now = self._clock()

        def work(tx: sa.Connection) -> None:
            for name in named_by(tx, subject):
                end_words(tx, name, now)

        await self._writer.run(work)

    async def spend(self, ticket: str, seconds: float) -> bool:
        """Whether this ticket, which lives so long at most, is used for the first time."""
        now, kind = self._clock(), "login"
        row = _word(digest_of(ticket), kind, "", now, int(seconds * 1e9))

        def work(tx: sa.Connection) -> bool:
            if tx.execute(sa.select(word.c.digest).where(word.c.digest == row["digest"])).first() is not None:
                return False
            tx.execute(word.delete().where(word.c.kind == kind, word.c.expires <= now))
            tx.execute(word.insert(), [row])
            return True

        return await self._writer.run(work)

    # --- users

    async def account(self, name: str) -> Account | None:
        """Somebody, by name."""
        query = sa.select(account).where(account.c.name == name)
        row = await self._reader.run(lambda tx: tx.execute(query).first(), quick=True)
        return Account(row.name, Role(row.role), row.password) if row is not None else None

    async def accounts(self) -> list[Account]:
        """All users, by name."""
        rows = await self._reader.run(lambda tx: tx.execute(sa.select(account).order_by(account.c.name)).all())
        return [Account(row.name, Role(row.role), row.password) for row in rows]

    async def put_account(self, name: str, role: Role, password: str | None, *, new: bool = False) -> None:
        """Make or change a user; ``password`` is a hash, None leaves it. What changed ends all sessions of theirs.
        Raises ``Conflict`` where a ``new`` one is there already or the last administrator would be lost."""
        if role not in PEOPLE:
            raise Conflict(f"{role!r} is no role of a user: {', '.join(PEOPLE)}")
        now = self._clock()

        def work(tx: sa.Connection) -> None:
            one_at_a_time(tx)
            here = account.c.name == name
            row = tx.execute(sa.select(account).where(here).with_for_update()).first()
            if row is None:
                fresh = {"name": name, "role": str(role), "password": password or "", "created": now}
                tx.execute(account.insert(), [fresh])
                note_gone(tx, name, "")
                return
            if new:
                raise Conflict(f"there is a user {name} already")
            if row.role == Role.ADMIN and role is not Role.ADMIN:
                keep_an_admin(tx, name)
            changes = {"role": str(role)} | ({"password": password} if password is not None else {})
            tx.execute(account.update().where(here).values(**changes))
            end_sessions(tx, name, now)

        await self._writer.run(work)

    async def change_password(self, name: str, password: str) -> None:
        """Another hash for a user who is there still, in the role that they have; their sessions end. Raises
        ``NotFound``: who was removed while this was asked for does not come back by it."""
        now = self._clock()

        def work(tx: sa.Connection) -> None:
            if not tx.execute(account.update().where(account.c.name == name).values(password=password)).rowcount:
                raise NotFound(f"there is no user {name}")
            end_sessions(tx, name, now)

        await self._writer.run(work)

    async def remove_account(self, name: str) -> None:
        """Forget a user; their words are good no more. Raises ``NotFound``, or ``Conflict`` for the last admin."""
        now = self._clock()

        def work(tx: sa.Connection) -> None:
            one_at_a_time(tx)
            row = tx.execute(sa.select(account.c.role).where(account.c.name == name).with_for_update()).first()
            if row is None:
                raise NotFound(f"there is no user {name}")
            if row.role == Role.ADMIN:
                keep_an_admin(tx, name)
            remove(tx, name, now)

        await self._writer.run(work)


def _known(tx: sa.Connection, digest: str) -> Any:
    """A word with the role that its user has now (None for an instrument, or when the user is gone)."""
    both = word.outerjoin(account, account.c.name == word.c.name)
    return tx.execute(sa.select(word, account.c.role).select_from(both).where(word.c.digest == digest)).first()


def _check_good(tx: sa.Connection, digest: str) -> None:
    """Raises ``Forbidden`` for a word that was given once and taken back since."""
    if tx.execute(sa.select(word.c.revoked).where(word.c.digest == digest)).scalar():
        raise Forbidden("the word that came of this code was revoked: ask an administrator for a new code")


def _note_use(tx: sa.Connection, digest: str, replaces: str, now: int) -> None:
    tx.execute(word.update().where(word.c.digest == digest).values(used=now))
    if replaces:
        tx.execute(word.update().where(word.c.digest == replaces, word.c.revoked == 0).values(revoked=now))


def _word(digest: str, kind: str, name: str, now: int, lasting: int) -> dict[str, Any]:
    return {
        "digest": digest,
        "kind": kind,
        "name": name,
        "created": now,
        "expires": now + lasting if lasting else 0,
        "used": now,
        "revoked": 0,
        "replaces": "",
    }
