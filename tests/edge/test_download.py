"""Downloads over bad lines: what is in the part in the end is exactly the file, and costs no more than it must."""

import hashlib
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts.errors import NotFound, Unavailable
from contracts.hosting import app_of
from edge.file_receiver.download import fetch
from gateway.file_sender.serving import file_response
from tests.support.proxy import Fault, Proxy, proxied
from tests.support.serving import listening

CHUNK = 256 * 1024


class Shelf:
    """Hands out one file."""

    name = "shelf"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[str] = []
        self.with_ranges = True

    def routes(self) -> list[BaseRoute]:
        return [Route("/file", self.serve, methods=["GET", "HEAD"])]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    async def serve(self, request: Request) -> Response:
        self.asked.append(request.headers.get("range", ""))
        if not self.with_ranges:
            return Response(self.path.read_bytes())
        return await file_response(request, self.path, sha(self.path))


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def calling(proxy: Proxy) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=proxy.url, timeout=30)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "file").write_bytes(random.Random(1).randbytes(8 * CHUNK + 11))
    return Shelf(tmp_path / "file")


@pytest.fixture(params=["in process", "tcp"])
async def client(request: pytest.FixtureRequest, shelf: Shelf) -> AsyncIterator[httpx.AsyncClient]:
    if request.param == "tcp":
        async with listening(shelf) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    else:
        transport = httpx.ASGITransport(app_of(shelf))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 4 * CHUNK])
@pytest.mark.parametrize("told", [True, False])
async def test_a_file_of_any_size(
    client: httpx.AsyncClient, shelf: Shelf, tmp_path: Path, size: int, told: bool
) -> None:
    shelf.path.write_bytes(os.urandom(size))
    digest = sha(shelf.path)

    found = await fetch(
        client, "/file", tmp_path / "part", sha256=digest if told else "", size=size if told else None, chunk=CHUNK
    )

    assert found == digest
    assert (tmp_path / "part").read_bytes() == shelf.path.read_bytes()


async def test_it_goes_on_where_the_part_ends(client: httpx.AsyncClient, shelf: Shelf, tmp_path: Path) -> None:
    content = shelf.path.read_bytes()
    (tmp_path / "part").write_bytes(content[: 5 * CHUNK])

    await fetch(client, "/file", tmp_path / "part", sha256=sha(shelf.path), size=len(content), chunk=CHUNK)

    assert shelf.asked[0] == f"bytes={5 * CHUNK}-{6 * CHUNK - 1}"
    assert (tmp_path / "part").read_bytes() == content


@pytest.mark.parametrize("left", [b"garbage", b"g" * 10_000_000])
async def test_a_damaged_part_is_fetched_anew(
    client: httpx.AsyncClient, shelf: Shelf, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "part").write_bytes(left)

    await fetch(client, "/file", tmp_path / "part", sha256=sha(shelf.path), size=None, chunk=CHUNK)

    assert (tmp_path / "part").read_bytes() == shelf.path.read_bytes()


async def test_who_got_something_else_than_was_announced_wants_it_looked_at(shelf: Shelf, tmp_path: Path) -> None:
    doubts: list[bool] = []
    serve = shelf.serve

    async def noting(request: Request) -> Response:
        doubts.append("want-repr-digest" in request.headers)
        return await serve(request)

    shelf.serve = noting  # type: ignore[method-assign]
    transport = httpx.ASGITransport(app_of(shelf))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        with pytest.raises(Unavailable):
            await fetch(client, "/file", tmp_path / "part", sha256="0" * 64, size=None, chunk=10**6)

    assert doubts == [False, True]


async def test_a_bit_that_turns_on_the_disk_while_the_rest_comes_is_noticed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.path.write_bytes(content := os.urandom(3 * CHUNK))
    part, serve = tmp_path / "part", shelf.serve
    turned = []

    async def serve_and_spoil(request: Request) -> Response:
        if len(shelf.asked) == 2 and not turned:
            turned.append(damaged := bytearray(part.read_bytes()))
            damaged[100] ^= 4
            part.write_bytes(damaged)
        return await serve(request)

    shelf.serve = serve_and_spoil  # type: ignore[method-assign]
    transport = httpx.ASGITransport(app_of(shelf))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        await fetch(client, "/file", part, sha256=sha(shelf.path), size=len(content), chunk=CHUNK)

    assert turned
    assert part.read_bytes() == content


