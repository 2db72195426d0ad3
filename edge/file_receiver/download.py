"""Pulls one file by ranges, going on where a cut left it (RFC 9110 section 14, RFC 9530)."""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import httpx

from contracts import disk, ranges, transfer
from contracts.errors import AppError, Away, Full, Unavailable, error_of, told_after

MOST_VAIN_TRIES = 8
"""So many requests in a row that bring nothing further, and it is left to the caller's back-off."""


class Damaged(Unavailable):
    """What has come is not what was announced."""


async def fetch(
    client: httpx.AsyncClient,
    url: str,
    part: Path,
    *,
    sha256: str,
    size: int | None,
    chunk: int = transfer.CHUNK,
) -> str:
    """The file behind ``url`` is whole, verified and synced in ``part``; its SHA-256 is the answer.

    ``sha256`` may be empty (then the server's ``Repr-Digest``, if it tells one, is believed) and ``size`` None. What
    lies in ``part`` already is gone on with. A damaged part is deleted and fetched anew, once. Cuts are overcome
    at once as long as chunks get through; each costs at most one. Memory: one chunk.

    Raises ``Unavailable`` when a later try may help, ``Full`` when this disk is, and else what the server's
    status means (``NotFound``, …).
    """
    try:
        try:
            return await _Pulling(client, url, part, sha256, size, chunk).run()
        except Damaged:
            await asyncio.to_thread(part.unlink, missing_ok=True)
            return await _again(_Pulling(client, url, part, sha256, size, chunk, doubtful=True))
    except OSError as error:
        raise Unavailable(f"cannot write {part}: {error.strerror or error}") from error


async def _again(pulling: "_Pulling") -> str:
    try:
        return await pulling.run()
    except Damaged:
        await asyncio.to_thread(pulling.part.unlink, missing_ok=True)
        raise


class _Pulling:
    """One run through a file: how far the part is, and which content it is of."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        part: Path,
        sha256: str,
        size: int | None,
        chunk: int,
        *,
        doubtful: bool = False,
    ) -> None:
        """``doubtful``: the server is to look first whether it has what it has announced."""
        self._doubtful = doubtful
        self._client, self._url, self.part = client, url, part
        self._sha256, self._size = sha256, size
        self._most, self._chunk = chunk, chunk
        self._etag = ""
        self._offset = 0
        self._whole = False

    async def run(self) -> str:
        await asyncio.to_thread(self._resume)
        vain, best = 0, self._offset
        while not self._whole and self._offset != self._size:
            try:
                await self._pull()
                self._chunk = min(self._most, self._chunk * 2)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                raise Away(f"no way to {self._url}: {error or type(error).__name__}") from error
            except (httpx.RequestError, _Torn) as error:
                vain = vain + 1 if self._offset <= best else 0
                best = max(best, self._offset)
                if vain > MOST_VAIN_TRIES:
                    raise Away(f"{self._url} is cut again and again: {error or type(error).__name__}") from error
                self._chunk = transfer.smaller(self._chunk)
        return await asyncio.to_thread(self._verified)

    def _resume(self) -> None:
        """Take up what an earlier run left."""
        with self.part.open("ab") as file:
            self._offset = file.seek(0, os.SEEK_END)
        if self._size is not None and self._offset > self._size:
            self._reset()

    def _reset(self) -> None:
        with self.part.open("wb"):
            self._offset = 0

    def _verified(self) -> str:
        # Read again: what was handed to the disk need not be what lies there.
        found = disk.sha256_of(self.part)
        if self._size not in (None, self._offset) or (self._sha256 and found != self._sha256):
            raise Damaged(f"{self._url} brought {self._offset} bytes with SHA-256 {found}, not {self._sha256}")
        with disk.room_at(self.part):
            disk.sync_file(self.part)
        return found

    async def _pull(self) -> None:
        headers = {
            "Range": f"bytes={self._offset}-{self._offset + self._chunk - 1}",
            "Want-Content-Digest": "sha-256=1",
            "Accept-Encoding": "identity",
        }
        if self._etag:
            headers["If-Range"] = self._etag
        elif self._doubtful:
            headers["Want-Repr-Digest"] = "sha-256=10"
        async with self._client.stream("GET", self._url, headers=headers) as response:
            await self._take(response)
        # In process the body is in memory, in a cycle of references that else lives until the next collection.
        response.stream = httpx.ByteStream(b"")

    async def _take(self, response: httpx.Response) -> None:
        match response.status_code:
            case 206:
                await self._take_range(response)
            case 200:
                await self._take_all(response)
            case 416 if response.headers.get("content-range") == f"bytes */{self._offset}":
                self._whole = True
            case 416:
                raise Damaged(f"{self._url} is shorter than the {self._offset} bytes that are here")
            case status:
                words = (await response.aread()).decode("utf-8", "replace").strip()[:500]
                raise _refusal(status, f"GET {self._url}: {words or status}", told_after(response.headers))

    async def _take_range(self, response: httpx.Response) -> None:
        told = ranges.parse_content_range(response.headers.get("content-range", ""))
        if told is None or told[0] != self._offset:
            raise Unavailable(f"{self._url} answered with the range {response.headers.get('content-range')!r}")
        start, stop, size = told
        self._learn(response, size)
        pieces = [piece async for piece in response.aiter_raw()]
        digest = ranges.parse_digest(response.headers.get("content-digest", ""))
        if sum(map(len, pieces)) != stop - start or (digest and not await asyncio.to_thread(_fits, pieces, digest)):
            raise _Torn(f"bytes {start} to {stop} came damaged")
        await asyncio.to_thread(self._append, pieces)

    async def _take_all(self, response: httpx.Response) -> None:
        """The server knows no ranges, or the content has changed: from the beginning."""
        await asyncio.to_thread(self._reset)
        self._etag = ""
        length = response.headers.get("content-length")
        self._learn(response, int(length) if length else None)
        async for piece in response.aiter_raw(disk.BLOCK):
            await asyncio.to_thread(self._append, [piece])
        self._whole = True

    def _learn(self, response: httpx.Response, size: int | None) -> None:
        """What the server says of the whole. Raises ``Damaged`` when that is not what was announced."""
        etag = response.headers.get("etag", "")
        # If-Range takes no weak tags.
        self._etag = self._etag or ("" if etag.startswith("W/") else etag)
        digest = ranges.parse_digest(response.headers.get("repr-digest", ""))
        self._sha256 = self._sha256 or digest
        self._size = size if self._size is None else self._size
        if (digest and digest != self._sha256) or size not in (None, self._size):
            raise Damaged(f"{self._url} is other content than was announced ({size} bytes, SHA-256 {digest})")

    def _append(self, pieces: Sequence[bytes]) -> None:
        with disk.room_at(self.part), self.part.open("ab", buffering=disk.BLOCK) as file:
            for piece in pieces:
                file.write(piece)
                self._offset += len(piece)


class _Torn(Exception):
    """A chunk that did not arrive as it was sent."""


def _fits(pieces: Sequence[bytes], digest: str) -> bool:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest() == digest


def _refusal(status: int, text: str, after: float | None) -> AppError:
    # The server's full disk is not ours.
    return Unavailable(text) if status == Full.status else error_of(status, text, after)
