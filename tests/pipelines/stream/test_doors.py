"""Who may stream, and from where."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from compose.certificates import Certificates, certificates
from contracts.errors import Forbidden, Unauthorized, Unavailable
from contracts.guard import Entry, Watch
from contracts.hosting import Door, bound, port_of, served
from contracts.identity import Identity, Role, service_word
from contracts.stream import PATH, Opening
from contracts.stream_client import StreamEnded, streaming
from pipelines.stream.service import Stream
from tests.pipelines.stream.shades import SIDE, frame, inference

SECRET, NOW = b"a secret of sixteen", 1_800_000_000.0
OPENING = Opening(width=SIDE, height=SIDE)


class Known:
    """People by their words, and what is noted of them."""

    def __init__(self) -> None:
        self.noted: list[Entry] = []
        self.revoked: set[str] = set()
        self.now = NOW

    async def identify(self, word: str) -> Identity | None:
        name, _, role = word.partition("-")
        if name in {"anna", "olga", "vera", "scope"} - self.revoked:
            return Identity(name, Role(role))
        return Identity("olga", Role.OPERATOR, session=True) if word == "cbs_session" else None

    async def record(self, entry: Entry) -> None:
        self.noted.append(entry)


@asynccontextmanager
async def guarded(watch: Watch, made: Certificates | None = None) -> AsyncIterator[str]:
    service = Stream(inference())
    door = Door(watch, made.certificate, made.key) if made else Door(watch)
    with bound("127.0.0.1", {"stream": 0}) as sockets:
        async with served([service], sockets, door=door):
            await service.ready()
            yield f"{'wss' if made else 'ws'}://127.0.0.1:{port_of(sockets['stream'])}{PATH}"


async def came_in(url: str, **headers: str) -> int:
    """200 or the status of the refusal."""
    try:
        async with connect(url, additional_headers=headers) as raw:
            await raw.send(OPENING.model_dump_json())
            assert "welcome" in str(await raw.recv())
            return 200
    except InvalidStatus as error:
        return error.response.status_code


async def test_instruments_and_operators_stream_and_nobody_else() -> None:
    known = Known()
    async with guarded(Watch(SECRET, known, known, now=lambda: NOW)) as url:
        for word in ("scope-edge", "olga-operator", "anna-admin", service_word(SECRET, "pipelines", NOW)):
            async with streaming(url, OPENING, token=word) as client:
                assert client.welcome.model == "shades"
        with pytest.raises(Forbidden, match="vera is viewer and may not POST /api/v1/stream"):
            async with streaming(url, OPENING, token="vera-viewer"):
                pass
        for word in ("", "mallory-admin", service_word(b"another secret here", "pipelines", NOW)):
            with pytest.raises(Unauthorized, match="say who you are"):
                async with streaming(url, OPENING, token=word):
                    pass
    assert [(entry.actor, entry.outcome) for entry in known.noted] == [
        ("olga", "allowed"),
        ("anna", "allowed"),
        ("vera", "refused"),
    ]


async def test_an_instrument_that_is_revoked_is_told_to_go_within_seconds() -> None:
    known = Known()
    async with (
        guarded(Watch(SECRET, known, known, now=lambda: known.now)) as url,
        streaming(url, OPENING, token="scope-edge") as client,
    ):
        await client.send(1, frame(9))
        answers = aiter(client)
        assert (await anext(answers)).number == 1
        known.now += 6
        await client.send(2, frame(9))
        assert (await anext(answers)).number == 2
        known.now, known.revoked = known.now + 6, {"scope"}
        await client.send(3, frame(9))
        with pytest.raises(StreamEnded, match="1008 edge scope may not come in any more") as ended:
            await anext(answers)
    assert ended.value.unanswered == (3,)


async def test_a_browsers_session_streams_only_from_pages_of_ours() -> None:
    known = Known()
    async with guarded(Watch(SECRET, known, known, origins=["https://ui.lab"], now=lambda: NOW)) as url:
        cookie = {"Cookie": "cytobus_session=cbs_session"}
        assert await came_in(url, **cookie, Origin="https://ui.lab") == 200
        assert await came_in(url, **cookie, Origin="https://evil.example") == 403
        assert await came_in(url, **cookie) == 403


async def test_over_tls_frames_come_back_and_an_unknown_authority_is_not_believed(tmp_path: Path) -> None:
    made = certificates(tmp_path, {"127.0.0.1"})
    trust = ssl.create_default_context(cafile=str(made.authority))
    async with guarded(Watch(SECRET, Known(), now=lambda: NOW), made) as url:
        async with streaming(url, OPENING, token="scope-edge", trust=trust) as client:
            await client.send(1, frame(9))
            await client.end()
            assert [result.number async for result in client] == [1]
        with pytest.raises(Unavailable, match="certificate"):
            async with streaming(url, OPENING, token="scope-edge", trust=ssl.create_default_context()):
                pass


async def test_on_a_laptop_pages_of_other_sites_do_not_stream() -> None:
    async with guarded(Watch()) as url:
        assert await came_in(url) == 200
        assert await came_in(url, Origin="http://localhost:4200") == 200
        assert await came_in(url, Origin="https://evil.example") == 403
        port = url.split(":")[2].partition("/")[0]
        with pytest.raises(InvalidStatus) as bent:
            # A name of another site that has been made to mean this computer.
            await connect(f"ws://rebound.evil.example:{port}{PATH}", host="127.0.0.1", port=int(port))
        assert bent.value.response.status_code == 403
