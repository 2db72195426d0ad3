"""Wires the exporter to its broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from compose.settings import Settings
from contracts.ports import Bus
from gateway.mqtt_export.service import MqttExport


@asynccontextmanager
async def exporter(settings: Settings, bus: Bus) -> AsyncIterator[MqttExport]:
    """The exporter to ``export_url``. Raises ``ValueError`` where there is none."""
    from contracts.bus.mqtt import MqttBus

    url = settings.export_to()
    if not url:
        raise ValueError("mqtt-export needs export_url = mqtt://host:1883")
    # A name of its own: the bus may be on the same broker, which lets no two clients have one name.
    async with MqttBus(url, instance=f"{settings.on_bus('mqtt-export')}-out") as outlet:
        yield MqttExport(bus, outlet)
