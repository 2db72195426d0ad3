"""A desk: takes jobs that wait in one state, so many at a time, and deals with each.

The list of waiting things is the truth, a wake-up only saves waiting for the next look at it.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from contracts.correlation import correlation, id_of
from contracts.errors import AppError, Away, Throttled
from contracts.tracing import span

T = TypeVar("T")
LOOK_AHEAD = 4
"""How many things for each hand one look asks for."""
MOST_FAILURES = 10_000
"""So many counts of failures are kept of things that may never be seen again."""
log = logging.getLogger(__name__)
GAP = 0.01
"""Seconds between two looks at least: under load, one look then serves many wake-ups."""
LONGEST_AWAY = 3.0
"""Seconds between two tries of a peer that is away at most (and a moment more by chance)."""


PATIENT = 5
"""Looks in vain after which a peer is not asked again at once, whatever chance says."""
LONGEST = 30.0
"""Seconds that a thing which fails again and again is left alone at most (and a moment more by chance)."""


def pause_after(failures: int, *, first: float = 0.2, longest: float = LONGEST, chance: float) -> float:
    """Seconds to wait after so many failures in a row: doubling, with full jitter (``chance`` in 0…1).

    Source: M. Brooker, "Exponential Backoff and Jitter" (2015).
    """
    ceiling = min(longest, first * 2.0 ** min(failures, 30))
    return first / 2 + chance * ceiling


class Desk(Generic[T]):
    """Looks for waiting things when woken or after ``every`` seconds, and hands them out to ``slots`` hands.

    ``look(n)`` gives up to n waiting things, oldest first; ``name_of`` tells them apart. A thing in hand is
    not handed out twice. With ``exclusive``, what a look has given no other look gives (a claim), so it asks
    for no more than there are hands, and what it gives is kept until a hand takes it. ``handle`` must itself see
    to it that what it cannot do stops waiting (a fact, a back-off); if it raises nevertheless, the thing is left
    alone for a growing while. Where a peer is away (``Away``, or a look that fails) this is a short while only,
    and once anything succeeds, all that waited for it is tried.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[int], Awaitable[Sequence[T]]],
        handle: Callable[[T], Awaitable[None]],
        name_of: Callable[[T], str],
        *,
        slots: int = 8,
        every: float = 5.0,
        exclusive: bool = False,
        chance: Callable[[], float] = random.random,
        longest: float = LONGEST,
    ) -> None:
        """``longest``: seconds for which a thing that failed is left alone at most."""
        self.name = name
        self._look, self._handle, self._name_of = look, handle, name_of
        self._slots, self._every, self._exclusive, self._longest = slots, every, exclusive, longest
        self._chance = chance
        self._wake = asyncio.Event()
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._resting: dict[str, float] = {}
        self._away: set[str] = set()
        self._doubtful: set[str] = set()
        self._backlog: deque[T] = deque()
        self._looked = -GAP
        self._stopping = False
        self.handled = self.failed = 0
        """Things dealt with, and times that one has to be tried again."""
        self.trouble = ""
        """The last error of a look, empty when the last one went well; shown by health."""

    @property
    def in_hand(self) -> int:
        """How many things are worked on now."""
        return len(self._in_hand)

    @property
    def queued(self) -> int:
        """How many things have been found and wait for a hand."""
        return len(self._backlog)

    def wake(self) -> None:
        """Look soon. Harmless at any time, from the loop's own thread."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the context is open; on exit no new thing is taken and those in hand are finished."""
        loop = asyncio.create_task(self._run(), name=f"desk {self.name}")
        try:
            yield
        finally:
            self._stopping = True
            self._wake.set()
            await loop
            await asyncio.gather(*self._in_hand.values(), return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping:
            self._wake.clear()
            pause = self._every
            try:
                await self._round()
                failures, self.trouble = 0, ""
            except AppError as error:
                failures += 1
                self.trouble = str(error)
                longest = min(self._every, LONGEST_AWAY)
                again = pause_after(failures, longest=longest, chance=self._chance())
                # Somebody who has nothing to do shall cost next to nothing, however long its peer is away.
                pause = min(pause, max(again, longest / 2) if failures > PATIENT else again)
                pause = max(pause, _asked_for(error))
                log.warning("%s: cannot look for work: %s", self.name, error)
            except Exception as error:
                failures += 1
                self.trouble = f"{type(error).__name__}: {error}"
                log.exception("%s: a look for work failed", self.name)
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        # With full hands nothing can be tried again anyway: a hand that gets free wakes the desk. And what was claimed
        # and failed comes back when its claim has run out, whatever we do.
        full = len(self._in_hand) >= self._slots
        again = () if full or self._exclusive else self._resting.values()
        due = min([now + seconds, *again])
        try:
            async with asyncio.timeout(max(0.01, due - now)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _round(self) -> None:
        """Hand out what waits until nothing new is found or all hands are full."""
        while not self._stopping and (free := self._slots - len(self._in_hand)) > 0:
            if (thing := self._next()) is not None:
                self._take(thing)
            elif self._exclusive and self._in_hand and free <= self._slots // 2:
                return  # a claim for several costs no more than one for one: let more hands become free
            elif not await self._find(free):
                return

    def _next(self) -> T | None:
        """The first thing on the backlog that is not in hand."""
        for _ in range(len(self._backlog)):
            thing = self._backlog.popleft()
            if self._name_of(thing) not in self._in_hand:
                return thing
            if self._exclusive:  # claimed once more before the hand has let go: nobody else will get it
                self._backlog.append(thing)
        return None

    async def _find(self, free: int) -> bool:
        """Look for things and put them on the backlog; whether there were any.

        More is asked for than there are free hands, so that one look serves many things. What lies on the
        backlog may have been dealt with elsewhere meanwhile: handling it once more must be harmless anyway.
        """
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(max(0.0, self._looked + GAP - clock()))
        now = self._looked = clock()
        self._resting = {name: until for name, until in self._resting.items() if until > now}
        skip = self._in_hand.keys() | self._resting.keys()
        if len(self._failures) > MOST_FAILURES:
            # What failed once and was dealt with elsewhere never comes back to be forgotten.
            self._failures = {name: count for name, count in self._failures.items() if name in skip}
        found = await self._look(free if self._exclusive else LOOK_AHEAD * self._slots + len(skip))
        fresh = found if self._exclusive else [thing for thing in found if self._name_of(thing) not in skip]
        self._backlog.extend(fresh)
        if self.trouble:
            self._back()
        return bool(fresh)

    def _back(self) -> None:
        """What was away is there, it seems: nothing rests for its sake any longer."""
        if self._away:
            self._resting = {name: until for name, until in self._resting.items() if name not in self._away}
            self._away.clear()
            self._wake.set()

    def _take(self, thing: T) -> None:
        name = self._name_of(thing)
        self._in_hand[name] = asyncio.create_task(self._deal_with(name, thing))

    async def _deal_with(self, name: str, thing: T) -> None:
        job_id = id_of(thing)
        correlation.set(job_id)  # of this task alone
        try:
            with span(self.name, job_id):
                await self._handle(thing)
            self.handled += 1
            self._failures.pop(name, None)
            self._doubtful.discard(name)
            self._doubtful |= self._away  # should they fail again, it is their own doing
            self._back()
        except Exception as error:
            self.failed += 1
            failures = self._failures[name] = self._failures.get(name, 0) + 1
            away = isinstance(error, Away) and name not in self._doubtful
            longest = LONGEST_AWAY if away else self._longest
            pause = max(pause_after(failures, longest=longest, chance=self._chance()), _asked_for(error))
            if away:
                self._away.add(name)
            self._resting[name] = asyncio.get_running_loop().time() + pause
            if isinstance(error, AppError):
                log.warning("%s: %s: %s; again in %.1f s", self.name, name, error, pause)
            else:
                log.exception("%s: %s failed; again in %.1f s", self.name, name, pause)
        finally:
            del self._in_hand[name]
            self._wake.set()


def _asked_for(error: Exception) -> float:
    """Seconds for which a peer that was asked too often wants to be left alone."""
    return error.after or 0.0 if isinstance(error, Throttled) else 0.0
