"""How often and how long a server is asked that does not answer: deadlines, retries, and a circuit breaker."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipelines.backends.errors import TooSlow, Unavailable

T = TypeVar("T")


class NoAnswer(Exception):
    """The server could not be reached, hung up, or says that it cannot answer anybody now. For adapters to raise."""


@dataclass
class Breaker:
    """Stops asking a server that is down: after ``limit`` failures in a row one caller tries it after each pause.

    The pause doubles from ``first`` to ``longest`` seconds, with full jitter above half of it, so that many workers do
    not come back at the same moment.
    """

    limit: int = 3
    first: float = 1.0
    longest: float = 15.0
    now: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    failures: int = 0
    _closed_again: float = 0.0
    _trying: bool = False

    def wait(self) -> float:
        """Seconds until somebody may ask again; 0: now."""
        if self.failures < self.limit:
            return 0.0
        left = self._closed_again - self.now()
        return self.first if left <= 0 and self._trying else max(0.0, left)

    def asked(self) -> None:
        """Somebody asks now."""
        self._trying = True

    def answered(self) -> None:
        """The server is there, whatever it said."""
        self.failures, self._trying = 0, False

    def failed(self) -> None:
        """No answer."""
        self.failures, self._trying = self.failures + 1, False
        pause = min(self.longest, self.first * 2.0 ** min(max(0, self.failures - self.limit), 30))
        self._closed_again = self.now() + pause * (0.5 + self.chance() / 2)

    def abandoned(self) -> None:
        """Whoever asked was called off."""
        self._trying = False


@dataclass
class Patience:
    """Calls one server. ``deadline`` (s) holds for each try; ``retries`` follow the first where it did not answer."""

    place: str
    deadline: float = 30.0
    retries: int = 2
    first: float = 0.05
    longest: float = 1.0
    breaker: Breaker = field(default_factory=Breaker)
    alive: Callable[[], Awaitable[bool]] | None = None
    """Asked after a deadline has passed, to tell a server that is slow from one that is gone without a word."""
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def call(self, what: str, act: Callable[[], Awaitable[T]]) -> T:
        """What ``act`` gives, tried again while it raises ``NoAnswer`` or takes too long.

        Raises ``Unavailable`` when all was in vain, or at once while the server is known to be down, and ``TooSlow``
        where it took the request and never answered; ``what`` names that.
        """
        for tries in range(self.retries + 1):
            self.check()
            try:
                return await self._once(act)
            except (NoAnswer, TimeoutError) as error:
                if tries == self.retries:
                    raise self._gave_up(what, error) from error
            # Full jitter (M. Brooker, 2015).
            await self.sleep(self.chance() * min(self.longest, self.first * 2.0**tries))
        raise AssertionError("unreachable")

    def check(self) -> None:
        """Raises ``Unavailable`` while nobody may ask."""
        if wait := self.breaker.wait():
            raise self.away(wait)

    async def _once(self, act: Callable[[], Awaitable[T]]) -> T:
        self.breaker.asked()
        try:
            return await self._judged(act)
        except asyncio.CancelledError:  # also while it is looked whether a silent server lives
            self.breaker.abandoned()
            raise

    async def _judged(self, act: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.deadline):
                result = await act()
        except NoAnswer:
            self.breaker.failed()
            raise
        except TimeoutError:
            await self._busy_or_gone()
            raise
        except Exception:
            self.breaker.answered()
            raise
        self.breaker.answered()
        return result

    async def _busy_or_gone(self) -> None:
        if self.alive is None or await self.alive():
            self.breaker.answered()
        else:
            self.breaker.failed()
            raise NoAnswer(f"{self.place} is silent")

    def _gave_up(self, what: str, error: Exception) -> Exception:
        if isinstance(error, TimeoutError):
            return TooSlow(
                f"{what} at {self.place}: no answer within {self.deadline:g} s, {self.retries + 1} times; give it more "
                f"time (?timeout=) or the server more processors"
            )
        return self.away(self.breaker.wait())

    def away(self, wait: float) -> Unavailable:
        """The same words each time: a job says it while it waits."""
        return Unavailable(f"waits for the model server {self.place}, which does not answer", wait)
