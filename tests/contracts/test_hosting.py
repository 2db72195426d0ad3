"""How services are served."""

import asyncio
from contextlib import asynccontextmanager, closing

import httpx
import pytest

from contracts.hosting import bound, port_of, served

ASKED = b"GET /api/v1/health HTTP/1.1\r\nHost: quiet\r\n\r\n"
EXPIRY = httpx.Limits().keepalive_expiry
"""Seconds that our own clients may leave a connection idle and then ask on it again."""


class Quiet:
    """A service with nothing but the standard routes."""

    name = "quiet"

    def routes(self):
        return []

    @asynccontextmanager
    async def running(self):
        yield


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return head.split(b" ")[1], await reader.readexactly(length)


async def test_a_connection_outlives_the_pause_that_our_clients_make_on_it():
    """Who closes it at the same moment as a client asks on it, leaves that client without an answer."""
    with bound("127.0.0.1", {"quiet": 0}) as sockets:
        async with served([Quiet()], sockets):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sockets["quiet"]))
            with closing(writer):
                writer.write(ASKED)
                first = await _answer(reader)
                with pytest.raises(TimeoutError):  # nothing comes, and no end either
                    await asyncio.wait_for(reader.read(1), EXPIRY + 1)
                writer.write(ASKED)
                assert await _answer(reader) == first
                assert first[0] == b"200"
            await writer.wait_closed()