async def test_a_server_without_ranges_will_do(client: httpx.AsyncClient, shelf: Shelf, tmp_path: Path) -> None:
    shelf.with_ranges = False
    (tmp_path / "part").write_bytes(b"left behind")

    await fetch(client, "/file", tmp_path / "part", sha256=sha(shelf.path), size=None, chunk=CHUNK)

    assert (tmp_path / "part").read_bytes() == shelf.path.read_bytes()


async def test_other_content_than_announced_is_unavailable(
    client: httpx.AsyncClient, shelf: Shelf, tmp_path: Path
) -> None:
    for with_ranges in (True, False):
        shelf.with_ranges = with_ranges
        with pytest.raises(Unavailable):
            await fetch(client, "/file", tmp_path / "part", sha256="0" * 64, size=None, chunk=CHUNK)
        assert not (tmp_path / "part").exists()


async def test_a_file_that_is_not_there(client: httpx.AsyncClient, shelf: Shelf, tmp_path: Path) -> None:
    shelf.path.rename(tmp_path / "elsewhere")

    with pytest.raises((NotFound, Unavailable)):
        await fetch(client, "/nothing", tmp_path / "part", sha256="", size=None)


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as client:
        with pytest.raises(Unavailable, match="no way"):
            await fetch(client, "/file", tmp_path / "part", sha256="", size=None)


@pytest.mark.parametrize("kind", ["cut", "flip"])
@pytest.mark.parametrize("seed", range(4))
async def test_over_a_bad_line(shelf: Shelf, tmp_path: Path, kind: str, seed: int) -> None:
    places = random.Random(seed).choices(range(1_000, 2 * CHUNK), k=5)
    faults = [Fault(kind, place, upwards=False) for place in places]
    size = shelf.path.stat().st_size
    async with listening(shelf) as port, proxied(port, faults) as proxy, calling(proxy) as client:
        await fetch(client, "/file", tmp_path / "part", sha256=sha(shelf.path), size=size, chunk=CHUNK)
        struck = proxy.struck

    assert (tmp_path / "part").read_bytes() == shelf.path.read_bytes()
    assert struck > 0
    asked = [text.removeprefix("bytes=").split("-") for text in shelf.asked]
    assert sum(min(size, int(last) + 1) - int(first) for first, last in asked) <= size + struck * CHUNK


async def test_a_line_that_never_lets_a_chunk_through_is_unavailable(shelf: Shelf, tmp_path: Path) -> None:
    faults = [Fault("cut", 500, upwards=False)] * 100
    async with listening(shelf) as port, proxied(port, faults) as proxy, calling(proxy) as client:
        with pytest.raises(Unavailable, match="again and again"):
            await fetch(client, "/file", tmp_path / "part", sha256=sha(shelf.path), size=None, chunk=CHUNK)


@pytest.mark.parametrize(
    ("headers", "status", "content_range", "length"),
    [
        ({}, 200, None, 10),
        ({"Range": "bytes=2-4"}, 206, "bytes 2-4/10", 3),
        ({"Range": "bytes=-4"}, 206, "bytes 6-9/10", 4),
        ({"Range": "bytes=2-4,6-7"}, 200, None, 10),
        ({"Range": "bytes=10-"}, 416, "bytes */10", 0),
        ({"Range": "bytes=2-4", "If-Range": '"other"'}, 200, None, 10),
    ],
)
async def test_what_the_server_says(
    client: httpx.AsyncClient,
    shelf: Shelf,
    headers: dict[str, str],
    status: int,
    content_range: str | None,
    length: int,
) -> None:
    shelf.path.write_bytes(b"0123456789")

    got = await client.get("/file", headers={**headers, "Want-Content-Digest": "sha-256=1"})
    head = await client.head("/file", headers=headers)

    assert got.status_code == head.status_code == status
    assert got.headers.get("content-range") == head.headers.get("content-range") == content_range
    assert len(got.content) == length
    assert got.headers["etag"] == f'"{sha(shelf.path)}"'
    assert got.headers["repr-digest"].startswith("sha-256=:")
    assert ("content-digest" in got.headers) == (status != 416)
    assert head.content == b""
