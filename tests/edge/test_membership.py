"""How an instrument comes in, and how its word is renewed, whatever is lost midway."""

import ssl
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from compose.certificates import certificates, fingerprint
from contracts.bearer import Bearer
from contracts.errors import BadRequest, Conflict, Forbidden, Unavailable
from contracts.identity import digest_of
from edge.membership import Member, Membership, enrol, read, write
from tests.support.serving import listening

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


@settings(deadline=None)  # it waits for the disk
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


@pytest.mark.parametrize(
    "where", ["http://gateway.lab", "http://gateway", "gateway.lab", "ftp://gateway.lab", "https://", "file:///x"]
)
async def test_words_do_not_travel_in_the_open(tmp_path, where):
    with pytest.raises(BadRequest, match=r"TLS|no address"):
        await enrol(tmp_path / "membership.json", where, where, "CODE")
    assert list(tmp_path.iterdir()) == []


class Answering:
    """Answers an instrument that wants to come in as somebody between it and its gateway may: with any authority, and
    with codes that were used up before (``lost``: the answer to the first that comes is lost)."""

    name = "job-repository"

    def __init__(self, authority: str = "", *, lost: bool = False) -> None:
        self.authority, self.lost = authority, lost
        self.redeemed: dict[str, str] = {}
        self.name_given = "scope-1"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    def routes(self) -> list[Route]:
        async def authority(_request: Request) -> Response:
            return Response(self.authority)

        async def redeem(request: Request) -> Response:
            body = await request.json()
            used = self.redeemed.setdefault(body["Code"], body["Digest"]) != body["Digest"]
            if used or list(self.redeemed.values()).count(body["Digest"]) > 1:
                return Response("this code, or this word, is another's", 403)
            if self.lost:
                self.lost = False
                return Response("a proxy lost its patience", 504)
            return Response(f'{{"Name": "{self.name_given}"}}')

        return [
            Route("/api/v1/authority", authority, methods=["GET"]),
            Route("/api/v1/enrolments/redeem", redeem, methods=["POST"]),
        ]


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> tuple[list[str], str]:
    """Authorities of gateways, in all the lengths that they may have, and one of somebody else."""

    def made(name: str) -> str:
        return certificates(tmp_path_factory.mktemp(name), []).authority.read_text()

    return [made("ours") for _ in range(12)], made("theirs")


async def test_nothing_is_trusted_beside_what_the_code_names(tmp_path, roots):
    ours, theirs = roots
    there = Answering()
    async with listening(there) as port:
        where = f"http://127.0.0.1:{port}"
        for number, root in enumerate(ours):
            mark, path = fingerprint(root)[:32], tmp_path / f"{number}.json"
            for there.authority in (theirs, theirs + root):
                with pytest.raises(Forbidden, match="is not the gateway"):
                    await enrol(path, where, where, f"CODE-{number}#{mark}")
            assert read(path) is None
            there.authority = root + theirs
            try:
                await enrol(path, where, where, f"CODE-{number}#{mark}")
            except Forbidden:
                continue
            member = read(path)
            assert member is not None
            assert member.trust().get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(root)]


async def test_after_a_lost_answer_the_same_code_and_another_one_bring_in(tmp_path):
    there, path = Answering(lost=True), tmp_path / "membership.json"
    async with listening(there) as port:
        where = f"http://127.0.0.1:{port}"
        with pytest.raises(Unavailable):
            await enrol(path, where, where, "ONE")
        first = await enrol(path, where, where, "ONE")
        assert digest_of(first.word) == there.redeemed["ONE"]
        there.lost = True
        with pytest.raises(Unavailable):
            await enrol(path, where, where, "TWO")
        third = await enrol(path, where, where, "THREE")
        assert read(path) == third
        assert digest_of(third.word) == there.redeemed["THREE"] != there.redeemed["TWO"]
    assert [one.name for one in tmp_path.iterdir()] == ["membership.json"]


async def test_under_another_name_an_instrument_is_enrolled_only_when_that_is_said(tmp_path):
    there, path = Answering(), tmp_path / "membership.json"
    async with listening(there) as port:
        where = f"http://127.0.0.1:{port}"
        first = await enrol(path, where, where, "ONE")
        assert (await enrol(path, where, where, "TWO")).name == first.name  # anew, as the same
        kept, there.name_given = read(path), "scope-2"
        with pytest.raises(Conflict, match=r"enrolled as scope-1.*edges invite scope-1.*--as-new"):
            await enrol(path, where, where, "THREE")
        assert read(path) == kept
        renamed = await enrol(path, where, where, "THREE", as_new=True)  # the same code still
    assert read(path) == renamed
    assert renamed.name == "scope-2"
    assert [one.name for one in tmp_path.iterdir()] == ["membership.json"]


async def test_where_the_old_membership_cannot_be_read_any_name_will_do(tmp_path):
    path = tmp_path / "membership.json"
    path.write_text("{")
    async with listening(Answering()) as port:
        where = f"http://127.0.0.1:{port}"
        assert await enrol(path, where, where, "ONE") == read(path)
