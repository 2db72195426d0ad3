"""Asking a server that does not answer: how often, how long, and when no longer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pipelines.backends.errors import Refused, TooSlow, Unavailable
from pipelines.backends.patience import Breaker, NoAnswer, Patience


class Server:
    """Answers as the script says: an exception is raised, None is silence."""

    def __init__(self, *script: object) -> None:
        self.script, self.asked = list(script), 0

    async def __call__(self) -> object:
        self.asked += 1
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if said is None:
            await asyncio.Event().wait()
        if isinstance(said, Exception):
            raise said
        return said


class Hours:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def patience(hours: Hours, alive: Callable[[], Awaitable[bool]] | None = None, **more: float) -> Patience:
    breaker = Breaker(now=hours, chance=lambda: 1.0)
    made = Patience("kserve+grpc://h:1", breaker=breaker, alive=alive, chance=lambda: 1.0, sleep=hours.sleep)
    for name, value in more.items():
        setattr(made, name, value)
    return made


async def test_who_does_not_answer_is_asked_again_after_growing_pauses() -> None:
    hours, server = Hours(), Server(NoAnswer("reset"), NoAnswer("reset"), "done")

    assert await patience(hours).call("model 'm'", server) == "done"

    assert (server.asked, hours.slept) == (3, [0.05, 0.1])


async def test_a_refusal_is_an_answer_and_not_asked_again() -> None:
    server = Server(Refused("no"))

    with pytest.raises(Refused):
        await patience(Hours()).call("model 'm'", server)

    assert server.asked == 1


async def test_a_server_that_is_down_is_left_alone_then_tried_by_one_and_asked_by_all_once_it_is_back() -> None:
    hours, server = Hours(), Server(NoAnswer("refused"))
    mine = patience(hours)

    with pytest.raises(Unavailable, match=r"kserve\+grpc://h:1, which does not answer") as first:
        await mine.call("model 'm'", server)
    assert (server.asked, first.value.seconds) == (3, pytest.approx(1.0))
    with pytest.raises(Unavailable) as second:
        await mine.call("model 'm'", server)
    assert (server.asked, str(second.value)) == (3, str(first.value))  # jobs say the same each time

    hours.now += 1.1
    with pytest.raises(Unavailable) as third:
        await mine.call("model 'm'", server)
    assert (server.asked, third.value.seconds) == (4, pytest.approx(2.0, abs=0.1))  # one try, and a longer pause

    hours.now += 2.1
    server.script = [None]
    trying = asyncio.ensure_future(mine.call("model 'm'", server))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):  # while one tries, the others wait
        await mine.call("model 'm'", Server("done"))
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying

    assert await mine.call("model 'm'", Server("done")) == "done"
    assert mine.breaker.wait() == 0.0


def test_the_pauses_of_a_breaker_have_an_end_and_are_not_the_same_for_all() -> None:
    short, long = (Breaker(now=lambda: 0.0, chance=lambda c=chance: c) for chance in (0.0, 1.0))
    for _ in range(50):
        short.failed()
        long.failed()

    assert (short.wait(), long.wait()) == (7.5, 15.0)


async def test_a_server_that_is_busy_is_told_apart_from_one_that_is_gone_without_a_word() -> None:
    async def there() -> bool:
        return True

    async def gone() -> bool:
        return False

    busy, silent = Server(None), Server(None)
    with pytest.raises(TooSlow, match=r"model 'm' at kserve\+grpc://h:1: no answer within 0.01 s, 2 times"):
        await patience(Hours(), there, deadline=0.01, retries=1).call("model 'm'", busy)
    with pytest.raises(Unavailable):
        await patience(Hours(), gone, deadline=0.01, retries=1).call("model 'm'", silent)

    assert (busy.asked, silent.asked) == (2, 2)


async def test_who_is_called_off_while_a_silent_server_is_looked_for_leaves_it_to_the_next() -> None:
    hours, looking = Hours(), asyncio.Event()

    async def never_told() -> bool:
        looking.set()
        await asyncio.Event().wait()
        return True

    mine = patience(hours, never_told, deadline=0.01, retries=0)
    for _ in range(mine.breaker.limit):
        mine.breaker.failed()
    hours.now += 30
    trying = asyncio.ensure_future(mine.call("model 'm'", Server(None)))
    await looking.wait()
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying

    assert await mine.call("model 'm'", Server("done")) == "done"
