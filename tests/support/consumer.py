"""A consumer in a process of its own, to be killed: says what it gets, and never finishes a message named ``hang``.

usage: python -m tests.support.consumer CARRIER URL INSTANCE GROUP PATTERN
"""

import asyncio
import sys

from contracts.bus.mqtt import MqttBus
from contracts.bus.redis import RedisBus
from tests.support.carriers import CLAIM_SECONDS


async def main(carrier: str, url: str, instance: str, group: str, pattern: str) -> None:
    kind = {"redis": RedisBus, "mqtt": MqttBus}[carrier]
    more = {"claim_seconds": CLAIM_SECONDS} if carrier == "redis" else {}

    async def told(delivery) -> None:
        print(delivery.payload.decode(), delivery.attempt, flush=True)  # noqa: T201 - it is how it speaks
        if delivery.payload == b"hang":
            await asyncio.Event().wait()

    async with kind(url, instance=instance, **more) as bus, bus.subscribe(group, {pattern: told}):
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
