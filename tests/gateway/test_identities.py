"""Users, words, enrolments and the audit, on both databases."""

import asyncio
import contextlib
import threading

import httpx
import pytest
from argon2 import PasswordHasher, extract_parameters

from contracts.errors import BadRequest, Conflict, Forbidden, NotFound, Throttled
from contracts.guard import COOKIE, Entry, Watch
from contracts.hosting import app_of
from contracts.identity import EDGE, SESSION, USER, Identity, Role, digest_of, new_word, session_check
from gateway.identity import passwords
from gateway.identity.passwords import (
    FREE_TRIES,
    LONGEST_WAIT,
    NAME_TRIES,
    NAME_WAIT,
    PasswordLogins,
    Tries,
    after_wrong,
    hashed,
    is_right,
)
from gateway.identity.service import IdentityRoutes
from gateway.identity.store import IdentityStore
from gateway.job_repository.service import JobRepository
from tests.support.house import House, connected

DAY = 86_400
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""What is asked here is not how long a hash takes, but in one test."""
HASH = CHEAP.hash("a long password")


@pytest.fixture(autouse=True)
def _cheap(monkeypatch, request):
    if "dear" not in request.node.name:
        monkeypatch.setattr(passwords, "HASHER", CHEAP)
        monkeypatch.setattr(passwords, "NOBODYS", CHEAP.hash("nobody's password"))


def test_guesses_at_a_kept_password_are_dear_and_one_takes_as_long_where_there_is_no_user(monkeypatch):
    kept = hashed("a long password")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "RFC 9106, second recommendation"
    assert (is_right(kept, "a long password"), is_right(kept, "another password")) == (True, False)
    assert extract_parameters(passwords.NOBODYS) == extract_parameters(kept)
    tried: list[str] = []
    monkeypatch.setattr(passwords, "HASHER", Noting(tried))
    assert not is_right("", "a long password")
    assert tried == [passwords.NOBODYS]


class Noting(PasswordHasher):
    """Notes which hashes passwords are compared with."""

    def __init__(self, tried: list[str]) -> None:
        super().__init__()
        self._tried = tried

    def verify(self, kept: str, password: str) -> bool:
        self._tried.append(kept)
        return super().verify(kept, password)


@pytest.fixture
def store(house: House) -> IdentityStore:
    return IdentityStore(house.database.writer, house.database.readers, house.clock)


async def user(store: IdentityStore, name: str = "anna", role: Role = Role.ADMIN) -> None:
    await store.put_account(name, role, HASH)


async def test_a_users_word_is_the_users_as_they_are_now(store):
    await user(store)
    word = await store.give(USER, "anna")
    assert await store.identify(word) == Identity("anna", Role.ADMIN)
    await user(store, "olga")
    await store.put_account("anna", Role.VIEWER, None)
    assert await store.identify(word) == Identity("anna", Role.VIEWER)
    await store.remove_account("anna")
    assert await store.identify(word) is None
    await user(store, "anna", Role.VIEWER)  # somebody else of the same name
    assert await store.identify(word) is None


async def test_sessions_end(store, house):
    await user(store)
    await user(store, "olga")
    session = await store.give(SESSION, "anna", 7)
    assert await store.identify(session) == Identity("anna", Role.ADMIN, session=True)
    for _ in range(20):  # used all day long, it lives its week and no longer
        house.clock.turn(DAY / 3)
        alive = await store.identify(session) is not None
    assert alive
    house.clock.turn(DAY / 2)
    assert await store.identify(session) is None
    idle = await store.give(SESSION, "anna", 7)
    house.clock.turn(DAY * 0.6)
    assert await store.identify(idle) is None
    for end in (lambda: store.put_account("anna", Role.ADMIN, hashed("another password")),
                lambda: store.revoke_all(("user", "session"), "anna")):  # fmt: skip
        session = await store.give(SESSION, "anna", 7)
        assert await store.identify(session)
        await end()
        assert await store.identify(session) is None


async def test_the_last_administrator_stays(store):
    await user(store)
    with pytest.raises(Conflict, match="only administrator"):
        await store.remove_account("anna")
    with pytest.raises(Conflict, match="only administrator"):
        await store.put_account("anna", Role.VIEWER, None)
    with pytest.raises(Conflict, match="already"):
        await store.put_account("anna", Role.ADMIN, None, new=True)
    with pytest.raises(NotFound):
        await store.remove_account("nobody")
    with pytest.raises(Conflict, match="no role of a user"):
        await store.put_account("robot", Role.SERVICE, None)


async def test_of_two_gateways_that_remove_an_administrator_each_one_leaves_one(store, house):
    async with connected(house.database.url, house.clock) as other:
        there = IdentityStore(other.writer, other.readers, house.clock)
        for _ in range(30):
            await user(store, "anna")
            await user(store, "olga")
            await asyncio.gather(store.remove_account("anna"), there.remove_account("olga"), return_exceptions=True)
            assert len(await store.accounts()) == 1


async def test_who_was_removed_or_demoted_does_not_come_back_by_a_new_password(store):
    await user(store)
    await user(store, "olga")
    session = await store.give(SESSION, "olga", 7)
    await store.put_account("olga", Role.VIEWER, None)
    await store.change_password("olga", hashed("another password"))
    found = await store.account("olga")
    assert found is not None
    assert found.role is Role.VIEWER
    assert await store.identify(session) is None
    await store.remove_account("olga")
    with pytest.raises(NotFound):
        await store.change_password("olga", hashed("another password"))
    assert await store.account("olga") is None


class Held(PasswordHasher):
    """Its hashes take until it is let go."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.begun, self.go = threading.Event(), threading.Event()

    def hash(self, password, *, salt=None) -> str:
        self.begun.set()
        assert self.go.wait(30)
        return super().hash(password, salt=salt)


