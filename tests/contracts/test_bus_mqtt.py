"""What only the bus on MQTT has: what stock subscribers see, the broker's limits, topics of dead letters."""

import asyncio
import json
import sys
import time
from contextlib import contextmanager

import paho.mqtt.client as paho
import pytest

from contracts import edgex
from contracts.announcements import announcement
from contracts.bus.mqtt import MqttBus
from contracts.bus.mqtt_connection import Address
from contracts.errors import Rejected
from contracts.rules import advance
from tests.support import stories as s
from tests.support.house import noting
from tests.support.mosquitto import Mosquitto
from tests.support.stories import NOW
from tests.support.waiting import eventually

LIMIT = 200_000


@pytest.fixture(scope="module")
def broker():
    made = Mosquitto(more=f"max_packet_size {LIMIT}")
    yield made
    made.close()


@pytest.fixture
async def bus(broker):
    broker.kill()
    broker.forget()
    broker.start()
    async with MqttBus(broker.url, instance="one", retry_seconds=0.001) as made:
        yield made


@contextmanager
def stock(broker, *topics: str, qos: int = 0, protocol=paho.MQTTv311):
    """A subscriber as EdgeX's services are: MQTT 3.1.1, clean session, quality of service 0 by default."""
    seen, ready = [], []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=protocol)
    client.on_message = lambda _client, _data, message: seen.append(message)
    client.on_subscribe = lambda *_: ready.append(True)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for topic in topics:
        client.subscribe(topic, qos=qos)
    try:
        yield seen, ready
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("raw", [False, True])
async def test_a_stock_edgex_subscriber_hears_and_understands_announcements(bus, broker, qos, raw):
    job = advance(None, s.created(), NOW).evolve(last_updated=NOW)
    news = announcement(job, raw_payload=raw)
    with stock(broker, "edgex/events/#", "edgex/events/device/+/Job/+/created", qos=qos) as (seen, ready):
        await eventually(lambda: len(ready) == 2)
        await bus.publish(news.topic, news.payload.encode(), key=job.id)
        await eventually(lambda: seen)
    message = seen[0]
    assert (message.topic, message.retain) == ("edgex/events/device/job-repository/Job/oem/created", False)
    envelope = json.loads(message.payload)
    # What the official Python SDK reads, by these very names; Go reads them in any case.
    assert envelope["contentType"] == "application/json"
    assert envelope["correlationID"] == "job-1"
    assert (envelope["apiVersion"], envelope["requestID"], envelope["errorCode"]) == ("v3", "", 0)
    assert isinstance(envelope["payload"], dict) is raw
    event = edgex.unpack(message.payload).event
    assert event.readings[0].object_value["State"] == "created"


async def test_a_message_that_the_broker_would_not_take_is_refused_with_the_remedy_and_the_next_goes_on(bus):
    got = []

    async def note(delivery):
        got.append(delivery.payload)

    async with bus.subscribe("g", {"t": note}):
        with pytest.raises(Rejected, match="raise its max_packet_size"):
            await bus.publish("t", b"x" * LIMIT)
        await bus.publish("t", b"x" * (LIMIT - 200))
        await eventually(lambda: len(got) == 1)


async def test_a_dead_letter_is_published_with_what_is_needed_to_say_it_again(bus, broker):
    async def never(_delivery):
        raise Rejected("broken beyond repair")

    with stock(broker, "cytobus/dead/#", protocol=paho.MQTTv5) as (seen, ready):
        async with bus.subscribe("g", {"t": never}):
            await eventually(lambda: ready)
            await bus.publish("t", b"body", key="job-1")
            await eventually(lambda: seen)
    words = dict(seen[0].properties.UserProperty)
    assert (seen[0].topic, seen[0].payload) == ("cytobus/dead/g", b"body")
    reason = "Rejected: broken beyond repair"
    assert words == {"topic": "t", "key": "job-1", "reason": reason, "attempts": "1"}


async def test_a_message_that_two_patterns_of_one_member_match_is_handled_once(bus):
    got = []

    def noting(name):
        async def note(delivery):
            got.append((name, delivery.payload))

        return note

    async with bus.subscribe("g", {"a/b": noting("exact"), "a/#": noting("any")}):
        await bus.publish("a/b", b"1")
        await bus.publish("a/c", b"2")
        await bus.publish("a/b", b"3")
        await eventually(lambda: len(got) >= 3)
        await bus.publish("a/c", b"end")
        await eventually(lambda: ("any", b"end") in got)
    assert sorted(got) == [("any", b"2"), ("any", b"end"), ("exact", b"1"), ("exact", b"3")]


