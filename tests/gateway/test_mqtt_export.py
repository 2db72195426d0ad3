"""The exporter, on a real broker outside."""

import json

import pytest

from contracts import edgex
from contracts.bus.local import LocalBus
from contracts.bus.mqtt import MqttBus
from contracts.edgex import Style
from gateway.mqtt_export.service import MqttExport
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def broker():
    made = Mosquitto()
    yield made
    made.close()


@pytest.fixture
async def outside(broker):
    broker.kill()
    broker.forget()
    broker.start()
    async with MqttBus(broker.url, instance="outside") as bus:
        yield bus


async def test_the_bus_and_the_broker_outside_may_be_one(broker, tmp_path):
    """Each client needs a name of its own there, or they throw each other out."""
    from compose.export import exporter
    from compose.settings import Settings

    settings = Settings(data=tmp_path, bus_url=broker.url, instance="mqtt-export")
    seen = []
    async with MqttBus(broker.url, instance=settings.on_bus("mqtt-export")) as bus, exporter(settings, bus) as service:
        async with service.running(), listening(bus, seen):
            for number in range(10):
                await bus.publish("pipeline/inferenceResults", packed(b"%d" % number, "text/plain"))
            await eventually(lambda: len(seen) == 10)
        assert bus.counts["reconnects"] == 0


def listening(bus, seen: list):
    async def hear(delivery):
        seen.append((delivery.topic, delivery.payload))

    return bus.subscribe("lab", {"mqtt-export/#": hear})


def packed(body: bytes, kind: str, style: Style = Style.AICSD) -> bytes:
    return edgex.pack_payload(body, content_type=kind, correlation_id="c", style=style)


@pytest.mark.parametrize("style", Style)
async def test_parameters_and_results_are_repeated_without_their_envelope(outside, style):
    bus, seen = LocalBus(), []
    params = json.dumps({"InputFileLocation": "/in/a.tif"}).encode()
    async with MqttExport(bus, outside).running(), listening(outside, seen):
        await bus.publish("pipeline/params", packed(params, "application/json", style))
        await bus.publish("pipeline/inferenceResults", packed(b"filename:a; results:3", "text/plain", style))
        await bus.publish("pipeline/else", packed(b"{}", "application/json", style))
        await eventually(lambda: len(seen) == 2)
    assert seen == [
        ("mqtt-export/pipeline/params", params),
        ("mqtt-export/pipeline/inferenceResults", b"filename:a; results:3"),
    ]


async def test_what_comes_while_the_broker_outside_is_away_is_repeated_when_it_is_back(outside, broker):
    bus, seen = LocalBus(), []
    async with MqttExport(bus, outside).running():
        broker.kill()
        for number in range(3):
            await bus.publish("pipeline/inferenceResults", packed(b"%d" % number, "text/plain"))
        broker.start()
        async with listening(outside, seen):
            await bus.publish("pipeline/inferenceResults", packed(b"last", "text/plain"))
            await eventually(lambda: seen and seen[-1][1] == b"last", seconds=30)
    assert not bus.dead
    assert outside.counts["published"] == 4  # every one of them, though nobody may have listened to the first


async def test_what_is_no_message_of_the_contract_becomes_a_dead_letter_and_the_next_is_repeated(outside):
    bus, seen = LocalBus(), []
    async with MqttExport(bus, outside).running(), listening(outside, seen):
        await bus.publish("pipeline/params", b"no envelope")
        await bus.publish("pipeline/params", packed(b"{}", "application/json"))
        await eventually(lambda: seen)
    assert [reason for _, _, reason in bus.dead if "cannot be exported" in reason]