async def test_a_password_is_changed_for_who_is_there_when_it_is_changed(store, house, monkeypatch):
    """Its hash takes a moment: somebody who changes it again and again could else not be removed."""
    await user(store)
    await user(store, "olga")
    session = await store.give(SESSION, "olga", 7)
    beside = IdentityRoutes(store, PasswordLogins(store), b"a secret of sixteen")
    repository = JobRepository(house.store, house.outbox_store, house.bus, house.clock, beside=beside)
    app = app_of(repository, watch=Watch(b"a secret of sixteen", store, store))
    headers = {"cookie": f"{COOKIE}={session}", "x-cytobus-check": session_check(b"a secret of sixteen", session)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here", headers=headers) as olga:
        body = {"Old": "a long password", "New": "a long password"}
        monkeypatch.setattr(passwords, "HASHER", held := Held())
        changing = asyncio.create_task(olga.post("/api/v1/password", json=body))
        assert await asyncio.to_thread(held.begun.wait, 30)
        await store.remove_account("olga")
        held.go.set()
        answer = await changing
    assert answer.status_code in (401, 403, 404), answer.text
    assert await store.account("olga") is None


async def test_a_word_is_not_given_twice(store):
    await store.invite("scope-1", "ONE", 60)
    await store.invite("scope-2", "TWO", 60)
    word = new_word(EDGE)
    await store.redeem("ONE", digest_of(word))
    with pytest.raises(Forbidden, match="make a new one"):
        await store.redeem("TWO", digest_of(word))
    assert await store.identify(word) == Identity("scope-1", Role.EDGE)
    assert await store.redeem("TWO", digest_of(new_word(EDGE))) == "scope-2"


async def test_an_instrument_that_is_revoked_while_it_renews_its_word_is_out(store, house):
    async with connected(house.database.url, house.clock) as other:
        there = IdentityStore(other.writer, other.readers, house.clock)
        for number in range(30):
            await store.invite("scope-1", f"CODE {number}", 60)
            word, coming = new_word(EDGE), new_word(EDGE)
            await store.redeem(f"CODE {number}", digest_of(word))
            renewing = there.rotate(word, digest_of(coming))
            await asyncio.gather(store.revoke_all(("edge",), "scope-1"), renewing, return_exceptions=True)
            assert [await store.identify(one) for one in (word, coming)] == [None, None]


async def test_a_code_is_redeemed_once_and_its_answer_may_be_lost(store, house):
    await store.invite("scope-1", "CODE", 60)
    word = new_word(EDGE)
    with pytest.raises(Forbidden):
        await store.redeem("OTHER", digest_of(word))
    assert await store.redeem("CODE", digest_of(word)) == "scope-1"
    assert await store.redeem("CODE", digest_of(word)) == "scope-1"
    with pytest.raises(Forbidden, match="not good"):
        await store.redeem("CODE", digest_of(new_word(EDGE)))
    assert await store.identify(word) == Identity("scope-1", Role.EDGE)
    await store.invite("scope-2", "LATE", 60)
    house.clock.turn(60)
    with pytest.raises(Forbidden):
        await store.redeem("LATE", digest_of(new_word(EDGE)))


async def test_a_word_that_is_somebodys_brings_in_nobody_else(store):
    word, other = new_word(EDGE), new_word(EDGE)
    for name, code in (("scope-1", "FIRST"), ("scope-2", "SECOND")):
        await store.invite(name, code, 60)
    await store.redeem("FIRST", digest_of(word))
    with pytest.raises(Forbidden, match="make a new one"):
        await store.redeem("SECOND", digest_of(word))
    assert await store.identify(word) == Identity("scope-1", Role.EDGE)
    assert await store.redeem("SECOND", digest_of(other)) == "scope-2"


async def test_of_many_who_have_one_code_one_comes_in(store):
    await store.invite("scope-1", "CODE", 60)
    words = [new_word(EDGE) for _ in range(10)]
    done = await asyncio.gather(*(store.redeem("CODE", digest_of(word)) for word in words), return_exceptions=True)
    assert [one for one in done if one == "scope-1"] == ["scope-1"]
    assert len([word for word in words if await store.identify(word)]) == 1


async def test_a_revoked_instrument_is_out_with_all_its_words_and_codes(store):
    await store.invite("scope-1", "CODE", 60)
    word, coming = new_word(EDGE), new_word(EDGE)
    await store.redeem("CODE", digest_of(word))
    assert await store.identify(word)
    await store.rotate(word, digest_of(coming))
    await store.invite("scope-1", "SECOND", 60)
    assert await store.revoke_all(("edge",), "scope-1") == 2
    assert await store.identify(word) is None
    assert await store.identify(coming) is None
    with pytest.raises(Forbidden):
        await store.redeem("SECOND", digest_of(new_word(EDGE)))
    with pytest.raises(Forbidden):
        await store.rotate(word, digest_of(new_word(EDGE)))
    (listed,) = await store.edges()
    assert listed["Revoked"]


async def test_inviting_an_instrument_again_voids_its_older_code_and_the_word_that_nobody_used(store):
    await store.invite("scope-1", "FIRST", 60)
    await store.invite("scope-2", "OTHER", 60)
    await store.invite("scope-1", "SECOND", 60)
    with pytest.raises(Forbidden, match="not good"):
        await store.redeem("FIRST", digest_of(new_word(EDGE)))
    word = new_word(EDGE)
    await store.redeem("SECOND", digest_of(word))  # the answer is lost, and the administrator asked again
    await store.invite("scope-1", "THIRD", 60)
    assert await store.identify(word) is None
    with pytest.raises(Forbidden, match="revoked"):
        await store.redeem("SECOND", digest_of(word))
    used = new_word(EDGE)
    await store.redeem("THIRD", digest_of(used))
    assert await store.identify(used)
    await store.invite("scope-1", "FOURTH", 60)
    assert await store.identify(used)  # an instrument at work goes on until it is enrolled anew
    assert await store.redeem("OTHER", digest_of(new_word(EDGE))) == "scope-2"


async def test_the_audit_forgets_what_is_old_and_nothing_else(store, house):
    for number in range(5):
        await store.record(Entry("anna", "admin", "10.0.0.1", f"deed {number}", "allowed"))
        house.clock.turn(DAY)
    before = house.clock.now - 3 * DAY * 10**9
    assert [await store.forget_audit(before, most=1) for _ in range(3)] == [1, 1, 0]
    assert [row["what"] for row in await store.audited()] == ["deed 4", "deed 3", "deed 2"]


async def test_the_old_word_is_good_until_the_new_one_is_used(store, house):
    await store.invite("scope-1", "CODE", 60)
    old, new = new_word(EDGE), new_word(EDGE)
    await store.redeem("CODE", digest_of(old))
    for _ in range(2):  # the answer to the first was lost
        await store.rotate(old, digest_of(new))
    house.clock.turn(3 * DAY)
    assert await store.identify(old)
    assert await store.identify(new) == Identity("scope-1", Role.EDGE)
    assert await store.identify(old) is None
    assert await store.identify(new)


async def test_two_gateways_know_the_same(store, house):
    await user(store)
    word = await store.give(USER, "anna")
    async with connected(house.database.url, house.clock) as other:
        there = IdentityStore(other.writer, other.readers, house.clock)
        assert await there.identify(word) == Identity("anna", Role.ADMIN)
        await there.revoke_all(("user", "session"), "anna")
        assert await store.identify(word) is None


async def test_nothing_that_is_kept_opens_a_door(store, house):
    await user(store)
    said = [await store.give(USER, "anna"), await store.give(SESSION, "anna", 1), "a long password", "CODE-CODE"]
    await store.invite("scope-1", "CODE-CODE", 60)
    kept = str([house.database.rows(f"SELECT * FROM {table}") for table in ("account", "word", "enrolment")])
    assert not [word for word in said if word in kept]
    assert "$argon2id$" in kept
    for stolen in (digest_of(said[0]), "", "cbu_", "x"):
        assert await store.identify(stolen) is None


async def test_the_audit_is_listed_newest_first_in_pages(store):
    for number in range(5):
        await store.record(Entry("anna", "admin", "10.0.0.1", f"did {number}", "allowed"))
    first = await store.audited(2)
    assert [row["what"] for row in first] == ["did 4", "did 3"]
    assert [row["what"] for row in await store.audited(9, first[-1]["seq"])] == ["did 2", "did 1", "did 0"]


async def test_wrong_passwords_are_waited_for_longer_and_longer(store):
    await user(store)
    now = [0.0]
    logins = PasswordLogins(store, lambda: now[0])
    for _ in range(FREE_TRIES):
        assert await logins.log_in("anna", "wrong", "10.0.0.1") is None
    for name in ("anna", "olga"):
        with pytest.raises(Throttled, match="try again in 1 s"):
            await logins.log_in(name, "a long password", "10.0.0.1")
    now[0] += 1
    assert await logins.log_in("anna", "a long password", "10.0.0.1") == Identity("anna", Role.ADMIN)
    assert await logins.log_in("nobody", "a long password", "10.0.0.3") is None


@pytest.mark.parametrize(("addresses", "guesses", "most"), [(1, 40, FREE_TRIES), (200, 80, NAME_TRIES)])
async def test_guesses_that_come_at_once_are_no_more_than_others(store, addresses, guesses, most):
    await user(store)
    logins = PasswordLogins(store, lambda: 0.0)
    tries = (logins.log_in("anna", f"guess {number}", f"10.0.0.{number % addresses}") for number in range(guesses))
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert len([one for one in done if one is None]) <= most + 1
    assert all(one is None or isinstance(one, Throttled) for one in done)


async def test_who_guesses_at_a_name_does_not_shut_its_user_out(store):
    await user(store)
    now = [0.0]
    logins = PasswordLogins(store, lambda: now[0])
    anna = Identity("anna", Role.ADMIN)
    for _ in range(FREE_TRIES):
        assert await logins.log_in("anna", "wrong", "10.0.0.66") is None
    with pytest.raises(Throttled):
        await logins.log_in("anna", "wrong", "10.0.0.66")
    assert await logins.log_in("anna", "a long password", "10.0.0.2") == anna


async def test_from_many_addresses_a_name_is_guessed_at_slowly_and_its_user_comes_in_where_they_did_before(store):
    await user(store)
    now = [0.0]
    logins = PasswordLogins(store, lambda: now[0])
    anna = Identity("anna", Role.ADMIN)
    assert await logins.log_in("anna", "a long password", "10.0.0.2") == anna
    for number in range(NAME_TRIES):
        assert await logins.log_in("anna", "wrong", f"10.0.1.{number}") is None
    with pytest.raises(Throttled):
        await logins.log_in("anna", "a long password", "10.0.0.3")
    assert await logins.log_in("anna", "a long password", "10.0.0.2") == anna
    tries = Tries()
    for _ in range(2000):
        tries = after_wrong(tries, 0.0, NAME_TRIES, NAME_WAIT)
    assert tries.until == NAME_WAIT


async def test_an_own_account_does_not_buy_more_guesses_at_another(store):
    await user(store)
    await user(store, "mallory", Role.VIEWER)
    logins = PasswordLogins(store, lambda: 0.0)
    for _ in range(FREE_TRIES):
        assert await logins.log_in("anna", "wrong", "10.0.0.1") is None
        with contextlib.suppress(Throttled):
            await logins.log_in("mallory", "a long password", "10.0.0.1")
    with pytest.raises(Throttled):
        await logins.log_in("anna", "a long password", "10.0.0.1")


def test_no_pause_is_endless():
    tries = Tries()
    for _ in range(2000):
        tries = after_wrong(tries, 0.0)
    assert tries.until == LONGEST_WAIT


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
def test_a_password_has_a_length(password):
    with pytest.raises(BadRequest, match="10 to 1000 characters"):
        hashed(password)


@pytest.mark.parametrize(("verb", "path", "body"), [
    ("PUT", "/users/x", "{}"), ("PUT", "/users/x", '{"Role": "edge"}'), ("PUT", "/users/x", '{"Role": 7}'),
    ("PUT", "/users/x", '{"Role": "admin", "Password": "short"}'), ("PUT", "/users/" + "x" * 101, '{"Role": "admin"}'),
    ("POST", "/enrolments", '{"Name": ""}'), ("POST", "/enrolments", '{"Name": "a/b"}'), ("POST", "/enrolments", "["),
    ("POST", "/enrolments", '{"Name": "a", "Hours": -1}'), ("POST", "/login", '{"Name": "x"}'), ("POST", "/login", ""),
    ("POST", "/enrolments/redeem", '{"Code": "x", "Digest": "x"}'), ("POST", "/introspect", "7"),
    ("GET", "/audit?limit=x", ""), ("GET", "/audit?before=1.5", ""), ("POST", "/audit", '{"Actor": "me"}'),
    ("POST", "/tokens/rotate", '{"Digest": "ABC"}'),
])  # fmt: skip
async def test_bodies_that_say_nothing_are_answered_with_what_is_wrong(store, house, verb, path, body):
    logins = PasswordLogins(store)
    beside = IdentityRoutes(store, logins, b"secret")
    repository = JobRepository(house.store, house.outbox_store, house.bus, house.clock, beside=beside)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app_of(repository, watch=Watch())), base_url="http://localhost/api/v1"
    ) as client:
        answer = await client.request(verb, path, content=body)
        assert answer.status_code == 400, answer.text
        assert answer.text.strip()
        assert "short" not in answer.text
