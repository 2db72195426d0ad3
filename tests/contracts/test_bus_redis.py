"""What only the bus on Redis has: the contract's Pub/Sub, its streams, and what becomes of a group left alone."""

import asyncio
import json
import time

import pytest

from contracts import edgex
from contracts.bus.redis import RedisBus
from contracts.bus.redis_scripts import DEAD, GROUPS, SEEN, queue_of
from contracts.edgex import Style
from contracts.errors import Rejected, Unavailable
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def server():
    made = RedisServer()
    yield made
    made.close()


@pytest.fixture
def raw(server):
    """A plain client, as a stranger has it; the server is empty."""
    with server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
async def bus(server, raw):
    async with RedisBus(server.url, instance="one", retry_seconds=0.001, claim_seconds=0.3) as made:
        yield made


async def nothing(_delivery):
    return None


@pytest.mark.parametrize(("topic", "channel"), [
    ("only-file", "only-file"),
    ("geti/cells", "geti.cells"),
    ("pipeline/params", "pipeline.params"),
    ("edgex/events/device/job-repository/Job/oem/created", "edgex.events.device.job-repository.Job.oem.created"),
])  # fmt: skip
async def test_a_stranger_hears_the_unchanged_message_on_the_contracts_channel(bus, raw, topic, channel):
    event = edgex.launch_event(
        {"InputFileLocation": "/in/a.tif"},
        event_id="2b7c7f0e-3f64-4b1d-9d0a-0c7f4c1c9a01",
        reading_id="b1a6e0a2-53a9-4b0a-8a0c-6a2b5a7f7c02",
        origin=1,
    )
    message = edgex.pack(event, style=Style.AICSD, correlation_id="c")
    with raw.pubsub() as stranger:
        stranger.psubscribe(channel)
        assert stranger.get_message(timeout=5)["type"] == "psubscribe"
        await bus.publish(topic, message, key="job-1")
        heard = await asyncio.to_thread(stranger.get_message, timeout=5)
    assert (heard["type"], heard["channel"].decode(), heard["data"]) == ("pmessage", channel, message)
    assert set(json.loads(heard["data"])) >= {"Payload", "ContentType", "CorrelationID"}


async def test_a_message_is_kept_for_those_only_who_want_it_and_deleted_when_it_was_dealt_with(bus, raw):
    async with bus.subscribe("wants", {"a/#": nothing}), bus.subscribe("other", {"b": nothing}):
        for _ in range(20):
            await bus.publish("a/x", b"")
        await eventually(lambda: bus.counts["delivered"] == 20)
        await eventually(lambda: raw.xlen(queue_of("wants")) == 0)
    assert raw.xlen(queue_of("other")) == 0
    assert raw.xpending(queue_of("wants"), "wants")["pending"] == 0


async def test_what_nobody_has_dealt_with_is_never_trimmed(server, raw, bus):
    async with bus.subscribe("slow", {"t": nothing}):
        pass
    async with RedisBus(server.url, instance="two", depth=30) as narrow:
        for number in range(30):
            await narrow.publish("t", b"%d" % number)
        with pytest.raises(Unavailable, match="slow does not keep up"):
            await narrow.publish("t", b"too much")
    assert [fields[b"payload"] for _, fields in raw.xrange(queue_of("slow"))] == [b"%d" % n for n in range(30)]


async def test_a_full_group_that_nobody_has_read_for_long_holds_up_nobody_and_may_come_back(server, raw):
    async with RedisBus(server.url, instance="one", depth=3, abandoned_seconds=60) as bus:
        async with bus.subscribe("gone", {"t": nothing}):
            pass
        for _ in range(3):
            await bus.publish("t", b"")
        raw.hset(SEEN, "gone", int(time.time()) - 61)
        await bus.publish("t", b"")
        assert not raw.hexists(GROUPS, "gone")
        assert not raw.exists(queue_of("gone"))
        seen = []

        async def note(delivery):
            seen.append(delivery.payload)

        async with bus.subscribe("gone", {"t": note}):
            await bus.publish("t", b"again")
            await eventually(lambda: seen == [b"again"])


