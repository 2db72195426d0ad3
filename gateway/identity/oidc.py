"""Logging in at an OpenID provider: the code flow with PKCE, bound to the browser in which it began."""

import base64
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import BadRequest, Conflict, Forbidden, Unauthorized
from contracts.guard import Entry, address_of
from contracts.identity import PEOPLE, Identity, Role, same_text
from contracts.ports import Clock
from gateway.identity.openid import OpenIdProvider
from gateway.identity.store import IdentityStore

log = logging.getLogger(__name__)
TICKET, PLACE = "cytobus_oidc", "/api/v1/oidc"
"""A cookie of the browser in which a login has begun, and where it is sent to."""
TICKET_SECONDS = 600
NAME = re.compile(r"[\w.@+-]{1,100}")
WORD = re.compile(r"[\w.-]{1,60}")
AGAIN = "begin again at /api/v1/oidc/login"


@dataclass(frozen=True)
class Claims:
    """Which claims of an ID token say what somebody is called and is, and which value is which role."""

    name: str
    role: str
    roles: Mapping[str, Role]


@dataclass(frozen=True)
class Person:
    """Somebody, by what the provider says; without a role they do not come in."""

    subject: str
    name: str
    role: Role | None


def person_of(claims: Mapping[str, Any], meant: Claims) -> Person:
    """Who it is that an ID token tells of. Raises ``Forbidden`` when it says no name that can be one here."""
    name = _claim(claims, meant.name)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Forbidden(
            f"the provider's claim {meant.name} says no name of 1 to 100 letters, digits and . @ + - _:"
            " name another one in security.oidc.name_claim"
        )
    said = _claim(claims, meant.role)
    values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    roles = {meant.roles[value] for value in values if isinstance(value, str) and value in meant.roles}
    best = max(roles, key=PEOPLE.index, default=None)
    return Person(f"{claims['iss']} {claims['sub']}", name, best)


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """By its name, or by a path with dots: names may have dots in them."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def new_ticket(secret: bytes, seed: str, now: float) -> str:
    """For the cookie of a browser that is sent to the provider (``now`` in seconds since the epoch)."""
    said = f"{seed}~{int(now) + TICKET_SECONDS}"
    return f"{said}~{derived(secret, 'ticket', said)}"


def seed_of(secret: bytes, ticket: str, now: float) -> str:
    """The seed of a ticket of ours; empty when it is forged or too old."""
    said, _, mac = ticket.rpartition("~")
    seed, _, until = said.rpartition("~")
    good = same_text(mac, derived(secret, "ticket", said)) and until.isdigit() and now < int(until)
    return seed if good else ""


def derived(secret: bytes, what: str, seed: str) -> str:
    """State, nonce and PKCE's verifier are made of the seed, so that the browser need not keep them, nor can."""
    said = f"oidc {what} {seed}".encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(hmac.digest(secret, said, "sha256")).decode().rstrip("=")


class OpenIdLogins:
    """Lets people in for whom the provider vouches."""

    def __init__(
        self, provider: OpenIdProvider, meant: Claims, store: IdentityStore, secret: bytes, clock: Clock
    ) -> None:
        self.provider, self._meant, self._store = provider, meant, store
        self._secret, self._clock = secret, clock

    async def begin(self) -> tuple[str, str]:
        """Where to send a browser, and its ticket."""
        seed = secrets.token_urlsafe(32)
        state, nonce, verifier = (derived(self._secret, what, seed) for what in ("state", "nonce", "verifier"))
        return await self.provider.login_url(state, nonce, verifier), new_ticket(self._secret, seed, self._now())

    async def finish(self, request: Request) -> Identity:
        """Who comes back from the provider; they have an account now.

        Raises ``BadRequest`` when the login did not begin in this browser, ``Unauthorized`` when what the provider
        sent is not good, ``Forbidden`` for somebody without a role, ``Conflict`` for a name that is somebody else's,
        ``Unavailable``.
        """
        seed, name = await self._seed(request), ""
        try:
            code = _code_in(request)
            nonce, verifier = derived(self._secret, "nonce", seed), derived(self._secret, "verifier", seed)
            person = person_of(await self.provider.claims(code, nonce, verifier), self._meant)
            name = person.name
            return await self._admit(person)
        except (Unauthorized, Forbidden, Conflict) as error:
            log.warning("a login by OpenID Connect is refused: %s", error)
            await self._store.record(Entry(name, "", address_of(request), "log in (OpenID Connect)", "refused"))
            raise

    async def _seed(self, request: Request) -> str:
        """That of the login which began in this browser; good once."""
        seed = seed_of(self._secret, _ticket_in(request), self._now())
        state = request.query_params.get("state", "")
        if not seed or not same_text(state, derived(self._secret, "state", seed)):
            raise BadRequest(f"this login did not begin in this browser, or too long ago: {AGAIN}")
        if not await self._store.spend(seed, TICKET_SECONDS):
            raise BadRequest(f"this login has been used already: {AGAIN}")
        return seed

    async def _admit(self, person: Person) -> Identity:
        if person.role is None:
            await self._store.turn_away(person.subject)
            raise Forbidden(
                f"{person.name} has no role here: the claim {self._meant.role} must have one of"
                f" {', '.join(self._meant.roles)}"
            )
        await self._store.admit(person.subject, person.name, person.role)
        return Identity(person.name, person.role)

    def hand(self, response: Response, ticket: str, *, secure: bool) -> None:
        """The browser's ticket; sent along when the provider sends the browser back, hence not ``strict``."""
        response.set_cookie(
            TICKET, ticket, TICKET_SECONDS, path=PLACE, httponly=True, samesite="lax", secure=secure
        )  # fmt: skip

    def take_back(self, response: Response, *, secure: bool) -> None:
        """The ticket is used."""
        response.delete_cookie(TICKET, path=PLACE, httponly=True, samesite="lax", secure=secure)

    def _now(self) -> float:
        return self._clock() / 1e9


def _ticket_in(request: Request) -> str:
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(TICKET)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _code_in(request: Request) -> str:
    """What the browser brings back. Raises ``Forbidden`` when the provider let nobody in."""
    problem, code = request.query_params.get("error", ""), request.query_params.get("code", "")
    if problem:
        shown = problem if WORD.fullmatch(problem) else "an error"
        raise Forbidden(f"the provider let nobody in ({shown}): {AGAIN}")
    if not code or len(code) > 4000:
        raise BadRequest(f"the provider sent no code: {AGAIN}")
    return code
