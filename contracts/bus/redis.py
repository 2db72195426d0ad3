"""The bus on Redis: Streams for our own services, Pub/Sub for programs that know only the contract."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from contracts.bus.redis_member import Member
from contracts.bus.redis_scripts import GROUPS, PUBLISH, SEEN, queue_of
from contracts.errors import Unavailable
from contracts.ports import Delivery, Handler
from contracts.topics import redis_channel

log = logging.getLogger(__name__)
BATCH, BATCH_BYTES = 100, 4 * 2**20
"""Messages and bytes that go to the server in one round trip at most."""
PATIENCE = 3.0
"""Seconds after which a publisher, or a new subscriber, stops waiting for the server or for a full group."""


class RedisBus:
    """Messages wait in the server until a member of each group has dealt with them.

    Each group has a stream of its own, so a message is stored for those only who want it, and is deleted when it
    was acknowledged: nothing unacknowledged is ever trimmed. A group holds ``depth`` messages at most; then
    publishers wait for it. A group that was left alone for ``abandoned_seconds`` and is full is forgotten: its
    members look for work by themselves when they return. What a dead member had in hand another takes over
    after ``claim_seconds``. Source of the commands: Redis 6.2, Streams.
    """

    def __init__(
        self,
        url: str,
        *,
        instance: str,
        depth: int = 10_000,
        max_attempts: int = 5,
        retry_seconds: float = 0.05,
        claim_seconds: float = 10.0,
        abandoned_seconds: float = 600.0,
        lasting: bool = True,
    ) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            # Every one of these said, because the defaults differ between versions of the library.
            socket_timeout=5.0,
            socket_connect_timeout=2.0,
            socket_keepalive=True,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            client_name=f"cytobus-{instance}".replace(" ", "-"),
        )
        self._instance, self._depth, self._max_attempts = instance, depth, max_attempts
        self._retry_seconds, self._claim_seconds, self._abandoned = retry_seconds, claim_seconds, abandoned_seconds
        self._sha, self._lasting = "", lasting
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[str]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._taken: set[tuple[str, int]] = set()
        self._troubles: dict[str, str] = {}
        self.dead: deque[tuple[str, Delivery, str]] = deque(maxlen=1000)
        """The last dead letters of this process: group, message, reason. All of them are in ``cytobus:dead``."""
        self.counts = dict.fromkeys(("published", "delivered", "retried", "dead", "closed", "reconnects"), 0)

    @property
    def trouble(self) -> str:
        """Why messages cannot be published, or not be received by a group, now; empty when all is well."""
        return next(iter(self._troubles.values()), "")

    async def __aenter__(self) -> "RedisBus":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sender is not None:
            await self._sender
        await self._redis.aclose()

    async def publish(self, topic: str, payload: bytes, *, key: str = "") -> None:
        """Returns when the server has the message. Raises ``Unavailable`` when it is away, or a group is full."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + PATIENCE, 0.005
        arguments = (topic, payload, key, redis_channel(topic))
        while True:
            answer = loop.create_future()
            self._waiting.append((arguments, answer))
            if self._sender is None or self._sender.done():
                self._sender = asyncio.create_task(self._send_all(), name="redis publisher")
            full = await answer
            if not full:
                self.counts["published"] += 1
                return
            if loop.time() > deadline:
                raise Unavailable(f"the group {full} does not keep up: {self._depth} messages wait for it")
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.2)

    async def _send_all(self) -> None:
        """Whatever waits, in order, many at a time: under load one round trip serves many publishers."""
        while self._waiting:
            batch: list[tuple[tuple[Any, ...], asyncio.Future[str]]] = []
            size = 0
            while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += len(batch[-1][0][1])
            try:
                answers = await self._evaluate([arguments for arguments, _ in batch])
                self._troubles.pop("", None)
            except Exception as error:  # whatever it is, somebody waits for each of these
                self._troubles[""] = f"redis: {error}"
                answers = [Unavailable(f"the bus does not take messages: {error}")] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                _settle(future, answer)

    async def _evaluate(self, batch: list[tuple[Any, ...]]) -> list[Any]:
        """The script's answers. A connection that a restarted server has forgotten fails once: it is tried again."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE / 2
        while True:
            try:
                return await self._evaluate_once(batch)
            except NoScriptError:
                self._sha = ""
            except (RedisError, OSError):
                if loop.time() > deadline:
                    raise
                self.counts["reconnects"] += 1
                await asyncio.sleep(0.1)

    async def _evaluate_once(self, batch: list[tuple[Any, ...]]) -> list[Any]:
        if not self._sha:
            self._sha = str(await self._redis.script_load(PUBLISH))
        messages = [argument for arguments in batch for argument in arguments]
        answers: Any = await self._redis.evalsha(self._sha, 2, GROUPS, SEEN, self._depth, self._abandoned, *messages)
        for group in answers[len(batch) :]:
            self.counts["closed"] += 1
            log.error(
                "group %s was full and nobody has read it for %d s: what waited for it is gone, and it is known again"
                " when somebody does", group.decode(), self._abandoned
            )  # fmt: skip
        return list(answers[: len(batch)])

    @asynccontextmanager
    async def subscribe(self, group: str, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
        """Consume while the context is open. What is published while no member is there is kept for the next.

        Entered as soon as the group is known to the server; while that is away, after a few seconds, and the
        group is made known later.
        """
        number = next(n for n in range(1, 1_000_000) if (group, n) not in self._taken)
        self._taken.add((group, number))
        member = Member(
            self._redis,
            group,
            f"{self._instance}-{number}",
            handlers,
            max_attempts=self._max_attempts,
            retry_seconds=self._retry_seconds,
            claim_seconds=self._claim_seconds,
            counts=self.counts,
            dead=self.dead,
            troubles=self._troubles,
        )
        task = asyncio.create_task(member.run(), name=f"redis group {group}")
        try:
            await member.ready(PATIENCE)
            yield
        finally:
            member.leave()
            await task
            if not self._lasting:
                await self._forget(group)
            self._taken.discard((group, number))

    async def _forget(self, group: str) -> None:
        with suppress(RedisError, OSError):
            async with self._redis.pipeline() as pipe:
                pipe.hdel(GROUPS, group)
                pipe.hdel(SEEN, group)
                pipe.delete(queue_of(group))
                await pipe.execute()


def _settle(future: "asyncio.Future[str]", answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, Unavailable):
        future.set_exception(answer)
    else:
        future.set_result(answer.decode())
