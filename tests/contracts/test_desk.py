"""Desks: what they promise of hands, wake-ups, failures and stopping."""

import asyncio
import logging
from collections import Counter

import pytest

from contracts.desk import LONGEST_AWAY, Desk, pause_after
from contracts.errors import Away, Unavailable
from tests.support.waiting import eventually

NEVER = 3600.0
"""A timer that does not ring during a test."""


class Waiting:
    """Things that wait until they are dealt with, and who looked how often."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.looks: list[int] = []
        self.trouble: Exception | None = None

    async def look(self, wanted: int) -> list[str]:
        self.looks.append(wanted)
        if self.trouble is not None:
            raise self.trouble
        return self.names[:wanted]


class Hands:
    """Deals with things when it may, and notes how many at once and how often each."""

    def __init__(self, waiting: Waiting, *, at_once: bool = True) -> None:
        self.waiting, self.may_go = waiting, asyncio.Event()
        self.busy: Counter[str] = Counter()
        self.most = 0
        self.tries: Counter[str] = Counter()
        self.failing: dict[str, Exception] = {}
        if at_once:
            self.may_go.set()

    async def handle(self, name: str) -> None:
        self.tries[name] += 1
        self.busy[name] += 1
        assert self.busy[name] == 1, f"{name} is in two hands"
        self.most = max(self.most, self.busy.total())
        try:
            await self.may_go.wait()
            if name in self.failing:
                raise self.failing[name]
            self.waiting.names.remove(name)
        finally:
            self.busy[name] -= 1


def desk_of(waiting: Waiting, hands: Hands, **options) -> Desk[str]:
    return Desk("test", waiting.look, hands.handle, str, **({"every": NEVER} | options))


async def test_everything_that_waits_is_dealt_with_by_a_bounded_number_of_hands():
    waiting = Waiting(*[f"job-{n}" for n in range(50)])
    hands = Hands(waiting, at_once=False)
    desk = desk_of(waiting, hands, slots=3)
    async with desk.running():
        await eventually(lambda: hands.busy.total() == 3)
        hands.may_go.set()
        await eventually(lambda: not waiting.names)
    assert hands.most == 3
    assert set(hands.tries.values()) == {1}


async def test_a_thing_in_hand_is_not_handed_out_again_however_often_the_desk_is_woken():
    waiting = Waiting("a", "b")
    hands = Hands(waiting, at_once=False)
    desk = desk_of(waiting, hands, slots=5)
    async with desk.running():
        for _ in range(10):
            looks = len(waiting.looks)
            desk.wake()
            await eventually(lambda looks=looks: len(waiting.looks) > looks)
        assert hands.tries == {"a": 1, "b": 1}
        hands.may_go.set()
        await eventually(lambda: not waiting.names)


async def test_a_wake_up_is_enough_and_so_is_the_timer():
    waiting = Waiting()
    hands = Hands(waiting)
    desk = desk_of(waiting, hands)
    async with desk.running():
        await eventually(lambda: waiting.looks)
        waiting.names.append("woken")
        desk.wake()
        await eventually(lambda: not waiting.names)
    late = Waiting()
    timed = desk_of(late, Hands(late), every=0.02)
    async with timed.running():
        await eventually(lambda: late.looks)
        late.names.append("found by the timer")
        await eventually(lambda: not late.names)


async def test_a_wake_up_during_a_look_is_not_lost():
    waiting, looking, may_answer = Waiting(), asyncio.Event(), asyncio.Event()

    async def slow_look(wanted: int) -> list[str]:
        found = await waiting.look(wanted)
        looking.set()
        await may_answer.wait()
        return found

    desk = Desk("test", slow_look, Hands(waiting).handle, str, every=NEVER)
    async with desk.running():
        await looking.wait()
        waiting.names.append("came during the look")
        desk.wake()
        may_answer.set()
        await eventually(lambda: not waiting.names)


@pytest.mark.parametrize("error", [Unavailable("no"), ZeroDivisionError("a bug")])
async def test_what_fails_is_tried_again_later_and_hinders_nobody(error, caplog):
    caplog.set_level(logging.CRITICAL)
    waiting = Waiting("bad", *[f"job-{n}" for n in range(20)])
    hands = Hands(waiting)
    hands.failing["bad"] = error
    desk = desk_of(waiting, hands, slots=1)
    async with desk.running():
        await eventually(lambda: waiting.names == ["bad"])
        await eventually(lambda: hands.tries["bad"] >= 2)
        hands.failing.clear()
        await eventually(lambda: not waiting.names)


def test_pauses_grow_with_failures_up_to_a_limit_and_are_spread_by_chance():
    assert [pause_after(n, first=1, longest=8, chance=1.0) for n in range(5)] == [1.5, 2.5, 4.5, 8.5, 8.5]
    assert pause_after(3, first=1, longest=8, chance=0.0) == 0.5
    assert pause_after(10_000, chance=1.0) <= 31


class Outage:
    """A peer that is away for a while, on the loop's clock; who tries then fails."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.done: dict[str, float] = {}
        self.tries: Counter[str] = Counter()

    async def handle(self, name: str) -> None:
        self.tries[name] += 1
        if self.error is not None:
            raise self.error
        self.done[name] = asyncio.get_running_loop().time()


