"""The routes about identities: logging in, users, instruments, the audit. Served beside the job repository's."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from contracts import web
from contracts.disk import bare_name
from contracts.errors import BadRequest, Forbidden, NotFound, Unauthorized
from contracts.guard import COOKIE, Entry, address_of, identity_of, session_in
from contracts.identity import PEOPLE, SESSION, USER, Identity, Role, session_check
from contracts.openapi import Operations
from gateway.asked import Body, read
from gateway.identity.keeping import AuditKeeping
from gateway.identity.passwords import PasswordLogins, hashed
from gateway.identity.store import SESSION_DAYS, IdentityStore

if TYPE_CHECKING:
    from gateway.identity.oidc import OpenIdLogins

B = TypeVar("B", bound=Body)
CODE_HOURS = 24.0
DIGEST = r"^[0-9a-f]{64}$"
NAME = r"^[\w.@-]{1,100}$"


class Login(Body):
    """Body of ``POST /api/v1/login``."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=2000)


class NewUser(Body):
    """Body of ``PUT /api/v1/users/{name}``."""

    role: Role
    password: str | None = None
    new: bool = False


class NewPassword(Body):
    """Body of ``POST /api/v1/password``."""

    old: str = Field(max_length=2000)
    new: str = Field(max_length=2000)


class Invitation(Body):
    """Body of ``POST /api/v1/enrolments``."""

    name: str = Field(pattern=NAME)
    hours: float = Field(default=CODE_HOURS, gt=0, le=24 * 365)


class Redemption(Body):
    """Body of ``POST /api/v1/enrolments/redeem``: the code, and the SHA-256 of the word that is to be the
    instrument's from now on; the word itself never leaves it but to be used."""

    code: str = Field(max_length=200)
    digest: str = Field(pattern=DIGEST)


class Rotation(Body):
    """Body of ``POST /api/v1/tokens/rotate``."""

    digest: str = Field(pattern=DIGEST)


class Said(Body):
    """Body of ``POST /api/v1/introspect``."""

    word: str = Field(max_length=500)


