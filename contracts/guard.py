"""Stands before a service: finds out who asks, and turns away whom the policy does not know.

On a laptop (a deployment that only its own computer can reach) nobody has to say who they are; there it only keeps
out what other sites make a browser do (cross-site requests, DNS rebinding).
"""

import ipaddress
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Protocol
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts import policy, web
from contracts.errors import AppError, Forbidden, Unauthorized
from contracts.identity import (
    PEOPLE,
    SERVICE,
    SESSION,
    Authenticator,
    Identity,
    Role,
    pipeline_of,
    same_text,
    service_of,
    session_check,
)

log = logging.getLogger(__name__)
COOKIE = "cytobus_session"
CHECK = "x-cytobus-check"
"""The header in which a page proves that it is ours, beside its session's cookie."""
RECHECK_SECONDS = 5.0
"""So often who sends on an open WebSocket is looked up anew."""
FOR, BY = "x-cytobus-for", "x-cytobus-by"
"""The headers in which a service that passes on what others ask says from which address it came, with its own word."""
SIGN_IN = {"dashboard": "/sign-in"}
"""Where people sign in, at the services that have pages."""
CALLBACKS = {"job-repository": "/api/v1/job/pipeline/", "task-launcher": "/api/v1/pipelineStatus/"}


@dataclass(frozen=True)
class Entry:
    """Something that was asked for, as the audit keeps it."""

    actor: str
    role: str
    address: str
    what: str
    outcome: str


class Auditor(Protocol):
    """Keeps what people change."""

    async def record(self, entry: Entry) -> None:
        """Kept when it returns. Raises ``Unavailable`` when it cannot be: then nothing is changed."""
        ...


@dataclass(frozen=True)
class Watch:
    """What a guard goes by. ``secret`` is that of the gateway's services; without one nobody has to be known."""

    secret: bytes = b""
    authenticator: Authenticator | None = None
    auditor: Auditor | None = None
    origins: Collection[str] = ()
    """Sites that may use it from a browser, beside itself, such as ``https://ui.lab``."""
    hosts: Collection[str] = ()
    """Names under which a laptop's services are called, beside its own."""
    now: Callable[[], float] = field(default=time.time)