async def test_a_peer_that_comes_back_is_tried_within_moments_however_long_it_was_away(caplog):
    caplog.set_level(logging.CRITICAL)
    peer, now = Outage(Away("no way to the gateway")), asyncio.get_running_loop().time

    async def look(_wanted: int) -> list[str]:
        return [name for name in ("a", "b", "c") if name not in peer.done]

    desk = Desk("test", look, peer.handle, str, every=NEVER, chance=lambda: 1.0)
    async with desk.running():
        await eventually(lambda: peer.tries["a"] >= 5)  # by now the usual pause would be six seconds
        peer.error, back = None, now()
        await eventually(lambda: len(peer.done) == 3)
    assert max(peer.done.values()) - back < LONGEST_AWAY + 0.5


async def test_the_first_that_succeeds_brings_all_others_back_that_waited_for_the_peer(caplog):
    caplog.set_level(logging.CRITICAL)
    peer = Outage(Away("no way"))
    names = ["a", "b"]

    async def look(_wanted: int) -> list[str]:
        return [name for name in names if name not in peer.done]

    desk = Desk("test", look, peer.handle, str, every=NEVER, chance=lambda: 1.0)
    async with desk.running():
        await eventually(lambda: peer.tries["a"] >= 4)
        peer.error = None
        names.append("fresh")
        desk.wake()
        await eventually(lambda: peer.done)
        await eventually(lambda: len(peer.done) == 3, seconds=0.5)


async def test_a_thing_that_fails_while_others_succeed_is_not_tried_at_each_of_their_successes(caplog):
    caplog.set_level(logging.CRITICAL)
    waiting = Waiting("poison")
    hands = Hands(waiting)
    hands.failing["poison"] = Away("its connection is cut")
    async with desk_of(waiting, hands, slots=1, chance=lambda: 1.0).running():
        await eventually(lambda: hands.tries["poison"] == 1)
        waiting.names += [f"job-{n}" for n in range(50)]
        await eventually(lambda: waiting.names == ["poison"])
        assert hands.tries["poison"] <= 3


async def test_what_rests_for_a_peer_is_tried_when_a_look_finds_it_back(caplog):
    caplog.set_level(logging.CRITICAL)
    waiting = Waiting("a")
    hands = Hands(waiting)
    hands.failing["a"] = waiting.trouble = Away("the database is away")
    desk = desk_of(waiting, hands, every=0.02, chance=lambda: 1.0)
    async with desk.running():
        waiting.trouble = None
        await eventually(lambda: hands.tries["a"] >= 3)  # it rests for a second and more now
        waiting.trouble = Away("the database is away")
        await eventually(lambda: desk.trouble)
        hands.failing.clear()
        waiting.trouble = None
        await eventually(lambda: not waiting.names, seconds=0.6)


async def test_failing_things_at_the_head_do_not_hide_those_behind_them(caplog):
    caplog.set_level(logging.CRITICAL)
    waiting = Waiting(*[f"bad-{n}" for n in range(6)], "good")
    hands = Hands(waiting)
    hands.failing = {f"bad-{n}": Unavailable("no") for n in range(6)}
    async with desk_of(waiting, hands, slots=2).running():
        await eventually(lambda: "good" not in waiting.names)


@pytest.mark.parametrize("error", [Unavailable("the database is away"), KeyError("a bug")])
async def test_a_failing_look_is_told_to_health_and_retried(error, caplog):
    caplog.set_level(logging.CRITICAL)
    waiting = Waiting("a")
    waiting.trouble = error
    desk = desk_of(waiting, Hands(waiting), every=0.02)
    async with desk.running():
        await eventually(lambda: desk.trouble)
        assert str(error) in desk.trouble
        waiting.trouble = None
        await eventually(lambda: not waiting.names)
        await eventually(lambda: not desk.trouble)


