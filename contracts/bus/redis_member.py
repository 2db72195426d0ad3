"""One member of a group on Redis: reads, hands over, acknowledges, and takes over from members that died."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from contracts.bus.redis_scripts import DEAD, GROUPS, SEEN, queue_of
from contracts.bus.topics import topic_matches
from contracts.desk import pause_after
from contracts.errors import AppError
from contracts.ports import Delivery, Handler

log = logging.getLogger(__name__)
COUNT = 100
"""Entries that are read at once at most."""
BLOCK_MS = 500
"""How long a read waits for new entries: a reader is stopped by a flag, as cancelled ones have been seen to go on."""
ACK_SECONDS = 0.05
DEAD_LETTERS = 10_000
RETURNED = "returned"
"""The consumer that holds what leaving members gave back, until others claim it."""
LONG_IDLE_MS = 86_400_000
StreamId = int | bytes | str | memoryview  # as redis-py types it
Entry = tuple[bytes, dict[bytes, bytes], int]
"""Id, fields, how often it was delivered."""


class Member:
    """Deals with one message after the other, in the stream's order."""

    def __init__(
        self,
        redis: Redis,
        group: str,
        name: str,
        handlers: Mapping[str, Handler],
        *,
        max_attempts: int,
        retry_seconds: float,
        claim_seconds: float,
        counts: dict[str, int],
        dead: deque[tuple[str, Delivery, str]],
        troubles: dict[str, str],
    ) -> None:
        """``troubles``: where it says why it cannot consume now, under its own name."""
        self._redis, self._group, self._name, self._handlers = redis, group, name, handlers
        self._queue, self._key = queue_of(group), f"{group} {name}"
        self._max_attempts, self._retry_seconds, self._claim_seconds = max_attempts, retry_seconds, claim_seconds
        self._counts, self._dead, self._troubles = counts, dead, troubles
        self._registered, self._leaving = asyncio.Event(), asyncio.Event()
        self._in_hand: list[StreamId] = []
        self._look_again = 0.0

    async def ready(self, seconds: float) -> None:
        """Wait until the group is known to the server, but not for ever."""
        try:
            async with asyncio.timeout(seconds):
                await self._registered.wait()
        except TimeoutError:
            log.warning("the bus is away: group %s begins to listen when it is back", self._group)

    def leave(self) -> None:
        """Finish the message in hand, give back the others, end."""
        self._leaving.set()

    async def run(self) -> None:
        """Until it leaves; whatever happens to the server."""
        failures = 0
        while not self._leaving.is_set():
            try:
                await self._register()
                self._registered.set()
                self._troubles.pop(self._key, None)
                failures = 0
                await self._consume()
                await self._say_goodbye()
            except Exception as error:
                # It is away; or it has lost everything, or loads what it had: then the group is made again.
                failures += 1
                if not isinstance(error, ResponseError):
                    self._counts["reconnects"] += 1
                if failures == 1:
                    log.warning("group %s: the bus is away: %s", self._group, error)
                self._troubles[self._key] = f"redis, group {self._group}: {error}"
                await self._rest(failures)
        self._troubles.pop(self._key, None)

    async def _rest(self, failures: int) -> None:
        try:
            async with asyncio.timeout(pause_after(failures - 1, first=0.1, longest=5.0, chance=random.random())):
                await self._leaving.wait()
        except TimeoutError:
            pass

    async def _register(self) -> None:
        known: Any = await self._redis.hget(GROUPS, self._group)
        patterns = dict.fromkeys([*(known.decode().split("\n") if known else ()), *self._handlers])
        try:
            await self._redis.xgroup_create(self._queue, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        await self._redis.hset(GROUPS, self._group, "\n".join(patterns))
        await self._say_alive()
        # What an earlier life of this member had in hand.
        own = await self._redis.xpending_range(self._queue, self._group, "-", "+", COUNT, consumername=self._name)
        if own:
            await self._redis.xclaim(
                self._queue,
                self._group,
                RETURNED,
                0,
                [one["message_id"] for one in own],
                idle=LONG_IDLE_MS,
                justid=True,
            )

    async def _say_alive(self) -> None:
        seconds, _ = await self._redis.time()
        await self._redis.hset(SEEN, self._group, seconds)

    async def _consume(self) -> None:
        while not self._leaving.is_set():
            if time.monotonic() >= self._look_again:
                await self._deal_with(await self._abandoned())
                await self._say_alive()
                self._look_again = time.monotonic() + min(1.0, self._claim_seconds / 2)
            read: Any = await self._redis.xreadgroup(
                self._group, self._name, {self._queue: ">"}, count=COUNT, block=BLOCK_MS
            )
            for _, entries in read or ():
                await self._deal_with([(number, fields, 1) for number, fields in entries])

    async def _abandoned(self) -> list[Entry]:
        """Entries that a member had in hand for too long without a sign of life, now ours, with their counts."""
        idle = int(self._claim_seconds * 1000)
        answer: Any = await self._redis.xautoclaim(self._queue, self._group, self._name, idle, "0-0", count=COUNT)
        entries = answer[1]  # two elements on Redis 6.2, three on 7.0
        found = [(number, fields) for number, fields in entries if fields]
        if not found:
            return []
        pending = await self._redis.xpending_range(
            self._queue, self._group, found[0][0], found[-1][0], 10 * COUNT, consumername=self._name
        )
        times = {one["message_id"]: int(one["times_delivered"]) for one in pending}
        return [(number, fields, times.get(number, 1)) for number, fields in found]

    async def _deal_with(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        done: list[bytes] = []
        acknowledged = time.monotonic()
        self._in_hand = [number for number, _, _ in entries]
        async with self._kept():
            for number, fields, times in entries:
                if self._leaving.is_set():
                    break
                if not await self._hand_over(fields, times):
                    break
                done.append(number)
                if time.monotonic() - acknowledged > ACK_SECONDS:
                    await self._acknowledge(done)
                    done, acknowledged = [], time.monotonic()
        await self._acknowledge(done)

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator[None]:
        """While it is open, others see that what is in hand is being worked on."""
        over = asyncio.Event()
        keeping = asyncio.create_task(self._keep(over), name=f"redis keep {self._group}")
        try:
            yield
        finally:
            over.set()
            await keeping

    async def _keep(self, over: asyncio.Event) -> None:
        while not over.is_set():
            try:
                async with asyncio.timeout(self._claim_seconds / 3):
                    await over.wait()
            except TimeoutError:
                with suppress(RedisError, OSError):
                    await self._say_alive()
                    await self._redis.xclaim(self._queue, self._group, self._name, 0, self._in_hand, justid=True)

    async def _acknowledge(self, done: Sequence[bytes]) -> None:
        if not done:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xack(self._queue, self._group, *done)
            pipe.xdel(self._queue, *done)
            await pipe.execute()
        finished = set(done)
        self._in_hand = [number for number in self._in_hand if number not in finished]

    async def _say_goodbye(self) -> None:
        """What was read and not handed over is free for others at once, as if it had never been delivered."""
        if self._in_hand:
            await self._redis.xclaim(
                self._queue,
                self._group,
                RETURNED,
                0,
                self._in_hand,
                idle=LONG_IDLE_MS,
                retrycount=0,
                justid=True,
            )
        await self._redis.xgroup_delconsumer(self._queue, self._group, self._name)

    async def _hand_over(self, fields: Mapping[bytes, bytes], times: int) -> bool:
        """Whether the message is dealt with; not, if the member leaves while it is still tried."""
        delivery = Delivery(fields[b"topic"].decode(), fields[b"payload"], fields[b"key"].decode(), times)
        handler = next((h for pattern, h in self._handlers.items() if topic_matches(pattern, delivery.topic)), None)
        if handler is None:
            return True  # a pattern of an older version of this group
        if times > self._max_attempts:
            await self._give_up(delivery, "whoever got it died")
            return True
        while True:
            try:
                await handler(delivery)
                self._counts["delivered"] += 1
                return True
            except Exception as error:
                retry = isinstance(error, AppError) and error.retry
                if not retry or delivery.attempt >= self._max_attempts:
                    await self._give_up(delivery, f"{type(error).__name__}: {error}")
                    return True
                if self._leaving.is_set():
                    return False
                # In place, so that later messages of the same key do not overtake this one.
                self._counts["retried"] += 1
                await asyncio.sleep(
                    pause_after(delivery.attempt - 1, first=self._retry_seconds, chance=random.random())
                )
                delivery = replace(delivery, attempt=delivery.attempt + 1)

    async def _give_up(self, delivery: Delivery, reason: str) -> None:
        log.warning("group %s gave up on a message of %s: %s", self._group, delivery.topic, reason)
        letter: dict[Any, Any] = {
            "group": self._group,
            "topic": delivery.topic,
            "key": delivery.key,
            "payload": delivery.payload,
            "reason": reason,
            "attempts": str(delivery.attempt),
            "at": str(time.time_ns()),
        }
        await self._redis.xadd(DEAD, letter, maxlen=DEAD_LETTERS, approximate=True)
        self._counts["dead"] += 1
        self._dead.append((self._group, delivery, reason))
