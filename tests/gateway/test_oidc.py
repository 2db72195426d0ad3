"""Logging in at an OpenID provider: who comes in, as what, and all that is no login."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from contracts.errors import Forbidden
from contracts.guard import COOKIE, Watch
from contracts.hosting import app_of
from contracts.identity import USER, Role
from gateway.identity.oidc import TICKET, TICKET_SECONDS, Claims, OpenIdLogins, new_ticket, person_of, seed_of
from gateway.identity.openid import Client
from gateway.identity.openid import OpenIdProvider as Provider
from gateway.identity.passwords import PasswordLogins, hashed
from gateway.identity.service import IdentityRoutes
from gateway.identity.store import IdentityStore
from gateway.job_repository.service import JobRepository
from tests.support.house import House, house_in
from tests.support.openid_provider import CLIENT, SECRET, OpenIdProvider, unsigned

WORD = b"the gateway's secret"
HERE = "https://gateway.lab:59784"
MEANT = Claims("preferred_username", "groups", {"lab-admins": Role.ADMIN, "lab": Role.OPERATOR, "guests": Role.VIEWER})


class Lab:
    """A gateway and its provider."""

    def __init__(self, house: House, there: OpenIdProvider) -> None:
        self.house, self.there = house, there
        self.store = IdentityStore(house.database.writer, house.database.readers, house.clock)
        self.app = self.gateway()

    def gateway(self, secret: str = SECRET):
        client = Client(self.there.issuer, CLIENT, secret, f"{HERE}/api/v1/oidc/callback")
        openid = OpenIdLogins(Provider(client, self.house.clock), MEANT, self.store, WORD, self.house.clock)
        house = self.house
        beside = IdentityRoutes(self.store, PasswordLogins(self.store), WORD, secure=True, openid=openid)
        repository = JobRepository(house.store, house.outbox_store, house.bus, house.clock, beside=beside)
        return app_of(repository, watch=Watch(WORD, self.store, self.store, now=lambda: house.clock() / 1e9))

    @asynccontextmanager
    async def browser(self, app=None) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app or self.app), base_url=HERE) as browser:
            yield browser

    async def to_provider(self, browser: httpx.AsyncClient, query: str = "") -> str:
        """From the gateway to the provider and back as far as the address that the provider names."""
        answer = await browser.get(f"/api/v1/oidc/login{query}")
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{self.there.issuer}/authorize?")
        async with httpx.AsyncClient() as outside:
            return (await outside.get(answer.headers["location"])).headers["location"]

    async def log_in(self, browser: httpx.AsyncClient, query: str = "") -> httpx.Response:
        return await browser.get(await self.to_provider(browser, query))

    async def audited(self) -> list[tuple[str, str, str]]:
        return [(row["actor"], row["role"], row["outcome"]) for row in await self.store.audited()]


@pytest.fixture
def there() -> Iterator[OpenIdProvider]:
    provider = OpenIdProvider()
    try:
        yield provider
    finally:
        provider.close()


@pytest.fixture
async def lab(tmp_path, there) -> AsyncIterator[Lab]:
    """On SQLite; what is about the protocol only is the same on every database."""
    async with house_in(tmp_path) as house:
        there.clock = house.clock
        yield Lab(house, there)


@pytest.fixture
def labs(house: House, there) -> Lab:
    """On both databases."""
    there.clock = house.clock
    return Lab(house, there)


async def is_in(browser: httpx.AsyncClient) -> bool:
    return (await browser.get("/api/v1/whoami")).status_code == 200


@pytest.mark.parametrize(("group", "role"), MEANT.roles.items())
async def test_who_has_a_role_at_the_provider_has_it_here(labs, group, role):
    labs.there.user["groups"] = ["staff", group]
    async with labs.browser() as browser:
        answer = await labs.log_in(browser, "?next=https://elsewhere.example/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        session = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(COOKIE))
        assert {"HttpOnly", "SameSite=strict", "Secure"} <= set(session.split("; "))
        assert TICKET not in browser.cookies
        who = (await browser.get("/api/v1/whoami")).json()
        assert (who["Name"], who["Role"]) == ("anna", role)
        headers = {"X-Cytobus-Check": who["Check"]}
        changed = await browser.put("/api/v1/users/olga", json={"Role": "viewer"}, headers=headers)
        assert changed.status_code == (200 if role is Role.ADMIN else 403)
        assert (await labs.audited())[-1] == ("anna", role, "allowed")
        refused = await browser.post("/api/v1/login", json={"Name": "anna", "Password": ""})
        assert refused.status_code == 401


async def test_an_elliptic_key_and_a_secret_in_the_body_do_as_well(lab):
    lab.there.key = lab.there.new_key(kind="EC")
    lab.there.published, lab.there.ways = [lab.there.key], ["client_secret_post"]
    async with lab.browser() as browser:
        assert (await lab.log_in(browser)).status_code == 303


async def test_a_public_client_has_no_secret(lab):
    lab.there.secret = ""
    async with lab.browser(lab.gateway(secret="")) as browser:
        assert (await lab.log_in(browser)).status_code == 303


async def test_the_provider_may_change_its_keys(lab):
    async with lab.browser() as browser:
        await lab.log_in(browser)
        lab.there.key = lab.there.new_key("second")
        lab.there.published = [lab.there.key]
        assert (await lab.log_in(browser)).status_code == 303
        await lab.log_in(browser)
    assert lab.there.asked.count("/keys") == 2
    assert lab.there.asked.count("/.well-known/openid-configuration") == 1


async def test_without_a_role_nobody_comes_in_and_who_lost_it_is_out(labs):
    async with labs.browser() as before, labs.browser() as browser:
        await labs.log_in(before)
        token = await labs.store.give(USER, "anna")
        assert await is_in(before)
        labs.there.user["groups"] = ["staff"]
        answer = await labs.log_in(browser)
        assert (answer.status_code, "anna has no role here" in answer.text) == (403, True)
        assert COOKIE not in browser.cookies
        assert not await is_in(before)
        assert await labs.store.identify(token) is None
    assert (await labs.audited())[0] == ("anna", "", "refused")


def confused(there: OpenIdProvider):
    """Signed with the provider's public key, as if that were a secret that both know."""

    def sign(claims: dict) -> str:
        parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": there.key.kid}, claims)]
        said = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        mac = hmac.digest(there.key.as_pem(private=False), said.encode(), "sha256")
        return f"{said}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    return sign


