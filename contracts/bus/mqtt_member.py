"""One member of a group on MQTT: a lasting session with shared subscriptions."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from paho.mqtt.client import MQTTMessage

from contracts.bus.mqtt_connection import Connection
from contracts.bus.topics import topic_matches
from contracts.desk import pause_after
from contracts.errors import AppError
from contracts.ports import Delivery, Handler

log = logging.getLogger(__name__)
AGAIN = "cytobus/again"
"""Below it, by group, what a member had in hand when its connection ended comes again, with a count."""
QUIET = 0.1
"""Seconds without a message after which a session that ends is taken to be empty."""
DeadLetter = Callable[[str, Delivery, str], Awaitable[None]]
Publish = Callable[[str, bytes, Mapping[str, str]], Awaitable[None]]


class Member:
    """Deals with one message after the other; each is acknowledged when its handler is done."""

    def __init__(
        self,
        connection: Connection,
        group: str,
        handlers: Mapping[str, Handler],
        dead_letter: DeadLetter,
        publish: Publish,
        *,
        max_attempts: int,
        retry_seconds: float,
        counts: dict[str, int],
    ) -> None:
        self._connection, self._group, self._handlers = connection, group, list(handlers.items())
        self._dead_letter, self._publish, self._counts = dead_letter, publish, counts
        self._max_attempts, self._retry_seconds = max_attempts, retry_seconds
        shared = group.translate(str.maketrans("/+#", "___"))
        self._filters = {f"$share/{shared}/{pattern}": place + 1 for place, (pattern, _) in enumerate(self._handlers)}
        self._again = f"{AGAIN}/{shared}"
        self._filters[f"$share/{shared}/{self._again}/#"] = len(self._handlers) + 1
        self._waiting: deque[tuple[int, MQTTMessage]] = deque()
        self._news = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._subscribing: asyncio.Task[None] | None = None
        self._leaving = self._for_good = self._busy = False
        self._taken = 0

    async def ready(self, seconds: float) -> None:
        """Wait until the broker knows the subscriptions, but not for ever."""
        try:
            async with asyncio.timeout(seconds):
                await self._subscribed.wait()
        except TimeoutError:
            log.warning("the bus is away: group %s begins to listen when it is back", self._group)

    async def run(self) -> None:
        """Until it leaves; whatever happens to the broker."""
        self._connection.on_up = self._up
        self._connection.on_message = self._take
        self._connection.open()
        while not self._leaving:
            await self._news.wait()
            self._news.clear()
            while self._waiting and not self._leaving:
                self._busy = True
                await self._deal_with(*self._waiting.popleft())
                self._busy = False
        if self._subscribing is not None:
            await self._subscribing
        await self._connection.close(for_good=self._for_good)

    async def leave(self, *, for_good: bool) -> None:
        """Finish the message in hand and disconnect. The broker keeps the session, and what comes for it, unless
        the member leaves ``for_good``: then what waits in it is dealt with first, and the session ends."""
        self._for_good = for_good
        if for_good and self._connection.connected.is_set():
            with suppress(AppError):
                await self._connection.unsubscribe(list(self._filters))
                await self._until_quiet()
        self._leaving = True
        self._news.set()

    async def _until_quiet(self) -> None:
        taken = -1
        while taken != self._taken or self._busy or self._waiting:
            taken = self._taken
            await asyncio.sleep(QUIET)

    def _up(self) -> None:
        # Each time: a broker that has lost its sessions has lost the subscriptions too, and saying twice is harmless.
        self._subscribing = asyncio.create_task(self._subscribe(), name=f"mqtt subscribe {self._group}")

    async def _subscribe(self) -> None:
        try:
            await self._connection.subscribe(self._filters)
            self._subscribed.set()
        except AppError as error:
            log.warning("group %s: %s", self._group, error)

    def _take(self, epoch: int, message: MQTTMessage) -> None:
        self._taken += 1
        self._waiting.append((epoch, message))
        self._news.set()

    async def _deal_with(self, epoch: int, message: MQTTMessage) -> None:
        if epoch != self._connection.epoch:
            return  # it cannot be acknowledged any more, and comes again
        delivery = _delivery_of(message)
        handler = self._handler_of(message, delivery.topic)
        if handler is None or await self._settled(handler, delivery, bool(message.dup)):
            self._connection.acknowledge(epoch, message)

    async def _settled(self, handler: Handler, delivery: Delivery, came_again: bool) -> bool:
        """Whether the message need not come again. One that did come again was in hand when a connection, or a
        process, ended: MQTT tells no more than that, so a copy that bears the count takes its place."""
        if not came_again:
            return await self._hand_over(handler, delivery)
        if delivery.attempt >= self._max_attempts:
            reason = f"{delivery.attempt} times whoever got it died, or lost the connection"
            log.warning("group %s gave up on a message of %s: %s", self._group, delivery.topic, reason)
            await self._dead_letter(self._group, delivery, reason)
            return True
        words = {"key": delivery.key, "topic": delivery.topic, "attempt": str(delivery.attempt + 1)}
        try:
            await self._publish(f"{self._again}/{delivery.topic}", delivery.payload, words)
        except AppError:
            return await self._hand_over(handler, replace(delivery, attempt=delivery.attempt + 1))
        return True

    def _handler_of(self, message: MQTTMessage, topic: str) -> Handler | None:
        """The handler of the first pattern that matches; None where this copy came for another of our patterns."""
        numbers = getattr(message.properties, "SubscriptionIdentifier", None) or []
        again = len(self._handlers) + 1
        if message.topic.startswith(f"{AGAIN}/"):
            mine = message.topic.startswith(f"{self._again}/") and (not numbers or again in numbers)
            numbers = [] if mine else [0]
        for place, (pattern, handler) in enumerate(self._handlers):
            if topic_matches(pattern, topic):
                return handler if not numbers or place + 1 in numbers else None
        return None

    async def _hand_over(self, handler: Handler, delivery: Delivery) -> bool:
        """Whether the message is dealt with; not, if the member leaves while it is still tried."""
        while True:
            try:
                await handler(delivery)
                self._counts["delivered"] += 1
                return True
            except Exception as error:
                retry = isinstance(error, AppError) and error.retry
                if not retry or delivery.attempt >= self._max_attempts:
                    log.warning("group %s gave up on a message of %s: %s", self._group, delivery.topic, error)
                    await self._dead_letter(self._group, delivery, f"{type(error).__name__}: {error}")
                    return True
                if self._leaving:
                    return False
                # In place, so that later messages of the same key do not overtake this one.
                self._counts["retried"] += 1
                await asyncio.sleep(
                    pause_after(delivery.attempt - 1, first=self._retry_seconds, chance=random.random())
                )
                delivery = replace(delivery, attempt=delivery.attempt + 1)


def _delivery_of(message: MQTTMessage) -> Delivery:
    """The message, or the one that it is a copy of."""
    words = dict(getattr(message.properties, "UserProperty", None) or ())
    topic, attempt = message.topic, 1
    if topic.startswith(f"{AGAIN}/"):
        topic, attempt = words.get("topic", topic), int(words.get("attempt", "1"))
    return Delivery(topic, bytes(message.payload), words.get("key", ""), attempt)