class IdentityRoutes:
    """Everything about who may come in. ``authority`` is the certificate that instruments are to trust, if we made
    it ourselves; ``secure`` says that browsers reach us by TLS; ``openid`` is where people log in at a provider."""

    def __init__(
        self,
        store: IdentityStore,
        logins: PasswordLogins,
        secret: bytes,
        *,
        authority: Path | None = None,
        secure: bool = False,
        openid: "OpenIdLogins | None" = None,
        keeping: AuditKeeping | None = None,
    ) -> None:
        """``keeping`` shortens the audit; without it all is kept."""
        self._keeping = keeping
        self._store, self._logins, self._secret = store, logins, secret
        self._authority, self._secure, self._openid = authority, secure, openid

    def routes(self) -> list[BaseRoute]:
        """All below ``/api/v1``."""
        table = [
            ("/login", self.on_login, "POST"),
            ("/oidc/login", self.on_oidc_login, "GET"),
            ("/oidc/callback", self.on_oidc_callback, "GET"),
            ("/logout", self.on_logout, "POST"),
            ("/whoami", self.on_whoami, "GET"),
            ("/password", self.on_password, "POST"),
            ("/users", self.on_users, "GET"),
            ("/users/{name}", self.on_put_user, "PUT"),
            ("/users/{name}", self.on_remove_user, "DELETE"),
            ("/users/{name}/tokens", self.on_user_token, "POST"),
            ("/users/{name}/tokens", self.on_revoke_user, "DELETE"),
            ("/edges", self.on_edges, "GET"),
            ("/edges/{name}", self.on_revoke_edge, "DELETE"),
            ("/enrolments", self.on_invite, "POST"),
            ("/enrolments/redeem", self.on_redeem, "POST"),
            ("/tokens/rotate", self.on_rotate, "POST"),
            ("/authority", self.on_authority, "GET"),
            ("/introspect", self.on_introspect, "POST"),
            ("/audit", self.on_audit, "GET"),
            ("/audit", self.on_record, "POST"),
        ]
        return [Route(f"/api/v1{path}", answer, methods=[verb]) for path, answer, verb in table]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The audit is kept short while the context is open."""
        async with self._keeping.running() if self._keeping else nullcontext():
            yield

    def operations(self) -> Operations:
        """Its routes, described."""
        from gateway.identity.openapi import operations

        return operations()

    # --- people

    async def on_login(self, request: Request) -> Response:
        login = await _read(request, Login)
        identity = await self._logins.log_in(login.name, login.password, address_of(request))
        if identity is None:
            await self._store.record(Entry(login.name, "", address_of(request), "log in", "refused"))
            raise Unauthorized("name or password is wrong")
        session = await self._begin(request, identity, "log in")
        response = web.json({"Name": identity.name, "Role": identity.role, "Check": self._check(session)})
        return self._with_session(response, session)

    async def on_oidc_login(self, _request: Request) -> Response:
        url, ticket = await self._provider().begin()
        response = RedirectResponse(url, 303, web.NOT_CACHED)
        self._provider().hand(response, ticket, secure=self._secure)
        return response

    async def on_oidc_callback(self, request: Request) -> Response:
        identity = await self._provider().finish(request)
        session = await self._begin(request, identity, "log in (OpenID Connect)")
        response = RedirectResponse("/", 303, web.NOT_CACHED)
        self._provider().take_back(response, secure=self._secure)
        return self._with_session(response, session)

    def _provider(self) -> "OpenIdLogins":
        if self._openid is None:
            raise NotFound("nobody logs in by OpenID Connect here: no provider is set (security.oidc.issuer)")
        return self._openid

    async def _begin(self, request: Request, identity: Identity, what: str) -> str:
        session = await self._store.give(SESSION, identity.name, SESSION_DAYS)
        await self._store.record(Entry(identity.actor, identity.role, address_of(request), what, "allowed"))
        return session

    def _with_session(self, response: Response, session: str) -> Response:
        response.set_cookie(
            COOKIE, session, int(SESSION_DAYS * 86_400), httponly=True, samesite="strict", secure=self._secure
        )
        return response

    async def on_logout(self, request: Request) -> Response:
        if session := session_in(request.headers):
            await self._store.revoke(session)
        response = web.reply()
        response.delete_cookie(COOKIE)
        return response

    async def on_whoami(self, request: Request) -> Response:
        identity = identity_of(request)
        if identity is None:
            return web.json({"Name": "", "Role": str(Role.ADMIN), "Check": ""})
        check = self._check(session_in(request.headers)) if identity.session else ""
        return web.json({"Name": identity.name, "Role": identity.role, "Check": check}, headers=web.NOT_CACHED)

    def _check(self, session: str) -> str:
        return session_check(self._secret, session)

    async def on_password(self, request: Request) -> Response:
        body, identity = await _read(request, NewPassword), identity_of(request)
        if identity is None or await self._logins.log_in(identity.name, body.old, address_of(request)) is None:
            raise Forbidden("the old password is wrong")
        kept = await asyncio.to_thread(hashed, body.new)
        await self._store.change_password(identity.name, kept)
        return web.reply()

    async def on_users(self, _request: Request) -> Response:
        return web.json([{"Name": one.name, "Role": one.role} for one in await self._store.accounts()])

    async def on_put_user(self, request: Request) -> Response:
        body, name = await _read(request, NewUser), request.path_params["name"]
        if body.role not in PEOPLE:
            raise BadRequest(f"Role is {body.role}; a user's is one of {', '.join(PEOPLE)}")
        if not name or len(name) > 100 or not name.isprintable():
            raise BadRequest("a user's name has 1 to 100 printable characters")
        kept = None if body.password is None else await asyncio.to_thread(hashed, body.password)
        await self._store.put_account(name, body.role, kept, new=body.new)
        return web.reply()

    async def on_remove_user(self, request: Request) -> Response:
        await self._store.remove_account(request.path_params["name"])
        return web.reply()

    async def on_user_token(self, request: Request) -> Response:
        name = request.path_params["name"]
        if await self._store.account(name) is None:
            raise NotFound(f"there is no user {name}")
        return web.json({"Token": await self._store.give(USER, name)}, 201, web.NOT_CACHED)

    async def on_revoke_user(self, request: Request) -> Response:
        name = request.path_params["name"]
        return web.json({"Revoked": await self._store.revoke_all(("user", "session"), name)})

    # --- instruments

    async def on_edges(self, _request: Request) -> Response:
        return web.json(await self._store.edges())

    async def on_revoke_edge(self, request: Request) -> Response:
        return web.json({"Revoked": await self._store.revoke_all(("edge",), request.path_params["name"])})

    async def on_invite(self, request: Request) -> Response:
        body = await _read(request, Invitation)
        bare_name(body.name)
        raw = base64.b32encode(secrets.token_bytes(15)).decode()
        code = "-".join(raw[start : start + 6] for start in range(0, 24, 6))
        await self._store.invite(body.name, code, body.hours * 3600)
        return web.json({"Name": body.name, "Code": code, "Hours": body.hours}, 201, web.NOT_CACHED)

    async def on_redeem(self, request: Request) -> Response:
        body = await _read(request, Redemption)
        name = await self._store.redeem(body.code.strip().upper(), body.digest)
        await self._store.record(Entry(f"edge {name}", Role.EDGE, address_of(request), "enrol", "allowed"))
        return web.json({"Name": name}, 201, web.NOT_CACHED)

    async def on_rotate(self, request: Request) -> Response:
        body = await _read(request, Rotation)
        old = request.headers.get("authorization", "").partition(" ")[2].strip()
        await self._store.rotate(old, body.digest)
        return web.reply()

    async def on_authority(self, _request: Request) -> Response:
        if self._authority is None or not self._authority.is_file():
            raise NotFound("this gateway's certificate was not made by cytobus")
        return web.text(await asyncio.to_thread(self._authority.read_text))

    # --- for our own services

    async def on_introspect(self, request: Request) -> Response:
        identity = await self._store.identify((await _read(request, Said)).word)
        if identity is None:
            return web.json(None)
        return web.json({"Name": identity.name, "Role": identity.role, "Session": identity.session})

    async def on_record(self, request: Request) -> Response:
        await self._store.record((await _read(request, Note)).entry())
        return web.reply()

    async def on_audit(self, request: Request) -> Response:
        asked = request.query_params
        try:
            limit = min(max(int(asked.get("limit", 200)), 1), 1000)
            before = int(asked["before"]) if "before" in asked else None
        except ValueError:
            raise BadRequest("limit and before must be whole numbers") from None
        rows = await self._store.audited(limit, before)
        return web.json([{key.title(): value for key, value in row.items()} for row in rows], headers=web.NOT_CACHED)


class Note(Body):
    """Body of ``POST /api/v1/audit``: see ``contracts.guard.Entry``."""

    actor: str
    role: str
    address: str
    what: str
    outcome: str

    def entry(self) -> Entry:
        """As it is kept."""
        return Entry(self.actor, self.role, self.address, self.what, self.outcome)


async def _read(request: Request, model: type[B]) -> B:
    return read(model, await web.body_of(request, limit=2**16), request)