def changed(there: OpenIdProvider):
    """Somebody else's signature over other claims."""

    def sign(claims: dict) -> str:
        head, _, mac = there.signed(claims).split(".")
        body = base64.urlsafe_b64encode(json.dumps(claims | {"groups": ["lab-admins"]}).encode()).decode().rstrip("=")
        return f"{head}.{body}.{mac}"

    return sign


@pytest.mark.parametrize("how", [
    "forged", "changed", "none", "confused", "no token", "rubbish", {"aud": "another"}, {"aud": ["another"]},
    {"aud": None}, {"aud": [CLIENT, "another"]}, {"aud": ["another"], "azp": CLIENT}, {"azp": "another"}, {"iss": "https://elsewhere.example"},
    {"iss": None}, {"exp": 1}, {"exp": None}, {"exp": "soon"}, {"iat": 2**40}, {"nonce": "another"}, {"nonce": None},
    {"sub": None}, {"sub": ""}, {"sub": 7}, {"nbf": 2**40}, {"at_hash": "AAAA"},
], ids=str)  # fmt: skip
async def test_what_the_provider_did_not_say_so_lets_nobody_in(lab, how):
    there = lab.there
    match how:
        case "forged":
            there.key = there.new_key()  # of the same name as the one that is published
        case "changed":
            there.user["groups"], there.sign = ["guests"], changed(there)
        case "none":
            there.sign = unsigned
        case "confused":
            there.sign = confused(there)
        case "no token":
            there.sign = lambda _claims: None
        case "rubbish":
            there.sign = lambda _claims: "a.b.c"
        case _:
            there.lies = how
    async with lab.browser() as browser:
        answer = await lab.log_in(browser)
        assert answer.status_code == 401, answer.text
        assert "ID token" in answer.text
        assert COOKIE not in browser.cookies
        assert not await is_in(browser)
    assert await lab.audited() == [("", "", "refused")]
    assert await lab.store.accounts() == []