async def test_any_name_of_a_group_can_be_shared(bus):
    got = []

    async def note(delivery):
        got.append(delivery.payload)

    async with bus.subscribe("file-receiver-oem-scope #1/left+", {"t": note}):
        await bus.publish("t", b"x")
        await eventually(lambda: got)


@pytest.mark.parametrize(("url", "expected"), [
    ("mqtt://broker", Address("broker", 1883)),
    ("mqtt://lab:s%40fe@broker:1884", Address("broker", 1884, False, "lab", "s@fe")),
    ("mqtts://broker?ca=/etc/ca.pem", Address("broker", 8883, True, ca="/etc/ca.pem")),
])  # fmt: skip
def test_an_address_says_where_the_broker_is_and_who_we_are(url, expected):
    assert Address.of(url) == expected


@pytest.mark.parametrize("url", ["http://broker", "mqtt://", "broker"])
def test_an_address_of_something_else_is_refused(url):
    with pytest.raises(ValueError, match="mqtt://"):
        Address.of(url)


async def test_a_wrong_password_is_told_and_tried_again(tmp_path):
    secret = tmp_path / "passwords"
    secret.write_text("")
    closed = Mosquitto(more=f"allow_anonymous false\npassword_file {secret}")
    try:
        async with MqttBus(closed.url, instance="one") as bus:
            await eventually(lambda: "not authori" in bus.trouble.lower())
    finally:
        closed.close()


async def test_a_broker_that_refuses_us_is_not_run_down(tmp_path):
    """It lets us connect and hangs up: each try is later than the one before, and there is no storm."""
    secret = tmp_path / "passwords"
    secret.write_text("")
    closed = Mosquitto(more=f"allow_anonymous false\npassword_file {secret}")
    try:
        async with MqttBus(closed.url, instance="one") as bus:
            await eventually(lambda: bus.counts["reconnects"] >= 4, seconds=20)
            begun = time.monotonic()
            await eventually(lambda: bus.counts["reconnects"] >= 6, seconds=60)
            assert time.monotonic() - begun > 0.5
    finally:
        closed.close()


async def test_two_of_one_name_throw_each_other_out_ever_more_slowly(broker):
    """The protocol allows one client of a name; whoever sets it twice must not bring the broker down."""
    async with MqttBus(broker.url, instance="same") as one, MqttBus(broker.url, instance="same") as other:
        await eventually(lambda: one.counts["reconnects"] + other.counts["reconnects"] >= 6, seconds=30)
        begun = time.monotonic()
        await eventually(lambda: one.counts["reconnects"] + other.counts["reconnects"] >= 10, seconds=60)
        assert time.monotonic() - begun > 0.5


async def test_a_message_that_kills_whoever_takes_it_becomes_a_dead_letter(broker):
    """The count is kept in a copy of the message, for MQTT keeps none."""
    letters, attempts = [], []

    async def kept(delivery):
        letters.append(delivery)

    async with MqttBus(broker.url, instance="observer") as bus, bus.subscribe("o", {"cytobus/dead/g": kept}):
        while not letters:
            assert len(attempts) < 10, attempts
            command = [sys.executable, "-m", "tests.support.consumer", "mqtt", broker.url, "victim", "g", "t"]
            victim = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            if not attempts:
                assert await victim.stdout.readline() == b"ready\n"
                await bus.publish("t", b"hang", key="k")
            line = asyncio.create_task(_next(victim, b"hang"))
            await eventually(lambda said=line: said.done() or letters, seconds=20)
            if line.done():
                attempts.append(int(line.result().split()[1]))
            line.cancel()
            victim.kill()
            await victim.wait()
    assert attempts == [1, 2, 3, 4, 5]
    assert (letters[0].payload, letters[0].key) == (b"hang", "k")


async def _next(process, word: bytes) -> bytes:
    while not (line := await process.stdout.readline()).startswith(word):
        assert line, "the consumer ended by itself"
    return line


async def test_a_bus_that_is_not_lasting_leaves_nothing_behind(broker):
    """Else the broker would deal messages to whoever is gone."""
    for _ in range(3):
        seen: list = []
        async with (
            MqttBus(broker.url, instance="passer-by", lasting=False) as bus,
            bus.subscribe("same", {"t": noting(seen)}),
        ):
            for number in range(10):
                await bus.publish("t", b"%d" % number)
            await eventually(lambda found=seen: len(found) == 10)
