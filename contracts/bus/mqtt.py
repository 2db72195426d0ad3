"""The bus on MQTT 5: what any broker and any EdgeX service of today speak."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from contracts.bus.mqtt_connection import SESSION_SECONDS, Address, Connection
from contracts.bus.mqtt_member import Member
from contracts.errors import Unavailable
from contracts.ports import Delivery, Handler

log = logging.getLogger(__name__)
PATIENCE = 3.0
"""Seconds after which a publisher, or a new subscriber, stops waiting for the broker."""


class MqttBus:
    """Quality of service 1 both ways: a message is acknowledged when its handler is done.

    Each subscription is a session of its own that the broker keeps for some minutes, so what is published while its
    service restarts waits there; within a group sessions compete (``$share``). A message that waits in the
    session of a member that died is delivered when that member returns under its name, not to others: MQTT
    knows no taking over. How much the broker keeps is its own setting (``max_queued_messages`` of Mosquitto is
    1000 by default, and more is dropped). Source: MQTT 5.0, OASIS 2019.
    """

    def __init__(
        self,
        url: str,
        *,
        instance: str,
        max_attempts: int = 5,
        retry_seconds: float = 0.05,
        in_flight: int = 100,
        lasting: bool = True,
    ) -> None:
        self._address, self._instance, self._in_flight = Address.of(url), instance, in_flight
        self._max_attempts, self._retry_seconds = max_attempts, retry_seconds
        self._taken: set[tuple[str, int]] = set()
        self._session_seconds = SESSION_SECONDS if lasting else 0
        self._members: list[Connection] = []
        self._publisher: Connection | None = None
        self.dead: deque[tuple[str, Delivery, str]] = deque(maxlen=1000)
        """The last dead letters of this process: group, message, reason. They go to ``cytobus/dead/<group>`` too."""
        self.counts = dict.fromkeys(("published", "delivered", "retried", "dead", "reconnects"), 0)

    @property
    def trouble(self) -> str:
        """Why messages cannot be published, or not be received, now; empty when all is well."""
        open_now = [*([self._publisher] if self._publisher is not None else []), *self._members]
        return next((connection.trouble for connection in open_now if connection.trouble), "")

    async def __aenter__(self) -> "MqttBus":
        self._publisher = Connection(self._address, f"cytobus-{self._instance}-publisher", self.counts)
        self._publisher.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._publisher is not None:
            await self._publisher.close()

    async def publish(
        self, topic: str, payload: bytes, *, key: str = "", properties: Mapping[str, str] | None = None
    ) -> None:
        """Returns when the broker has the message. Raises ``Unavailable`` when it is away and ``Rejected`` for a
        message that is larger than it takes."""
        assert self._publisher is not None, "publish only while the bus is open"
        if not self._publisher.connected.is_set():
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._publisher.connected.wait()
            except TimeoutError:
                raise Unavailable(f"the bus is away: {self._publisher.trouble or 'no answer yet'}") from None
        await self._publisher.publish(topic, payload, {"key": key} if properties is None else dict(properties))
        self.counts["published"] += 1

    @asynccontextmanager
    async def subscribe(self, group: str, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
        """Consume while the context is open. What is published while it is away is kept for it by the broker.

        Entered as soon as the broker knows the subscriptions; while it is away, after a few seconds, and they are
        made later. A member that leaves while others of its group stay in this process ends its session, so
        that nothing more is sent there.
        """
        number = next(n for n in range(1, 1_000_000) if (group, n) not in self._taken)
        self._taken.add((group, number))
        connection = Connection(
            self._address,
            f"cytobus-{self._instance}-{group}-{number}",
            self.counts,
            self._in_flight,
            session_seconds=self._session_seconds,
        )
        self._members.append(connection)
        member = Member(
            connection,
            group,
            handlers,
            self._dead_letter,
            lambda topic, payload, words: self.publish(topic, payload, properties=words),
            max_attempts=self._max_attempts,
            retry_seconds=self._retry_seconds,
            counts=self.counts,
        )
        task = asyncio.create_task(member.run(), name=f"mqtt group {group}")
        try:
            await member.ready(PATIENCE)
            yield
        finally:
            self._taken.discard((group, number))
            others = any(name == group for name, _ in self._taken)
            await member.leave(for_good=others)
            await task
            self._members.remove(connection)

    async def _dead_letter(self, group: str, delivery: Delivery, reason: str) -> None:
        self.dead.append((group, delivery, reason))
        self.counts["dead"] += 1
        words = {"topic": delivery.topic, "key": delivery.key, "reason": reason[:1000]}
        words["attempts"] = str(delivery.attempt)
        try:
            await self.publish(f"cytobus/dead/{group}", delivery.payload, properties=words)
        except Exception as error:
            log.warning("the dead letter of %s could not be published: %s", delivery.topic, error)
