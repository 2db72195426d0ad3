"""The bus of one process. Messages are bytes like on the others, so a test sees what the wire would carry."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from contracts.bus.topics import topic_matches
from contracts.desk import pause_after
from contracts.errors import AppError
from contracts.ports import Delivery, Handler

log = logging.getLogger(__name__)


@dataclass
class _Group:
    """The subscriptions of one group and what waits for it."""

    handlers: list[tuple[str, Handler]]
    members: int = 0
    waiting: deque[Delivery] = field(default_factory=deque)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    last: dict[str, "asyncio.Future[None]"] = field(default_factory=dict)
    """Key -> the end of its message that was taken last: the next one waits for it."""


@dataclass
class _Member:
    """One subscription: its handlers, and whether it is about to leave."""

    handlers: Mapping[str, Handler]
    leaving: bool = False


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
        self.counts = dict.fromkeys(("published", "delivered", "retried", "dead", "reconnects"), 0)
        self.trouble = ""

    async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None:
        self.counts["published"] += 1
        for group in list(self._groups.values()):
            if any(topic_matches(pattern, topic) for pattern, _ in group.handlers):
                await self._put(group, Delivery(topic, payload, key))

    async def _put(self, group: _Group, delivery: Delivery) -> None:
        async with group.changed:
            await group.changed.wait_for(lambda: len(group.waiting) < self._depth or not group.members)
            if group.members:
                self._open += 1
                group.waiting.append(delivery)
                group.changed.notify_all()

    @asynccontextmanager
    async def subscribe(self, group: str, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
        """Consume while the context is open. Several subscriptions of one group compete for its messages.

        The last to leave deals with what waits then.
        """
        known = self._groups.setdefault(group, _Group(list(handlers.items())))
        known.members += 1
        member = _Member(handlers)
        consumer = asyncio.create_task(self._consume(group, known, member), name=f"bus group {group}")
        try:
            yield
        finally:
            known.members -= 1
            if known.members == 0:
                del self._groups[group]
            member.leaving = True
            async with known.changed:
                known.changed.notify_all()
            await consumer

    async def settled(self) -> None:
        """Wait until everything published has been dealt with. For tests."""
        while self._open:  # noqa: ASYNC110 - tests only; many hands count it down
            await asyncio.sleep(0.001)

    async def _consume(self, name: str, group: _Group, member: _Member) -> None:
        while True:
            async with group.changed:
                await group.changed.wait_for(lambda: group.waiting or member.leaving)
                if member.leaving and (group.members or not group.waiting):
                    return
                delivery = group.waiting.popleft()
                before = group.last.get(delivery.key)
                done = group.last[delivery.key] = asyncio.get_running_loop().create_future()
                group.changed.notify_all()
            try:
                if delivery.key and before is not None:
                    await before
                await self._deliver(name, delivery, member.handlers)
            finally:
                done.set_result(None)
                if group.last.get(delivery.key) is done:
                    del group.last[delivery.key]
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
                self.counts["delivered"] += 1
                return
            except Exception as error:
                retry = isinstance(error, AppError) and error.retry
                if not retry or delivery.attempt >= self._max_attempts:
                    self.counts["dead"] += 1
                    self.dead.append((name, delivery, f"{type(error).__name__}: {error}"))
                    log.warning("group %s gave up on a message of %s: %s", name, delivery.topic, error)
                    return
                self.counts["retried"] += 1
                # In place, so that later messages of the same key do not overtake this one.
                await asyncio.sleep(
                    pause_after(delivery.attempt - 1, first=self._retry_seconds, chance=random.random())
                )
                delivery = replace(delivery, attempt=delivery.attempt + 1)
