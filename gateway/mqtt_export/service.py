"""The exporter: what the contract's exporter repeats on MQTT, without the envelope of the bus."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from starlette.routing import BaseRoute

from contracts import edgex
from contracts.condition import Condition
from contracts.desk import pause_after
from contracts.errors import Rejected, Unavailable
from contracts.ports import Bus, Delivery

log = logging.getLogger(__name__)

EXPORTED = ("pipeline/params", "pipeline/inferenceResults")


class Outlet(Protocol):
    """Where messages go. Raises ``Unavailable`` while nobody takes them."""

    async def publish(
        self, topic: str, payload: bytes, *, key: str = "", properties: Mapping[str, str] | None = None
    ) -> None: ...


class MqttExport:
    """Each message on ``pipeline/…`` is repeated on ``mqtt-export/pipeline/…``: parameters as bare JSON, results as
    text. While the broker outside is away, messages wait on the bus."""

    name = "mqtt-export"

    def __init__(self, bus: Bus, outlet: Outlet) -> None:
        self._bus, self._outlet = bus, outlet
        self._way_out = Condition("broker outside")
        self.desks = (self._way_out,)
        self._stopping = asyncio.Event()

    def routes(self) -> list[BaseRoute]:
        return []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Repeats while the context is open."""
        async with self._bus.subscribe(self.name, dict.fromkeys(EXPORTED, self.repeat)):
            try:
                yield
            finally:
                self._stopping.set()

    async def repeat(self, delivery: Delivery) -> None:
        """Raises ``Rejected`` for what is no message of the contract's, ``Unavailable`` when it must stop first."""
        try:
            payload = edgex.unpack(delivery.payload).payload
        except edgex.BadMessage as error:
            raise Rejected(f"a message on {delivery.topic} cannot be exported: {error}") from None
        failures = 0
        while True:
            try:
                await self._outlet.publish(edgex.mqtt_export_topic(delivery.topic), payload, properties={})
                self._way_out.trouble = ""
                return
            except Unavailable as error:
                if self._stopping.is_set():
                    raise
                failures += 1
                self._way_out.trouble = str(error)
                if failures == 1:
                    log.warning("messages wait for the broker outside: %s", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_after(failures, longest=10.0, chance=random.random())):
                        await self._stopping.wait()
