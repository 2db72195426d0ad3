"""Sends a file or a range of it (RFC 9110), named by its content (RFC 9530), in constant memory."""

import asyncio
import hashlib
import re
from email.utils import formatdate
from io import FileIO
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contracts.disk import BLOCK
from contracts.errors import NotFound, Unavailable
from contracts.models import SHA256
from contracts.ranges import format_content_range, format_digest, parse_range
from contracts.transfer import CHUNK, Unsatisfiable


async def file_response(request: Request, path: Path, sha256: str, media_type: str = "text/plain") -> Response:
    """The file; the SHA-256 (hexadecimal) that the caller knows of it is its ETag and its ``Repr-Digest``.

    A single ``Range`` gives 206 or 416, honouring ``If-Range``; a range of at most one chunk bears its own
    ``Content-Digest`` when that is wanted (``Want-Content-Digest``). Raises ``NotFound`` when the file is not
    there and ``Unavailable`` when it cannot be read.
    """
    try:
        file, size, changed = await asyncio.to_thread(_opened, path)
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"no file {path}") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror or error}") from error
    headers = {
        "Content-Type": media_type,
        "Accept-Ranges": "bytes",
        "Last-Modified": formatdate(changed, usegmt=True),
    }
    # What a client has put into a job may be anything.
    etag = f'"{sha256}"' if re.fullmatch(SHA256, sha256) else ""
    if etag:
        headers |= {"ETag": etag, "Repr-Digest": format_digest(sha256)}
    try:
        wanted = _range(request, etag, size)
    except Unsatisfiable:
        file.close()
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, stop = wanted or (0, size)
    if wanted is not None:
        headers["Content-Range"] = format_content_range(start, stop, size)
    headers["Content-Length"] = str(stop - start)
    status = 200 if wanted is None else 206
    if request.method == "HEAD":
        file.close()
        return Response(status_code=status, headers=headers)
    if "want-content-digest" in request.headers and stop - start <= CHUNK:
        headers["Content-Digest"] = format_digest(await asyncio.to_thread(_digest, file, start, stop))
    return _Streamed(request, file, start, stop, status, headers)


def _opened(path: Path) -> tuple[FileIO, int, float]:
    file = path.open("rb", buffering=0)
    stat = path.stat()
    return file, stat.st_size, stat.st_mtime


def _range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """What is asked for; RFC 9110 13.1.5: a range is void when ``If-Range`` names another content."""
    if "range" not in request.headers or request.headers.get("if-range", etag) != etag:
        return None
    return parse_range(request.headers["range"], size)


def _digest(file: FileIO, start: int, stop: int) -> str:
    """SHA-256 of a range; read twice, since a digest goes before its content, rather than held in memory."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(BLOCK, stop - start)))
    file.seek(start)
    while start < stop and (read := file.readinto(buffer[: stop - start])):
        digest.update(buffer[:read])
        start += read
    return digest.hexdigest()


class _Streamed(Response):
    """Blocks read in a thread: the disk gives the next one while the network takes this one."""

    def __init__(self, request: Request, file: FileIO, start: int, stop: int, status: int, headers: dict[str, str]):
        super().__init__(None, status, headers)
        self._request, self._file, self._left = request, file, stop - start
        self._sent = 0
        self._reading = self._read(start)

    def _read(self, start: int | None = None) -> "asyncio.Future[bytes]":
        def read() -> bytes:
            if start is not None:
                self._file.seek(start)
            return self._file.read(min(BLOCK, self._left))

        return asyncio.ensure_future(asyncio.to_thread(read))

    async def _deserted(self) -> bool:
        """Whether nobody listens any more; asked once a chunk, for asking costs as much as sending a block."""
        return bool(self._sent) and self._sent % CHUNK == 0 and await self._request.is_disconnected()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while self._left and not await self._deserted():
                block = await self._reading
                if not block:
                    raise Unavailable(f"{self._file.name} is shorter than it was when its sending began")
                self._left -= len(block)
                self._sent += len(block)
                self._reading = self._read()
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            # Never closed under a thread that reads from it: its number may be another file's by then.
            await asyncio.wait([self._reading])
            self._file.close()