async def test_a_dead_letter_tells_all_that_is_needed_to_say_it_again(bus, raw):
    async def never(_delivery):
        raise Rejected("broken beyond repair")

    async with bus.subscribe("g", {"t": never}):
        await bus.publish("t", b"body", key="job-1")
        await eventually(lambda: bus.dead)
    ((_, letter),) = raw.xrange(DEAD)
    words = {name.decode(): value.decode() for name, value in letter.items()}
    assert abs(int(words.pop("at")) / 1e9 - time.time()) < 60
    reason = "Rejected: broken beyond repair"
    assert words == {"group": "g", "topic": "t", "key": "job-1", "payload": "body", "reason": reason, "attempts": "1"}


async def test_a_message_that_kills_whoever_gets_it_becomes_a_dead_letter_without_a_further_victim(bus, raw):
    got = []

    async def note(delivery):
        got.append(delivery.attempt)

    async with bus.subscribe("g", {"t": note}):
        pass
    await bus.publish("t", b"killer")
    ((_, ((number, _),)),) = raw.xreadgroup("g", "first-victim", {queue_of("g"): ">"}, count=1)
    for victim in range(4):
        raw.xclaim(queue_of("g"), "g", f"next-victim-{victim}", 0, [number])
    async with bus.subscribe("g", {"t": note}):
        await eventually(lambda: bus.dead)
    assert got == []
    assert "died" in bus.dead[0][2]


@pytest.mark.parametrize("extra", [[], [[]]], ids=["redis-6.2", "redis-7"])
async def test_both_forms_of_the_answer_about_abandoned_entries_are_understood(bus, raw, monkeypatch, extra):
    """Redis 6.2 answers with two elements, 7 with three; only one of them can be installed here."""
    from redis.asyncio import Redis

    asked = []
    real = Redis.xautoclaim

    async def answered(self, *arguments, **options):
        answer = await real(self, *arguments, **options)
        asked.append(answer)
        return [*answer[:2], *extra]

    monkeypatch.setattr(Redis, "xautoclaim", answered)
    got = []

    async def note(delivery):
        got.append(delivery.attempt)

    async with bus.subscribe("g", {"t": nothing}):
        pass
    await bus.publish("t", b"left behind")
    raw.xreadgroup("g", "dead", {queue_of("g"): ">"})
    async with bus.subscribe("g", {"t": note}):
        await eventually(lambda: got)
    assert got == [2]
    assert asked


async def test_a_bus_that_is_not_lasting_leaves_nothing_behind(server, raw):
    async with RedisBus(server.url, instance="passer-by", lasting=False) as bus, bus.subscribe("brief", {"t": nothing}):
        await bus.publish("t", b"x")
        await eventually(lambda: bus.counts["delivered"])
        assert raw.keys("*brief*")
    assert raw.keys("*brief*") == []
    assert raw.hkeys(GROUPS) == raw.hkeys(SEEN) == []


async def test_a_member_that_comes_while_another_leaves_does_not_take_its_neighbours_name(bus, raw):
    async with bus.subscribe("g", {"t": nothing}) as _first:
        pass
    first, second, third = (bus.subscribe("g", {"t": nothing}) for _ in range(3))
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    await third.__aenter__()
    for number in range(20):
        await bus.publish("t", b"%d" % number)
    await eventually(lambda: bus.counts["delivered"] == 20)
    names = {consumer["name"] for consumer in raw.xinfo_consumers(queue_of("g"), "g")}
    assert {b"one-1", b"one-2"} <= names
    for member in (second, third):
        await member.__aexit__(None, None, None)


async def test_a_group_whose_member_cannot_read_is_trouble_that_is_told(bus, server):
    """Also where nobody publishes."""
    async with bus.subscribe("g", {"t": nothing}):
        assert bus.trouble == ""
        server.kill()
        await eventually(lambda: "group g" in bus.trouble)
        server.start()
        await eventually(lambda: bus.trouble == "", seconds=20)
