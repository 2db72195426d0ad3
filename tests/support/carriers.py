"""What buses of the tests run on: each carrier starts what it needs and opens buses on it."""

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from contracts.bus.local import LocalBus
from contracts.bus.mqtt import MqttBus
from contracts.bus.redis import RedisBus
from tests.support.mosquitto import Mosquitto
from tests.support.redis_server import RedisServer

CLAIM_SECONDS = 0.5


class Carrier(Protocol):
    """One kind of bus with its real server, started for the tests."""

    name: str
    has_server: bool
    orders_across_members: bool
    """Whether messages of a key keep their order when members of a group compete; else only to each member."""
    publisher_waits: bool
    """Whether a full group makes who publishes wait; else the server's own limit holds."""
    forgets_the_absent: bool
    """Whether what is published while no member of a group is there is not for that group."""
    url: str

    def opened(self, *, instance: str = "one", depth: int = 1000) -> AbstractAsyncContextManager[Any]:
        """A bus as one process would open it. ``instance`` names the process; ``depth`` is how many messages a
        group may leave waiting. Two buses opened on one carrier speak to each other."""
        ...

    def kill(self) -> None: ...

    def start(self) -> None: ...

    def forget(self) -> None:
        """The server loses everything it had."""
        ...

    def close(self) -> None: ...


class LocalCarrier:
    """No server: one bus of a process."""

    name, url = "local", "local://"
    has_server, orders_across_members, publisher_waits, forgets_the_absent = False, True, True, True

    @asynccontextmanager
    async def opened(self, *, instance: str = "one", depth: int = 1000):
        yield LocalBus(depth=depth, retry_seconds=0.001)

    def close(self) -> None:
        """Nothing to end."""


class RedisCarrier:
    """A Redis that syncs each write."""

    name = "redis"
    has_server, orders_across_members, publisher_waits, forgets_the_absent = True, False, True, False

    def __init__(self) -> None:
        self.server = RedisServer()
        self.url, self.kill, self.start = self.server.url, self.server.kill, self.server.start
        self.close = self.server.close

    def opened(self, *, instance: str = "one", depth: int = 1000) -> RedisBus:
        return RedisBus(self.url, instance=instance, depth=depth, retry_seconds=0.001, claim_seconds=CLAIM_SECONDS)

    def forget(self) -> None:
        with self.server.client() as client:
            client.flushall()


class MqttCarrier:
    """A Mosquitto that writes its sessions to disk every two seconds, and when it is told to end."""

    name = "mqtt"
    has_server, orders_across_members, publisher_waits, forgets_the_absent = True, False, False, False

    def __init__(self) -> None:
        self.server = Mosquitto()
        self.url, self.kill, self.start = self.server.url, self.server.kill, self.server.start
        self.close = self.server.close

    def opened(self, *, instance: str = "one", depth: int = 1000) -> MqttBus:
        return MqttBus(self.url, instance=instance, retry_seconds=0.001)

    def forget(self) -> None:
        self.server.kill()
        self.server.forget()
        self.server.start()


CARRIERS = {carrier.name: carrier for carrier in (LocalCarrier, RedisCarrier, MqttCarrier)}