class Guard:
    """ASGI middleware; ``scope["identity"]`` and ``scope["actor"]`` say who asks, where that is known."""

    def __init__(self, app: ASGIApp, service: str, watch: Watch) -> None:
        self._app, self._service, self._watch = app, service, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        try:
            if self._watch.secret:
                self._see_behind(request)
                await self._admit(request)
            else:
                self._keep_out_strangers(request)
        except AppError as error:
            await (await self._refusal(request, error))(scope, receive, send)
            return
        if scope["type"] == "websocket" and identity_of(request) is not None:
            receive = self._still_known(request, receive, send)
        await self._app(scope, receive, send)

    def _still_known(self, request: HTTPConnection, receive: Receive, send: Send) -> Receive:
        """A WebSocket stays open for days: while messages come, who sends them is looked up every few seconds. Words of
        our own services are not: they are made for one request."""
        checked, first = self._watch.now(), identity_of(request)

        async def watched() -> Message:
            nonlocal checked
            message = await receive()
            if self._watch.now() - checked < RECHECK_SECONDS or first is None or first.role is Role.SERVICE:
                return message
            checked = self._watch.now()
            try:
                known = await self._who(request)
            except AppError:
                return message  # it cannot be known now; the next look may tell
            if known is not None and known.role is first.role:
                return message
            log.warning("%s: %s is known no more, its WebSocket is closed", self._service, first.actor)
            await send({"type": "websocket.close", "code": 1008, "reason": f"{first.actor} may not come in any more"})
            return {"type": "websocket.disconnect", "code": 1008}

        return watched

    async def _refusal(self, request: HTTPConnection, error: AppError) -> Response:
        """People who look at pages are shown where to sign in."""
        wants_page = verb_of(request) in policy.SAFE and "text/html" in request.headers.get("accept", "")
        if isinstance(error, Unauthorized) and wants_page and self._service in SIGN_IN:
            return RedirectResponse(f"{SIGN_IN[self._service]}?next={quote(path_of(request))}", 303, web.NOT_CACHED)
        return await web.on_app_error(Request({**request.scope, "type": "http"}), error)

    def _keep_out_strangers(self, request: HTTPConnection) -> None:
        headers = request.headers
        host = _host_in(headers.get("host", ""))
        if host and not (is_near(host) or _is_address(host) or host in self._watch.hosts):
            # A page of another site whose name has been made to mean this computer (DNS rebinding).
            raise Forbidden(f"this service is called {request.scope['server']}, not {host}")
        origin = headers.get("origin", "")
        if origin and verb_of(request) not in policy.SAFE and not self._is_ours(headers):
            raise Forbidden(f"pages of {origin} may not change anything here; name the site in allowed_origins")

    def _is_ours(self, headers: Headers) -> bool:
        """Whether a request comes from a page of this deployment, or from no page at all."""
        origin = headers.get("origin", "")
        if not origin:
            return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        if origin in self._watch.origins:
            return True
        there = urlsplit(origin)
        same = there.netloc == headers.get("host", "")
        return same or (not self._watch.secret and is_near(there.hostname or "."))

    def _see_behind(self, request: HTTPConnection) -> None:
        """Who is behind one of our own services that passes a request on: tries of passwords, limits and the audit go
        by that address. Nobody else's word about it is believed."""
        address, word = request.headers.get(FOR, ""), request.headers.get(BY, "")
        if not address or not word:
            return
        by = service_of(self._watch.secret, word, self._watch.now())
        if by is not None and by.role is Role.SERVICE and _is_address(address):
            request.scope["client"], request.scope["passed_on"] = (address, 0), True

    async def _admit(self, request: HTTPConnection) -> None:
        path, verb = path_of(request), verb_of(request)
        if policy.open_to_all(verb, path):
            return
        identity = await self._who(request)
        if identity is None and path in policy.HEALTH:
            request.scope["stranger"] = True
            return
        if identity is None:
            raise Unauthorized(f"{verb} {path}: say who you are (Authorization: Bearer, or log in)")
        request.scope["identity"], request.scope["actor"] = identity, identity.actor
        changes = verb not in policy.SAFE
        allowed = policy.may(identity.role, self._service, verb, path)
        if allowed and changes and identity.session:
            self._check_page(request)
        silent = policy.continues(verb, path) or policy.only_reads(self._service, verb, path)
        elsewhere = policy.judged_elsewhere(self._service, path) or (allowed and silent)
        if identity.role in PEOPLE and changes and not elsewhere:
            await self._note(request, identity, "allowed" if allowed else "refused")
        if not allowed:
            log.warning("%s: %s (%s) may not %s %s", self._service, identity.actor, identity.role, verb, path)
            raise Forbidden(f"{identity.actor} is {identity.role} and may not {verb} {path}")

    async def _who(self, request: HTTPConnection) -> Identity | None:
        watch, headers = self._watch, request.headers
        scheme, _, word = headers.get("authorization", "").partition(" ")
        word = word.strip()
        if scheme.lower() == "bearer" and word:
            if word.startswith(SERVICE):
                return service_of(watch.secret, word, watch.now())
            return await watch.authenticator.identify(word) if watch.authenticator else None
        if identity := self._pipeline(request):
            return identity
        session = session_in(headers)
        return await watch.authenticator.identify(session) if session and watch.authenticator else None

    def _pipeline(self, request: HTTPConnection) -> Identity | None:
        """By the word in the URL that the pipeline was given."""
        start, path = CALLBACKS.get(self._service, " "), path_of(request)
        words = parse_qs(_query_of(request)).get("token", []) if path.startswith(start) else []
        job_id, _, task_id = path.removeprefix(start).partition("/")
        return pipeline_of(self._watch.secret, words[0], job_id, task_id) if words else None

    def _check_page(self, request: HTTPConnection) -> None:
        """A browser sends the cookie whoever's page makes it ask: ours proves itself by origin and header; by the
        origin alone where it opens a WebSocket, to which it cannot give a header."""
        if request.scope["type"] == "websocket":
            if not request.headers.get("origin") or not self._is_ours(request.headers):
                raise Forbidden("the WebSocket is not opened by a page of ours: Origin is missing or wrong")
            return
        expected = session_check(self._watch.secret, session_in(request.headers))
        if not same_text(request.headers.get(CHECK, ""), expected) or not self._is_ours(request.headers):
            raise Forbidden(f"the request does not come from a page of ours: {CHECK} or Origin is missing or wrong")

    async def _note(self, request: HTTPConnection, identity: Identity, outcome: str) -> None:
        """Before it is done: what could not be noted is not done."""
        if self._watch.auditor is not None:
            what = f"{self._service} {verb_of(request)} {path_of(request)}"
            address = address_of(request)
            await self._watch.auditor.record(Entry(identity.actor, identity.role, address, what[:500], outcome))


def verb_of(request: HTTPConnection) -> str:
    """The method; what opens a WebSocket is judged as POST: it is there to send something."""
    return "POST" if request.scope["type"] == "websocket" else str(request.scope["method"])


def path_of(request: HTTPConnection) -> str:
    """The path by which the router finds what answers. Not that of ``request.url``: a URL is put together and taken
    apart again, with the client's Host header in it, and may come to mean another path."""
    return str(request.scope["path"])


def _query_of(request: HTTPConnection) -> str:
    return bytes(request.scope.get("query_string", b"")).decode("latin-1")


def identity_of(request: HTTPConnection) -> Identity | None:
    """Who asks; None where nobody has to say."""
    found = request.scope.get("identity")
    return found if isinstance(found, Identity) else None


def edge_of(request: Request) -> str | None:
    """The instrument that asks, which is confined to its own jobs; None when it is no instrument."""
    identity = identity_of(request)
    return identity.name if identity is not None and identity.role == "edge" else None


def confine(request: Request, host: str, what: str) -> None:
    """Raises ``Forbidden`` when an instrument asks for what belongs to another."""
    edge = edge_of(request)
    if edge is not None and edge != host:
        raise Forbidden(f"{what} does not belong to the instrument {edge}")


def pipeline_launch(request: Request) -> str | None:
    """Which launch a pipeline's word is for; None when it is no pipeline that asks."""
    identity = identity_of(request)
    return identity.launch if identity is not None and identity.role == "pipeline" else None


def address_of(request: HTTPConnection) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def session_in(headers: Headers) -> str:
    """The session that a browser names; empty when there is none. A word of another kind is none: it would be let in
    without the proof that sessions need."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel and morsel.value.startswith(SESSION) else ""


def is_near(host: str) -> bool:
    """Whether a host is this computer, or a name without a domain, such as a container's: no site has such a one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or "." not in host


def _is_address(host: str) -> bool:
    """Who is called by an address was not found by a name that somebody has bent."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host_in(header: str) -> str:
    return urlsplit(f"//{header}").hostname or "" if header else ""