async def test_a_token_is_good_until_it_expires_give_or_take_a_minute(lab):
    async with lab.browser() as browser:
        for seconds, status in ((-59, 303), (-61, 401)):
            lab.there.lies = {"exp": lab.house.clock() // 10**9 + seconds}
            assert (await lab.log_in(browser)).status_code == status


async def test_a_login_ends_in_the_browser_in_which_it_began(lab):
    async with lab.browser() as mine, lab.browser() as other:
        back = await lab.to_provider(mine)
        await lab.to_provider(other)
        assert (await other.get(back)).status_code == 400  # a login of mine, slipped to somebody else
        other.cookies.clear()
        assert "did not begin in this browser" in (await other.get(back)).text
        for wrong in ("", "x", "é~9999999999~x", f"{'s' * 43}~99999999999~{'m' * 43}"):
            headers = {"Cookie": f"{TICKET}={wrong}".encode()}
            assert (await other.get(back, headers=headers)).status_code == 400
        state = parse_qs(urlsplit(back).query)["state"][0]
        for query in ("", "?code=x", f"?code=x&state={state}x", f"?code=x&state={state[:-1]}", "?error=x&state=y"):
            assert (await mine.get(f"/api/v1/oidc/callback{query}")).status_code == 400
        assert "/token" not in lab.there.asked
        assert (await mine.get(back)).status_code == 303


async def test_a_login_that_took_too_long_begins_again(lab):
    async with lab.browser() as browser:
        back = await lab.to_provider(browser)
        lab.house.clock.turn(TICKET_SECONDS)
        assert (await browser.get(back)).status_code == 400
    assert "/token" not in lab.there.asked


async def test_a_login_is_good_once_at_every_gateway(labs):
    async with labs.browser() as browser, labs.browser(labs.gateway()) as second:
        back = await labs.to_provider(browser)
        tickets = {TICKET: browser.cookies[TICKET]}
        second.cookies.set(TICKET, tickets[TICKET], domain="gateway.lab", path="/api/v1/oidc")
        assert (await second.get(back)).status_code == 303  # begun at one gateway, ended at another
        for app in (labs.app, labs.gateway()):
            async with labs.browser(app) as again:
                again.cookies.set(TICKET, tickets[TICKET], domain="gateway.lab", path="/api/v1/oidc")
                answer = await again.get(back)
                assert (answer.status_code, "used already" in answer.text) == (400, True)
                assert not await is_in(again)
        assert labs.there.asked.count("/token") == 1
        labs.house.clock.turn(2 * TICKET_SECONDS)
        await labs.log_in(browser)  # what is too old to be used again is forgotten
        assert labs.house.database.rows("SELECT count(*) FROM word WHERE kind = 'login'") == [(1,)]


async def test_somebody_elses_code_is_of_no_use(lab):
    async with lab.browser() as victim, lab.browser() as thief:
        stolen = parse_qs(urlsplit(await lab.to_provider(victim)).query)["code"][0]
        state = parse_qs(urlsplit(await lab.to_provider(thief)).query)["state"][0]
        answer = await thief.get("/api/v1/oidc/callback", params={"code": stolen, "state": state})
        assert (answer.status_code, COOKIE in thief.cookies) == (401, False)


async def test_while_the_provider_is_away_it_says_so(lab):
    async with lab.browser() as browser:
        lab.there.close()
        answer = await browser.get("/api/v1/oidc/login")
        assert (answer.status_code, "does not answer" in answer.text) == (503, True)
        lab.there.start()
        back = await lab.to_provider(browser)
        lab.there.close()
        answer = await browser.get(back)
        assert (answer.status_code, COOKIE in browser.cookies) == (503, False)
        lab.there.start()
        assert (await lab.log_in(browser)).status_code == 303


@pytest.mark.parametrize(("lie", "named"), [
    ({"issuer": "http://127.0.0.1:1"}, "calls itself http://127.0.0.1:1"),
    ({"token_endpoint": None}, "token_endpoint"), ({"jwks_uri": 7}, "jwks_uri"),
    ({"authorization_endpoint": "javascript:alert(1)"}, "others can read"),
])  # fmt: skip
async def test_a_provider_that_is_none_is_named(lab, lie, named):
    lab.there.discovery = lie
    async with lab.browser() as browser:
        answer = await browser.get("/api/v1/oidc/login")
    assert answer.status_code == 503
    assert named in answer.text


async def test_a_wrong_client_secret_is_named(lab):
    lab.there.secret = "another"
    async with lab.browser() as browser:
        answer = await lab.log_in(browser)
    assert answer.status_code == 503
    assert "invalid_client" in answer.text
    assert "security.oidc.client_id" in answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize(("said", "shown"), [("access_denied", "access_denied"), ("<b>call 555</b>", "an error")])
async def test_who_does_not_agree_at_the_provider_is_told_so(lab, said, shown):
    lab.there.denies = said
    async with lab.browser() as browser:
        answer = await lab.log_in(browser)
    assert (answer.status_code, f"let nobody in ({shown})" in answer.text) == (403, True)


async def test_a_name_is_whose_it_was_first(labs):
    await labs.store.put_account("anna", Role.VIEWER, hashed("a long password"))
    async with labs.browser() as browser:
        answer = await labs.log_in(browser)
        assert (answer.status_code, "a user of this gateway already" in answer.text) == (409, True)
        assert (await labs.store.account("anna")).role is Role.VIEWER
        labs.there.user["preferred_username"] = "olga"
        assert (await labs.log_in(browser)).status_code == 303
    labs.there.user["sub"] = "4712"  # somebody who has chosen the name of another
    async with labs.browser() as browser:
        answer = await labs.log_in(browser)
        assert (answer.status_code, "another user of the provider" in answer.text) == (409, True)
        assert not await is_in(browser)


async def test_who_is_called_otherwise_now_or_is_something_else_is_one_user_still(labs):
    async with labs.browser() as browser, labs.browser() as other:
        await labs.log_in(browser)
        await labs.log_in(other)
        assert await is_in(browser)  # the same role: other sessions go on
        labs.there.user["groups"] = ["guests"]
        await labs.log_in(other)
        assert not await is_in(browser)
        assert (await other.get("/api/v1/whoami")).json()["Role"] == "viewer"
        labs.there.user["preferred_username"] = "anna.b"
        await labs.log_in(browser)
        assert [(one.name, one.role, one.password) for one in await labs.store.accounts()] == [
            ("anna.b", Role.VIEWER, "")
        ]
        assert not await is_in(other)


async def test_without_a_provider_there_is_nothing_to_log_in_at(lab):
    house = lab.house
    beside = IdentityRoutes(lab.store, PasswordLogins(lab.store), WORD)
    repository = JobRepository(house.store, house.outbox_store, house.bus, house.clock, beside=beside)
    for path in ("login", "callback?code=x&state=y"):
        answer = await house.call(repository, "GET", f"/api/v1/oidc/{path}")
        assert (answer.status_code, "security.oidc.issuer" in answer.text) == (404, True)


@pytest.mark.parametrize(("groups", "role"), [
    (["guests", "lab-admins", "lab"], Role.ADMIN), (["lab", "guests"], Role.OPERATOR), ("guests", Role.VIEWER),
    ([], None), (None, None), ("", None), (["LAB-ADMINS", 7, None, ["lab"]], None), ({"lab": True}, None),
])  # fmt: skip
def test_of_several_roles_the_highest(groups, role):
    assert person_of({"iss": "i", "sub": "s", "preferred_username": "anna", "groups": groups}, MEANT).role is role


def test_claims_may_lie_deep_and_have_dots_in_their_names():
    deep = Claims("person.mail", "realm_access.roles", {"lab": Role.VIEWER})
    claims = {"iss": "i", "sub": "s", "person": {"mail": "anna@lab.example"}, "realm_access": {"roles": ["lab"]}}
    assert person_of(claims, deep).role is Role.VIEWER
    dotted = Claims("person.mail", "https://lab.example/roles", {"lab": Role.VIEWER})
    assert person_of(claims | {"https://lab.example/roles": ["lab"]}, dotted).role is Role.VIEWER
    assert person_of(claims | {"realm_access": "lab"}, deep).role is None


@pytest.mark.parametrize("name", [None, "", 7, "edge scope-1", "a\nb", "x" * 101, "root (command)", ["anna"]])
def test_a_name_that_could_be_taken_for_another_is_refused(name):
    with pytest.raises(Forbidden, match="name_claim"):
        person_of({"iss": "i", "sub": "s", "preferred_username": name, "groups": ["lab"]}, MEANT)


def test_a_ticket_is_ours_and_young():
    ticket = new_ticket(WORD, "seed", 1000.0)
    assert seed_of(WORD, ticket, 1000.0 + TICKET_SECONDS - 1) == "seed"
    assert seed_of(WORD, ticket, 1000.0 + TICKET_SECONDS) == ""
    assert seed_of(b"another secret", ticket, 1000.0) == ""
    for wrong in (ticket[:-1], "x" + ticket, ticket.replace("~1", "~2", 1), "~~", ""):
        assert seed_of(WORD, wrong, 1000.0) == ""
