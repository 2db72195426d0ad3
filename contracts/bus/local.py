"""The bus of one process. Messages are bytes like on the others, so a test sees what the wire would carry."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from contracts.bus.topics import topic_matches
from contracts.errors import AppError
from contracts.ports import Delivery, Handler

log = logging.getLogger(__name__)


@dataclass
class _Group:
    """The subscriptions of one group and what waits for it."""

    handlers: list[tuple[str, Handler]]
    waiting: asyncio.Queue[Delivery | None]
    members: int = 0


class LocalBus:
    """In-process, at least once while the process lives; nothing survives it, and nothing needs to.

    A group's queue holds ``depth`` messages at most: a publisher waits for a slow group, so memory is bounded.
    Handlers must therefore never publish to a topic of their own group.
    """

    def __init__(self, *, depth: int = 10_000, max_attempts: int = 5, retry_seconds: float = 0.05) -> None:
        self._depth, self._max_attempts, self._retry_seconds = depth, max_attempts, retry_seconds
        self._groups: dict[str, _Group] = {}
        self._open = 0
        self.dead: deque[tuple[str, Delivery, str]] = deque(maxlen=1000)
        """The last dead letters: group, message, reason."""

    async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None:
        for group in list(self._groups.values()):
            if any(topic_matches(pattern, topic) for pattern, _ in group.handlers):
                self._open += 1
                await group.waiting.put(Delivery(topic, payload, key))

    @asynccontextmanager
    async def subscribe(self, group: str, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
        """Consume while the context is open. Several subscriptions of one group compete for its messages."""
        known = self._groups.get(group)
        if known is None:
            known = self._groups[group] = _Group(list(handlers.items()), asyncio.Queue(self._depth))
        known.members += 1
        consumer = asyncio.create_task(self._consume(group, known, handlers), name=f"bus group {group}")
        try:
            yield
        finally:
            known.members -= 1
            if known.members == 0:
                self._groups.pop(group, None)
            await known.waiting.put(None)
            await consumer
            if known.members == 0:
                while not known.waiting.empty():
                    if known.waiting.get_nowait() is not None:
                        self._open -= 1

    async def settled(self) -> None:
        """Wait until everything published has been dealt with. For tests."""
        while self._open:  # noqa: ASYNC110 - tests only; many hands count it down
            await asyncio.sleep(0.001)

    async def _consume(self, name: str, group: _Group, handlers: Mapping[str, Handler]) -> None:
        while (delivery := await group.waiting.get()) is not None:
            try:
                await self._deliver(name, delivery, handlers)
            finally:
                self._open -= 1

    async def _deliver(self, name: str, delivery: Delivery, handlers: Mapping[str, Handler]) -> None:
        for pattern, handler in handlers.items():
            if topic_matches(pattern, delivery.topic):
                await self._hand_over(name, delivery, handler)
                return

    async def _hand_over(self, name: str, delivery: Delivery, handler: Handler) -> None:
        while True:
            try:
                await handler(delivery)
                return
            except Exception as error:
                retry = isinstance(error, AppError) and error.retry
                if not retry or delivery.attempt >= self._max_attempts:
                    self.dead.append((name, delivery, f"{type(error).__name__}: {error}"))
                    log.warning("group %s gave up on a message of %s: %s", name, delivery.topic, error)
                    return
                # In place, so that later messages of the same key do not overtake this one.
                await asyncio.sleep(self._retry_seconds * 2 ** (delivery.attempt - 1))
                delivery = replace(delivery, attempt=delivery.attempt + 1)
