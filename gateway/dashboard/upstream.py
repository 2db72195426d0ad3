"""The public API as a page of ours asks it: with the words of whoever looks at the page, and no others."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from contracts import web
from contracts.client import call
from contracts.errors import AppError, Away
from contracts.guard import BY, CHECK, COOKIE, FOR, address_of, session_in
from contracts.models import Task

SERVICES = ("job-repository", "task-launcher", "file-sender-gateway", "file-receiver-gateway")
"""Those that pages may ask through us."""
PASSED_ON = frozenset(
    f"""authorization {CHECK} accept content-type content-length content-digest want-content-digest
    range if-none-match if-range tus-resumable upload-offset upload-length upload-metadata upload-checksum""".split()
)
ABOUT_CONTENT = ("type", "length", "range", "disposition", "digest")
PASSED_BACK = frozenset(
    [f"content-{what}" for what in ABOUT_CONTENT]
    + ["tus-resumable", "upload-offset", "upload-length", "upload-expires"]
    + ["repr-digest", "accept-ranges", "cache-control", "etag", "last-modified", "link", "location", "retry-after"]
)
HARMLESS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
"""What instruments and pipelines have put into files is never run as a page of ours."""

TASKS = TypeAdapter(list[Task])
Clients = Mapping[str, httpx.AsyncClient]


class Upstream:
    """Asks services for whoever asks us. ``clients``: by service, without any word of their own; ``word`` is our own,
    by which they believe us from where it comes."""

    def __init__(self, clients: Clients, word: Callable[[], str] = lambda: "") -> None:
        self._clients, self._word = clients, word

    async def get(self, request: Request, service: str, path: str, **params: str) -> Any:
        """What the service answers, as JSON; None for nothing. Raises one of ``contracts.errors``."""
        response = await self.response(request, service, path, **params)
        return response.json() if response.content else None

    async def response(self, request: Request, service: str, path: str, **params: str) -> httpx.Response:
        """The service's answer. Raises one of ``contracts.errors``."""
        client = self._clients[service]
        return await call(client, "GET", path, params=params, headers=self._said(request))

    async def tasks(self, request: Request) -> list[Task]:
        """All tasks. Raises one of ``contracts.errors``."""
        response = await self.response(request, "task-launcher", "/api/v1/task")
        return TASKS.validate_json(response.content) if response.content else []

    async def start(self, request: Request, service: str, path: str, limit: int) -> bytes:
        """The first bytes of a file of the service, ``limit`` at most."""
        wanted = self._said(request) | {"Range": f"bytes=0-{limit - 1}"}
        return (await call(self._clients[service], "GET", path, headers=wanted)).content[:limit]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: passes requests on to the service that the path's first level names, and its answers back."""
        request = Request(scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        service, _, rest = path.lstrip("/").partition("/")
        try:
            response = await self._passed(request, service, f"/{rest}")
        except AppError as error:
            response = await web.on_app_error(request, error)
        await response(scope, receive, send)

    async def _passed(self, request: Request, service: str, path: str) -> Response:
        if service not in SERVICES or not path.startswith("/api/v1/") or "/." in path:
            return web.error("404 page not found", 404)
        client = self._clients[service]
        headers = self._said(request)
        headers |= {name: request.headers[name] for name in PASSED_ON if _is_sendable(request.headers.get(name, ""))}
        # The address is put together anew: what stands for itself in the path must not end it.
        url = httpx.URL(client.base_url.join(quote(path, safe="/~")), query=_query(request))
        body = None if request.method in ("GET", "HEAD", "DELETE") else request.stream()
        asked = client.build_request(request.method, url, headers=headers, content=body)
        try:
            answer = await client.send(asked, stream=True)
        except httpx.HTTPError as error:
            raise Away(f"{service} does not answer: {error or type(error).__name__}") from None
        kept = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        if "content-encoding" in answer.headers:
            kept.pop("content-length", None)
        response = StreamingResponse(_flowing(answer), answer.status_code, kept | HARMLESS)
        for cookie in answer.headers.get_list("set-cookie"):
            response.raw_headers.append((b"set-cookie", cookie.encode("latin-1")))
        return response

    def _said(self, request: Request) -> dict[str, str]:
        """Who asks, and from where."""
        headers, word, address = credentials(request), self._word(), address_of(request)
        return headers | {FOR: address, BY: word} if word and address else headers


def credentials(request: Request) -> dict[str, str]:
    """By which the services know who asks."""
    headers: dict[str, str] = {}
    if _is_sendable(session := session_in(request.headers)):
        headers["Cookie"] = f"{COOKIE}={session}"
    if _is_sendable(word := request.headers.get("authorization", "")):
        headers["Authorization"] = word
    return headers


def _is_sendable(word: str) -> bool:
    """Whether it can be a header at all; no word of anybody's is anything else."""
    return bool(word) and word.isascii() and word.isprintable() and word == word.strip()


def _query(request: Request) -> bytes:
    return bytes(request.scope.get("query_string", b""))


async def _flowing(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_bytes():
            yield part
    except httpx.HTTPError as error:
        raise Away(f"the answer broke off: {error or type(error).__name__}") from None
    finally:
        await answer.aclose()
