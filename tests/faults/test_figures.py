"""What is promised by a number, in short; the whole is ``python -m tests.faults.figures``."""

import random

import pytest

from contracts.transfer import CHUNK
from tests.faults import flips, overload, poison, recovery, resume, slow_writers
from tests.faults.control import why_not
from tests.faults.flips import Flips
from tests.faults.resume import Cuts
from tests.support.line import Harm, Message, parsed

PATIENCE = 120.0
"""The machine may have other things to do."""


def request(text: str, request: Message | None = None) -> Message:
    return parsed(text.replace("\n", "\r\n").encode() + b"\r\n\r\n", request)


def test_messages_say_how_long_their_bodies_are():
    asked = request("PATCH /api/v1/files/x HTTP/1.1\nContent-Length: 70")
    assert (asked.verb, asked.path, asked.length) == ("PATCH", "/api/v1/files/x", 70)
    answer = request("HTTP/1.1 204 No Content\nUpload-Offset: 7", asked)
    assert (answer.status, answer.length) == (204, 0)
    head = request("HEAD /api/v1/files/x HTTP/1.1")
    assert request("HTTP/1.1 200 OK\nContent-Length: 70", head).length == 0
    with pytest.raises(ValueError, match="length"):
        request("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", asked)


def test_a_flip_that_is_accepted_counts_as_unnoticed():
    found = Flips(random.Random(1), up=100, down=0)
    for status in (460, 201):
        asked = request("POST /api/v1/files HTTP/1.1\nContent-Length: 9")
        asked.harm = Harm("flip", 5)
        found.done += 1
        found.judge(request(f"HTTP/1.1 {status} x", asked))
    assert (found.noticed, found.accepted, found.unnoticed) == (1, 1, 1)


def test_a_damaged_range_is_noticed_when_it_is_asked_for_again():
    found = Flips(random.Random(1), up=0, down=1)
    asked = request("GET /api/v1/transmitFile/j/0 HTTP/1.1\nRange: bytes=0-99")
    while not found.done:
        found.judge(request("HTTP/1.1 206 Partial Content\nContent-Length: 100", asked))
    found.judge(request("GET /api/v1/transmitFile/j/0 HTTP/1.1\nRange: bytes=100-199"))
    assert found.unnoticed == 1
    found.judge(request("GET /api/v1/transmitFile/j/0 HTTP/1.1\nRange: bytes=0-49"))
    assert found.unnoticed == 0


def test_each_way_of_a_file_is_cut_once():
    cuts, sent = Cuts(random.Random(1)), 0
    harms = []
    while sent < 2 * resume.SIZE:
        message = request("PATCH /api/v1/files/x HTTP/1.1\nContent-Length: 1000000")
        harms.append(cuts.judge(message))
        sent += 1000000
    assert [harm.kind for harm in harms if harm] == ["cut"]


@pytest.mark.system
def test_no_half_written_file_is_taken(tmp_path):
    taken = slow_writers.measured(tmp_path / "a", 35, patience=PATIENCE)
    assert (taken.half, taken.writers.total()) == ([], 35)


@pytest.mark.system
def test_bits_that_turn_in_transit_are_noticed(tmp_path):
    found = flips.in_transit(tmp_path, 20, patience=PATIENCE)
    assert (found.done, found.noticed, found.accepted) == (20, 20, 0)


@pytest.mark.system
def test_a_cut_costs_at_most_a_chunk(tmp_path):
    excess = resume.measured(tmp_path, 1, seed=3, patience=PATIENCE).excess()
    assert 0 < excess["up"][0] <= CHUNK
    assert 0 < excess["down"][0] <= CHUNK


@pytest.mark.system
@pytest.mark.heavy
@pytest.mark.skipif(bool(why_not()), reason=f"faults are not injected: {why_not()}")
def test_bits_that_turn_on_the_disks_are_noticed(tmp_path):
    assert flips.on_disk(tmp_path / "a", 4, patience=PATIENCE) == 4
    assert flips.of_results(tmp_path / "b", 4, patience=PATIENCE) == 4


@pytest.mark.system
def test_it_recovers_by_itself(tmp_path):
    found = recovery.of_one_process(tmp_path / "a", 2, patience=PATIENCE)
    assert (found.killed, len(found.back)) == (["process", "worker"], 2)


@pytest.mark.system
@pytest.mark.heavy
def test_poison_is_put_aside_and_the_others_come_through(tmp_path):
    found = poison.measured(tmp_path, good=50, bad=1, rounds=1, patience=PATIENCE)
    assert found.slots[0] >= poison.LIMIT


@pytest.mark.system
@pytest.mark.heavy
def test_an_overload_is_survived(tmp_path):
    found = overload.measured(tmp_path / "a", seconds=20, patience=600)
    assert found.highest < overload.BOUND
    assert found.offered > 3 * found.rate
    assert max(found.ages) > 0
