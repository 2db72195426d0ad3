"""Sends one file to the gateway's file receiver, going on where a cut left it (tus 1.0.0)."""

import asyncio
import errno
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from io import FileIO
from pathlib import Path
from typing import TypeVar

import httpx

from contracts import transfer
from contracts.disk import BLOCK, open_plain
from contracts.errors import AppError, Away, Rejected, Unavailable
from contracts.transfer import Ask, GiveUp, GoOn, Restart, Step

FILES = "/api/v1/files"
MOST_VAIN_STEPS = 16
"""So many requests in a row that bring nothing further, and it is left to the caller's back-off."""
T = TypeVar("T")


class SourceChanged(Rejected):
    """The file is no longer what its job was made for."""


class SourceGone(Rejected):
    """The file is no longer there."""


async def upload(
    client: httpx.AsyncClient,
    path: Path,
    *,
    job_id: str,
    name: str,
    folder: str,
    sha256: str,
    size: int,
    chunk: int = transfer.CHUNK,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """When it returns, the gateway holds exactly this file, synced, and its job says so.

    ``client`` has the file receiver as ``base_url``; ``folder`` is the sub-folder there, levels joined by ``/``;
    ``on_progress`` hears how many bytes the gateway has. Cuts are overcome at once as long as bytes get through;
    each costs at most one chunk, and chunks shrink on a bad line. Memory: a few blocks of 1 MiB.

    Raises ``SourceChanged``, ``SourceGone``, ``Rejected``, ``Conflict`` or ``NotFound`` when no repetition would
    help, ``Full`` when the gateway's disk is, and ``Unavailable`` when it may go better later.
    """
    told = {"jobid": job_id, "filename": name, "sha256": sha256, "folder": folder}
    source = await _Source.opened(path, size, sha256)
    try:
        await _Sending(client, source, transfer.format_metadata(told), chunk, on_progress).run()
    finally:
        await asyncio.to_thread(source.close)


class _Sending:
    """One file's way: what was asked for, how far the gateway is, and how often that was in vain."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        source: "_Source",
        metadata: str,
        chunk: int,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self._client, self._source, self._metadata = client, source, metadata
        self._most, self._chunk = chunk, chunk
        self._on_progress = on_progress
        self._url: httpx.URL | None = None
        self._best = self._vain = 0
        self._doubted = False

    async def run(self) -> None:
        step: Step = Restart()
        while not (isinstance(step, GoOn) and self._arrived(step.offset)):
            self._vain += 1
            if self._vain > MOST_VAIN_STEPS:
                raise Unavailable(f"{self._source.path}: the transfer is stuck at {self._best} of {self._source.size}")
            step = await self._after(step)

    async def _after(self, step: Step) -> Step:
        match step:
            case GiveUp(error):
                raise error
            case GoOn(offset):
                return await self._send(offset)
            case Ask():
                return await self._ask_for("HEAD", {})
            case Restart():
                return await self._create()

    def _arrived(self, offset: int) -> bool:
        """Whether that is all; more than ever before counts as progress."""
        if offset > self._best:
            self._best, self._vain = offset, 0
            if self._on_progress is not None:
                self._on_progress(offset)
        return offset == self._source.size

    async def _doubt(self) -> None:
        """The whole may be damaged: was the file itself changed? If not, all may be sent once more."""
        await self._source.verify()
        if not self._doubted:
            self._doubted, self._best = True, 0

    async def _create(self) -> Step:
        headers = {"Upload-Length": str(self._source.size), "Upload-Metadata": self._metadata}
        return await self._ask_for("POST", headers, 0, self._source.size if self._source.size <= self._chunk else 0)

    async def _send(self, offset: int) -> Step:
        count = min(self._chunk, self._source.size - offset)
        checksum = await self._source.checksum(offset, count)
        headers = {"Upload-Offset": str(offset), "Upload-Checksum": str(checksum)}
        return await self._ask_for("PATCH", headers, offset, count)

    async def _ask_for(self, verb: str, headers: dict[str, str], offset: int = 0, count: int = 0) -> Step:
        """One request with ``count`` bytes of the file, and what follows from its answer."""
        if verb == "PATCH" or count:
            headers["Content-Type"] = transfer.MEDIA_TYPE
        headers["Content-Length"] = str(count)
        headers["Tus-Resumable"] = transfer.VERSION
        url = self._url if verb != "POST" else None
        try:
            body = await self._source.body(offset, count)
            response = await self._client.request(verb, url or FILES, headers=headers, content=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Away(f"no way to the file receiver at {self._client.base_url}: {_words(error)}") from error
        except httpx.RequestError as error:
            if self._vain >= MOST_VAIN_STEPS:
                raise Away(f"the transfer to {self._client.base_url} is cut: {_words(error)}") from error
            self._chunk = transfer.smaller(self._chunk)
            return Ask() if self._url is not None else Restart()
        if self._source.trouble is not None:
            # Raised while the body was read; in process, the receiver's own error handling has answered it.
            raise self._source.trouble
        step = transfer.after(verb, response.status_code, response.headers, response.text, self._source.size)
        if verb == "POST" and isinstance(step, GoOn):
            self._url = response.url.join(response.headers.get("location", ""))
        await self._judge_line(step, verb == "POST" or offset + count == self._source.size)
        return step

    async def _judge_line(self, step: Step, whole: bool) -> None:
        """Chunks grow on a good line and shrink on a bad one; ``whole``: the request brought the last byte."""
        if not (isinstance(step, Ask | Restart) and step.corrupted):
            self._chunk = min(self._most, self._chunk * 2)
            return
        self._chunk = transfer.smaller(self._chunk)
        if whole:
            await self._doubt()


class _Source:
    """The local file, opened once: a file put in its place meanwhile does not disturb."""

    def __init__(self, path: Path, size: int, sha256: str) -> None:
        self.path, self.size, self._sha256 = path, size, sha256
        self._file: FileIO = open_plain(path)
        self.trouble: AppError | None = None
        self._seen = self._stamp()
        self.found = self._seen[0]

    @classmethod
    async def opened(cls, path: Path, size: int, sha256: str) -> "_Source":
        source = await _readable(path, asyncio.to_thread(cls, path, size, sha256))
        if source.found != size:
            await asyncio.to_thread(source.close)
            raise SourceChanged(f"{path} has {source.found} bytes now, not {size}")
        return source

    def close(self) -> None:
        self._file.close()

    async def checksum(self, offset: int, count: int) -> transfer.Checksum:
        """Of these bytes. Raises ``SourceChanged`` when the file was changed under our hands."""
        algorithm = transfer.ALGORITHMS[0]
        fed = transfer.new_hash(algorithm)
        await _readable(self.path, asyncio.to_thread(self._feed, fed, offset, count))
        return transfer.Checksum(algorithm, fed.digest())

    async def body(self, offset: int, count: int) -> bytes | AsyncIterator[bytes]:
        """These bytes for a request: few at once, many block by block, read when they are wanted."""
        if count > BLOCK:
            return self._blocks(offset, count)
        return await self._read(offset, count) if count else b""

    async def _blocks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        try:
            for at in range(offset, offset + count, BLOCK):
                yield await self._read(at, min(BLOCK, offset + count - at))
        except AppError as error:
            self.trouble = error
            raise

    async def _read(self, offset: int, count: int) -> bytes:
        body = await _readable(self.path, asyncio.to_thread(self._read_now, offset, count))
        stamp = self._stamp()
        if stamp != self._seen:
            await self.verify()
            self._seen = stamp
        if len(body) != count:
            raise SourceChanged(f"{self.path} has become shorter than {self.size} bytes")
        return body

    async def verify(self) -> None:
        """Raises ``SourceChanged`` unless the file still has the content its job was made for."""
        found = await _readable(self.path, asyncio.to_thread(self._digest))
        if found != self._sha256:
            raise SourceChanged(f"{self.path} was changed after its job was made: its SHA-256 is now {found}")

    def _stamp(self) -> tuple[int, int]:
        stat = os.fstat(self._file.fileno())
        return stat.st_size, stat.st_mtime_ns

    def _read_now(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        pieces = []
        while count and (piece := self._file.read(count)):
            pieces.append(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _feed(self, fed: transfer.Hash, offset: int, count: int) -> None:
        self._file.seek(offset)
        buffer = memoryview(bytearray(min(count, BLOCK)))
        while count and (read := self._file.readinto(buffer[:count])):
            fed.update(buffer[:read])
            count -= read

    def _digest(self) -> str:
        digest = hashlib.sha256()
        self._feed(digest, 0, sys.maxsize)
        return digest.hexdigest()


async def _readable(path: Path, reading: Awaitable[T]) -> T:
    try:
        return await reading
    except FileNotFoundError:
        raise SourceGone(f"{path} is no longer there") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL):
            raise SourceChanged(f"{path} is no longer a plain file") from None
        raise Unavailable(f"cannot read {path}: {error.strerror or error}") from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
