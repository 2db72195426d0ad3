"""What buses of the tests run on: each carrier starts what it needs and opens buses on it."""

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from contracts.bus.local import LocalBus
from contracts.ports import Bus


class Carrier(Protocol):
    """One kind of bus with its real server, started for the tests."""

    name: str

    def opened(self, *, instance: str = "one", depth: int = 1000) -> AbstractAsyncContextManager[Bus]:
        """A bus as one process would open it. ``instance`` names the process; ``depth`` is how many messages a
        group may leave waiting. Two buses opened on one carrier speak to each other."""
        ...

    def restart(self) -> None:
        """kill -9 of the server and a new start, with what it had on disk. Not for ``local``."""
        ...

    def close(self) -> None: ...


class LocalCarrier:
    """No server: one bus shared by all who open it."""

    name = "local"

    def __init__(self) -> None:
        self._buses: dict[int, LocalBus] = {}

    @asynccontextmanager
    async def opened(self, *, instance: str = "one", depth: int = 1000):
        yield self._buses.setdefault(depth, LocalBus(depth=depth, retry_seconds=0.001))

    def restart(self) -> None:
        raise NotImplementedError("an in-process bus has no server")

    def close(self) -> None:
        """Nothing to end."""