async def test_a_clean_stop_finishes_what_is_in_hand_and_takes_nothing_new():
    waiting = Waiting("a", "b", "c")
    hands = Hands(waiting, at_once=False)
    desk, left = desk_of(waiting, hands, slots=2), asyncio.Event()

    async def run():
        async with desk.running():
            await eventually(lambda: hands.busy.total() == 2)
        left.set()

    running = asyncio.create_task(run())
    await eventually(lambda: hands.busy.total() == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not left.is_set()
    hands.may_go.set()
    await running
    assert waiting.names == ["c"]


async def test_an_exclusive_look_asks_for_no_more_than_there_are_hands_and_keeps_all_it_was_given():
    waiting = Waiting(*[f"job-{n}" for n in range(10)])

    async def claim(wanted: int) -> list[str]:
        claimed = await waiting.look(wanted)
        del waiting.names[: len(claimed)]
        return claimed

    done: list[str] = []

    async def handle(name: str) -> None:
        await asyncio.sleep(0)
        done.append(name)

    desk = Desk("test", claim, handle, str, slots=3, every=NEVER, exclusive=True)
    async with desk.running():
        await eventually(lambda: len(done) == 10)
    assert max(waiting.looks) <= 3
    assert sorted(done) == sorted(f"job-{n}" for n in range(10))


async def test_what_was_claimed_again_before_its_hand_let_go_is_handed_out_then():
    """Else it would be nobody's until its lease ran out."""
    waiting, told, may_let_go = Waiting("job"), [], asyncio.Event()

    async def claim(wanted: int) -> list[str]:
        claimed = await waiting.look(wanted)
        del waiting.names[: len(claimed)]
        return claimed

    async def handle(name: str) -> None:
        told.append(name)
        await may_let_go.wait()

    desk = Desk("test", claim, handle, str, slots=4, every=NEVER, exclusive=True)
    async with desk.running():
        await eventually(lambda: told == ["job"])
        waiting.names.append("job")  # as when the first try is told to have failed, and the job is due at once
        desk.wake()
        await eventually(lambda: not waiting.names)
        may_let_go.set()
        await eventually(lambda: told == ["job", "job"])


class Restless(Desk[str]):
    """Counts how often it rests: one that rests in vain does so 100 times a second."""

    rests = 0

    async def _rest(self, seconds: float) -> None:
        self.rests += 1
        await super()._rest(seconds)

    async def rests_within(self, seconds: float) -> int:
        """How often in so many seconds."""
        rested, now = self.rests, asyncio.get_running_loop().time
        due = now() + seconds
        await eventually(lambda: now() > due)
        return self.rests - rested


async def test_a_desk_with_full_hands_rests_although_a_failed_thing_is_due_again(caplog):
    caplog.set_level(logging.CRITICAL)
    waiting = Waiting("bad")
    hands = Hands(waiting)
    hands.failing["bad"] = Unavailable("no")
    desk = Restless("test", waiting.look, hands.handle, str, slots=1, every=NEVER)
    async with desk.running():
        await eventually(lambda: hands.tries["bad"] == 1 and not hands.busy.total())
        hands.may_go.clear()
        waiting.names[:] = ["long"]
        desk.wake()
        await eventually(lambda: hands.busy["long"] == 1)
        try:
            assert await desk.rests_within(0.6) < 10  # by then the failed thing may be tried again
        finally:
            hands.may_go.set()


async def test_a_desk_that_waits_for_more_hands_to_claim_with_rests_although_a_failed_thing_is_due_again(caplog):
    caplog.set_level(logging.CRITICAL)
    claims, may_let_go = [["bad", "long"]], asyncio.Event()

    async def claim(_wanted: int) -> list[str]:
        return claims.pop() if claims else []

    async def handle(name: str) -> None:
        if name == "bad":
            raise Unavailable("no")
        await may_let_go.wait()

    desk = Restless("test", claim, handle, str, slots=2, every=NEVER, exclusive=True)
    async with desk.running():
        await eventually(lambda: desk.failed and desk.in_hand == 1)
        try:
            assert await desk.rests_within(0.8) < 10
        finally:
            may_let_go.set()


async def test_counts_of_failures_do_not_grow_with_things_that_never_come_back(monkeypatch):
    monkeypatch.setattr("contracts.desk.MOST_FAILURES", 20)
    waiting = Waiting()
    hands = Hands(waiting)
    desk = desk_of(waiting, hands, slots=4, longest=0.0)
    async with desk.running():
        for number in range(100):
            name = f"gone-{number}"
            hands.failing[name] = Unavailable("away")
            waiting.names = [name]
            desk.wake()
            await eventually(lambda name=name: hands.tries[name])
        waiting.names = []
    assert hands.tries.total() >= 100
    assert len(desk._failures) < 50  # noqa: SLF001
