"""A restore takes nobody back in who was shut out since the backup, and shuts nobody out who came in."""

import asyncio

import pytest

from compose.keeping import about_identities
from contracts.errors import Conflict, Forbidden
from contracts.guard import Entry
from contracts.identity import EDGE, USER, Identity, Role, digest_of, new_word
from gateway import backup as b
from gateway.identity.keeping import AuditKeeping
from gateway.identity.passwords import hashed
from gateway.identity.store import DAY, IdentityStore
from tests.support.house import connected
from tests.support.waiting import eventually

FIRST, SECOND = hashed("a long password"), hashed("another password")


@pytest.fixture
def store(database) -> IdentityStore:
    return IdentityStore(database.writer, database.readers, database.clock)


async def enrolled(store: IdentityStore, name: str) -> str:
    """The word of an instrument that came in just now."""
    word = new_word(EDGE)
    await store.invite(name, f"code of {name}", 9_999_999)
    await store.redeem(f"code of {name}", digest_of(word))
    assert await store.identify(word)
    return word


async def restored(database, file, url: str = "") -> b.Reapplied:
    _, reapplied = await asyncio.to_thread(b.restore, url or database.url, file, force=True)
    return reapplied


async def test_a_restore_over_a_database_keeps_who_may_come_in_as_it_was_last(database, store, tmp_path):
    await store.put_account("admin", Role.ADMIN, FIRST)
    for name in ("anna", "left", "back"):
        await store.put_account(name, Role.OPERATOR, FIRST)
    lefts, out, still = await store.give(USER, "left"), await enrolled(store, "out"), await enrolled(store, "still")
    await store.invite("scope-9", "used since", 9_999_999)
    await store.invite("scope-8", "voided since", 9_999_999)
    await asyncio.to_thread(b.backup, database.url, tmp_path / "backup.zip")

    database.clock.turn(100)
    await store.revoke_all(("edge",), "out")
    await store.put_account("anna", Role.VIEWER, SECOND)
    for name in ("left", "back"):
        await store.remove_account(name)
    await store.put_account("back", Role.VIEWER, SECOND)  # somebody else of that name
    late, nines = await enrolled(store, "late"), new_word(EDGE)
    await store.redeem("used since", digest_of(nines))
    await store.invite("scope-8", "the newest", 9_999_999)
    reapplied = await restored(database, tmp_path / "backup.zip")

    async with connected(database.url, database.clock) as again:
        there = IdentityStore(again.writer, again.readers, again.clock)
        assert [await there.identify(word) for word in (out, lefts)] == [None, None]
        assert await there.identify(still) == Identity("still", Role.EDGE)
        assert await there.identify(late) == Identity("late", Role.EDGE)
        assert await there.identify(nines) == Identity("scope-9", Role.EDGE)
        roles = {one.name: (one.role, one.password) for one in await there.accounts()}
        assert roles == {
            "admin": (Role.ADMIN, FIRST),
            "anna": (Role.VIEWER, SECOND),
            "back": (Role.VIEWER, SECOND),
        }
        for code in ("used since", "voided since"):
            with pytest.raises(Forbidden):
                await there.redeem(code, digest_of(new_word(EDGE)))
        assert await there.redeem("the newest", digest_of(new_word(EDGE))) == "scope-8"
        with pytest.raises(Conflict, match="only administrator"):
            await there.remove_account("admin")
    said = "\n".join(about_identities(reapplied, "then"))
    for line in ("shut out again: edge out", "users removed again: left", "anna", "edge late", "scope-8"):
        assert line in said
    assert "WARNING" not in said
    once_more = await restored(database, tmp_path / "backup.zip")  # what was re-applied is not forgotten by that
    assert (once_more.revoked, once_more.removed) == (reapplied.revoked, reapplied.removed)
    assert (once_more.changed, set(once_more.kept) - set(reapplied.kept)) == (reapplied.changed, {"edge scope-8"})


async def test_a_restore_over_an_unchanged_database_says_that_nothing_had_changed(database, store, tmp_path):
    await store.put_account("admin", Role.ADMIN, FIRST)
    await enrolled(store, "scope-1")
    await asyncio.to_thread(b.backup, database.url, tmp_path / "backup.zip")
    reapplied = await restored(database, tmp_path / "backup.zip")
    assert reapplied == b.Reapplied(known=True)
    assert "nothing had changed" in about_identities(reapplied, "then")[1]


async def test_a_restore_into_an_empty_database_says_what_must_be_repeated(database, store, tmp_path):
    await store.put_account("admin", Role.ADMIN, FIRST)
    word = await enrolled(store, "scope-1")
    await asyncio.to_thread(b.backup, database.url, tmp_path / "backup.zip")
    url = f"sqlite:///{tmp_path / 'new.db'}"
    reapplied = await restored(database, tmp_path / "backup.zip", url)
    said = "\n".join(about_identities(reapplied, "2026-11-21"))
    for line in ("WARNING", "2026-11-21", "cytobus edges revoke", "cytobus users remove", "cytobus edges invite"):
        assert line in said
    async with connected(url, database.clock) as again:
        there = IdentityStore(again.writer, again.readers, again.clock)
        assert await there.identify(word) == Identity("scope-1", Role.EDGE)


@pytest.mark.parametrize(("days", "left"), [(3, 2), (0, 5)])
async def test_the_audit_is_kept_so_long_as_is_set(database, store, days, left):
    for number in range(5):
        await store.record(Entry("anna", "admin", "10.0.0.1", f"deed {number}", "allowed"))
        database.clock.turn(DAY / 10**9)
    database.clock.turn(1)
    keeping = AuditKeeping(store, database.clock, days)

    async def shortened() -> bool:
        return len(await store.audited()) == left

    async with keeping.running():
        await eventually(shortened)
    assert (await store.audited())[0]["what"] == "deed 4"
    assert await keeping.sweep() == 0
