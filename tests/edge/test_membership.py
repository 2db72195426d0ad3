"""How an instrument comes in, and how its word is renewed, whatever is lost midway."""

import stat
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.bearer import Bearer
from contracts.errors import BadRequest, Unavailable
from contracts.identity import digest_of
from edge.membership import Member, Membership, enrol, read, write

NOW = 1_800_000_000.0
MINE = Membership("https://gateway.lab", "scope-1", "cbe_one", NOW)


class Gateway:
    """A stand-in that does what the gateway's store is tested to do: the old word is good until the new one is
    used. Each answer may be lost."""

    def __init__(self, word: str) -> None:
        self.good, self.lost = {digest_of(word)}, False

    def app(self) -> Starlette:
        async def rotate(request: Request) -> Response:
            said = digest_of(request.headers["authorization"].removeprefix("Bearer "))
            if said not in self.good:
                return Response("who is that?", 401)
            self.good.add((await request.json())["Digest"])
            if self.lost:
                raise ConnectionResetError
            return Response()

        return Starlette(routes=[Route("/api/v1/tokens/rotate", rotate, methods=["POST"])])

    def uses(self, word: str) -> bool:
        """Whether the word is good; those before it are not any more."""
        if digest_of(word) not in self.good:
            return False
        self.good = {digest_of(word)}
        return True


async def renewed(path: Path, gateway: Gateway) -> Member:
    """An edge that starts and renews its word once."""
    kept = read(path)
    assert kept is not None
    member = Member(path, kept, lambda: NOW)
    transport = httpx.ASGITransport(gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", auth=Bearer(member.word)) as client:
        await member.renew(client)
    return member


@given(st.lists(st.booleans(), max_size=6))
async def test_whatever_answers_are_lost_there_is_always_a_good_word(tmp_path_factory, lost):
    path, gateway = tmp_path_factory.mktemp("edge") / "membership.json", Gateway(MINE.word)
    write(path, MINE)
    for is_lost in lost:
        gateway.lost = is_lost
        if is_lost:
            with pytest.raises((Unavailable, ConnectionResetError)):
                await renewed(path, gateway)
        else:
            await renewed(path, gateway)
        kept = read(path)
        assert kept is not None
        assert gateway.uses(kept.word)


async def test_a_word_that_was_renewed_is_the_next_one_from_then_on(tmp_path):
    path, gateway = tmp_path / "membership.json", Gateway(MINE.word)
    write(path, MINE)
    member = await renewed(path, gateway)
    assert member.word() != MINE.word
    assert read(path) == replace(MINE, word=member.word(), since=NOW)
    assert gateway.uses(member.word())
    assert not gateway.uses(MINE.word)


def test_what_is_kept_is_readable_for_its_owner_only(tmp_path):
    write(tmp_path / "membership.json", MINE)
    assert read(tmp_path / "membership.json") == MINE
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "membership.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"gateway": 1}', "null"])
def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path, content):
    (tmp_path / "membership.json").write_text(content)
    with pytest.raises(BadRequest, match="cytobus enroll"):
        read(tmp_path / "membership.json")


@pytest.mark.parametrize("where", ["http://gateway.lab", "gateway.lab", "ftp://gateway.lab", "https://", "file:///x"])
async def test_words_do_not_travel_in_the_open(tmp_path, where):
    with pytest.raises(BadRequest, match=r"TLS|no address"):
        await enrol(tmp_path / "membership.json", where, where, "CODE")
    assert list(tmp_path.iterdir()) == []
