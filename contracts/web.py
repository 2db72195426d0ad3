"""Replies and errors as the contract has them: plain text, Go's JSON, nothing else."""

import math

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from contracts.errors import AppError, BadRequest, Unavailable
from contracts.gojson import dumps
from contracts.ranges import arrived, digest_of

NOT_CACHED = {"Cache-Control": "no-store"}


def reply(status: int = 200) -> Response:
    """A status and nothing more."""
    return Response(status_code=status)


def text(words: str, status: int = 200) -> Response:
    """Plain text without a newline, as ids are sent."""
    return Response(words.encode("utf-8", "replace"), status, media_type="text/plain")


def json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON as Go writes it (see ``gojson``)."""
    return written(dumps(value), status, headers)


def written(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that is written already, with a digest by which a caller of ours sees that it came undamaged."""
    digest = {"Content-Digest": digest_of(body)}
    return Response(body, status, digest | (headers or {}), media_type="application/json")


def error(words: str, status: int) -> Response:
    """An error as Go's ``http.Error`` sends it: the text and a newline, not to be sniffed."""
    body = (words + "\n").encode("utf-8", "replace")
    return Response(body, status, {"X-Content-Type-Options": "nosniff", "Content-Type": "text/plain; charset=utf-8"})


async def on_app_error(_request: Request, problem: Exception) -> Response:
    """An error with a meaning becomes its status and its text."""
    assert isinstance(problem, AppError)
    response = error(str(problem), problem.status)
    if problem.retry:
        response.headers["Retry-After"] = str(math.ceil(problem.after or 1))
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def on_http_error(_request: Request, problem: Exception) -> Response:
    """Unknown paths and wrong methods, as Go's router answers them."""
    assert isinstance(problem, HTTPException)
    if problem.status_code == 404:
        return error("404 page not found", 404)
    if problem.status_code == 405:
        return reply(405)
    return error(problem.detail, problem.status_code)


def actor(request: Request, default: str = "operator") -> str:
    """Who asks, as histories name them; the default where nobody has to say."""
    return str(request.scope.get("actor", default))


async def body_of(request: Request, limit: int = 16 * 2**20) -> bytes:
    """The whole body of a small request. Raises ``BadRequest`` beyond ``limit`` bytes or when it breaks off, and
    ``Unavailable`` when it is not what its ``Content-Digest`` says: then it is to be sent again."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise BadRequest(f"the body of {request.url.path} is longer than {limit} bytes")
            parts.append(part)
    except ClientDisconnect:
        raise BadRequest(f"the body of {request.url.path} broke off after {size} bytes") from None
    body = b"".join(parts)
    if not arrived(body, request.headers.get("content-digest", "")):
        raise Unavailable(f"the body of {request.url.path} came damaged; send it again")
    return body
