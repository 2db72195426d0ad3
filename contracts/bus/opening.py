"""Opens the bus that a URL names. Client libraries are loaded only for the bus that is spoken."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contracts.bus.local import LocalBus
from contracts.ports import Bus

KINDS = ("local://", "redis://HOST:6379/0", "rediss://…", "mqtt://HOST:1883", "mqtts://…")


@asynccontextmanager
async def open_bus(url: str, *, instance: str, lasting: bool = True) -> AsyncIterator[Bus]:
    """The bus of a URL, while the context is open. ``instance`` names this process among all on the bus, the same
    name after each start. A server that is away stops nobody: it is tried again and again. Groups of a bus that is
    not ``lasting`` end with it, and nothing is kept for them.

    Raises ``ValueError`` for a URL that none of our buses speaks, or one whose client library is not installed.
    """
    scheme = url.partition("://")[0]
    try:
        match scheme:
            case "local":
                yield LocalBus()
            case "redis" | "rediss":
                from contracts.bus.redis import RedisBus

                async with RedisBus(url, instance=instance, lasting=lasting) as bus:
                    yield bus
            case "mqtt" | "mqtts":
                from contracts.bus.mqtt import MqttBus

                async with MqttBus(url, instance=instance, lasting=lasting) as bus:
                    yield bus
            case _:
                raise ValueError(f"bus_url is {url!r}; it must be one of {', '.join(KINDS)}")
    except ModuleNotFoundError as error:
        raise ValueError(f"bus_url is {scheme}:// and needs pip install 'cytobus[bus]' ({error})") from None
