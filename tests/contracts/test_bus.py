"""What every bus promises. One suite: another bus is one more parameter of the fixture."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from contracts.bus.topics import topic_matches
from contracts.errors import Rejected, Unavailable
from tests.support.carriers import CARRIERS
from tests.support.waiting import eventually


@pytest.fixture(scope="module", params=CARRIERS)
def carrier(request):
    made = CARRIERS[request.param]()
    yield made
    made.close()


@pytest.fixture
async def open_bus(carrier):
    """Opens buses on one carrier; ``depth`` is how many messages a group may leave waiting."""
    if carrier.has_server:
        carrier.forget()
    async with AsyncExitStack() as stack:

        async def opened(depth: int = 1000):
            return await stack.enter_async_context(carrier.opened(depth=depth))

        yield opened


@pytest.fixture
async def bus(open_bus):
    return await open_bus()


def only(carrier, promise: str) -> None:
    """Not every bus promises everything: the port's own promises are tested on all."""
    if not getattr(carrier, promise):
        pytest.skip(f"the {carrier.name} bus does not promise: {promise.replace('_', ' ')}")


def noting(seen: list, name: str = ""):
    async def note(delivery):
        seen.append((name, delivery.payload) if name else delivery.payload)

    return note


async def test_messages_of_a_key_arrive_in_their_order(bus):
    seen: dict[str, list[int]] = {"a": [], "b": []}

    async def note(delivery):
        await asyncio.sleep(0)
        seen[delivery.key].append(int(delivery.payload))

    async with bus.subscribe("g", {"t/#": note}):
        for n in range(100):
            await bus.publish("t/x", b"%d" % n, key="ab"[n % 2])
        await eventually(lambda: len(seen["a"]) + len(seen["b"]) == 100)
    assert seen == {"a": list(range(0, 100, 2)), "b": list(range(1, 100, 2))}


async def test_messages_of_a_key_keep_their_order_when_a_groups_members_compete(bus, carrier):
    only(carrier, "orders_across_members")
    done: list[bytes] = []

    async def uneven(delivery):
        for _ in range(5 if delivery.payload == b"1" else 0):
            await asyncio.sleep(0.002)
        done.append(delivery.payload)

    async with bus.subscribe("g", {"t": uneven}), bus.subscribe("g", {"t": uneven}):
        for n in (b"1", b"2", b"3"):
            await bus.publish("t", n, key="same")
        await eventually(lambda: len(done) == 3)
    assert done == [b"1", b"2", b"3"]


async def test_a_retried_message_is_not_overtaken_by_later_ones_of_its_key(bus):
    seen = []

    async def weak(delivery):
        seen.append((delivery.payload, delivery.attempt))
        if delivery.payload == b"1" and delivery.attempt < 3:
            raise Unavailable("not now")

    async with bus.subscribe("g", {"t": weak}):
        await bus.publish("t", b"1", key="k")
        await bus.publish("t", b"2", key="k")
        await eventually(lambda: len(seen) == 4)
    assert seen == [(b"1", 1), (b"1", 2), (b"1", 3), (b"2", 1)]


async def test_a_groups_members_share_its_messages_and_none_is_delivered_twice(bus):
    seen: list = []

    def member(name):
        async def note(delivery):
            await asyncio.sleep(0.001)
            seen.append((name, delivery.payload))

        return note

    async with AsyncExitStack() as stack:
        for name in ("one", "two", "three"):
            await stack.enter_async_context(bus.subscribe("g", {"t": member(name)}))
        for n in range(60):
            await bus.publish("t", b"%d" % n, key=str(n))
        await eventually(lambda: len(seen) >= 60)
    assert Counter(payload for _, payload in seen) == {b"%d" % n: 1 for n in range(60)}
    assert {name for name, _ in seen} == {"one", "two", "three"}


async def test_every_group_gets_its_own_copy(bus):
    seen: list = []
    async with bus.subscribe("a", {"t": noting(seen, "a")}), bus.subscribe("b", {"t": noting(seen, "b")}):
        await bus.publish("t", b"x")
        await eventually(lambda: len(seen) == 2)
    assert sorted(seen) == [("a", b"x"), ("b", b"x")]


@pytest.mark.parametrize(("pattern", "matching", "others"), [
    ("a/b", ["a/b"], ["a", "a/b/c", "a/c", "A/b"]),
    ("a/+", ["a/b", "a/"], ["a", "a/b/c", "b/b"]),
    ("+/b", ["a/b", "/b"], ["b", "a/c"]),
    ("a/+/c", ["a/b/c"], ["a/c", "a/b/c/d"]),
    ("a/#", ["a/b", "a/b/c", "a"], ["b", "ab"]),
    ("#", ["a", "a/b/c"], []),
    ("jobs/+", ["jobs/received"], ["jobs"]),
])  # fmt: skip
async def test_subscriptions_take_what_their_wildcards_match_and_nothing_else(bus, pattern, matching, others):
    seen = []

    async def note(delivery):
        seen.append(delivery.topic)

    async with bus.subscribe("g", {pattern: note}), bus.subscribe("end", {"the/end/of/it": note}):
        for topic in [*others, *matching]:
            await bus.publish(topic, b"")
        await bus.publish("the/end/of/it", b"")
        await eventually(lambda: len(seen) >= len(matching) + 1)
    assert sorted(set(seen) - {"the/end/of/it"}) == sorted(matching)
    assert all(topic_matches(pattern, topic) for topic in matching)
    assert not any(topic_matches(pattern, topic) for topic in others)


async def test_an_error_that_may_pass_brings_the_message_back_and_counts_the_attempts(bus):
    attempts = []

    async def weak(delivery):
        attempts.append(delivery.attempt)
        if delivery.attempt < 3:
            raise Unavailable("not now")

    async with bus.subscribe("g", {"t": weak}):
        await bus.publish("t", b"x")
        await eventually(lambda: len(attempts) == 3)
    assert attempts == [1, 2, 3]
    assert not bus.dead


async def test_a_message_that_keeps_failing_becomes_a_dead_letter_with_its_reason(bus):
    attempts = []

    async def never(delivery):
        attempts.append(delivery.attempt)
        raise Unavailable("the disk is gone")

    async with bus.subscribe("g", {"t": never}):
        await bus.publish("t", b"x", key="k")
        await eventually(lambda: bus.dead)
    ((group, delivery, reason),) = bus.dead
    assert (group, delivery.topic, delivery.payload, delivery.key) == ("g", "t", b"x", "k")
    assert "the disk is gone" in reason
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(attempts) > 1


@pytest.mark.parametrize("error", [Rejected("never"), KeyError("a bug")])
async def test_any_other_error_sends_it_to_the_dead_letters_at_once_and_the_next_goes_on(bus, error):
    seen = []

    async def picky(delivery):
        seen.append((delivery.payload, delivery.attempt))
        if delivery.payload == b"poison":
            raise error

    async with bus.subscribe("g", {"t": picky}):
        await bus.publish("t", b"poison")
        await bus.publish("t", b"fine")
        await eventually(lambda: len(seen) == 2)
    assert seen == [(b"poison", 1), (b"fine", 1)]
    assert [letter.payload for _, letter, _ in bus.dead] == [b"poison"]


async def test_messages_of_a_megabyte_arrive_whole(bus):
    seen: list = []
    big = bytes(range(256)) * 4096
    async with bus.subscribe("g", {"t": noting(seen)}):
        for _ in range(5):
            await bus.publish("t", big)
        await eventually(lambda: len(seen) == 5)
    assert all(payload == big for payload in seen)


async def test_a_slow_group_makes_the_publisher_wait_and_loses_nothing(open_bus, carrier):
    only(carrier, "publisher_waits")
    bus, may_go, seen, published = await open_bus(depth=5), asyncio.Event(), [], []

    async def slow(delivery):
        await may_go.wait()
        seen.append(delivery.payload)

    async def publish_all():
        for n in range(40):
            await bus.publish("t", b"%d" % n)
            published.append(n)

    async with bus.subscribe("g", {"t": slow}):
        publisher = asyncio.create_task(publish_all())
        await eventually(lambda: len(published) >= 5)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(published) <= 5 + 1  # what waits, and the one in hand
        may_go.set()
        await publisher
        await eventually(lambda: len(seen) == 40)
    assert seen == [b"%d" % n for n in range(40)]


async def test_a_group_that_leaves_does_not_hold_up_those_who_publish(open_bus, carrier):
    only(carrier, "forgets_the_absent")
    bus, may_go = await open_bus(depth=1), asyncio.Event()

    async def slow(_delivery):
        await may_go.wait()

    async with asyncio.timeout(5):
        async with bus.subscribe("g", {"t": slow}):
            publishers = [asyncio.create_task(bus.publish("t", b"x")) for _ in range(6)]
            await eventually(lambda: sum(task.done() for task in publishers) >= 1)
            may_go.set()
        await asyncio.gather(*publishers)


async def test_who_leaves_gets_nothing_more_and_may_come_back(bus, carrier):
    seen: list = []
    async with bus.subscribe("g", {"t": noting(seen, "first")}):
        await bus.publish("t", b"1")
        await eventually(lambda: len(seen) == 1)
    async with bus.subscribe("other", {"t": noting(seen, "other")}):
        await bus.publish("t", b"2")
        await eventually(lambda: len(seen) == 2)
    async with bus.subscribe("g", {"t": noting(seen, "again")}):
        await bus.publish("t", b"3")
        await eventually(lambda: ("again", b"3") in seen)
    kept = [] if carrier.forgets_the_absent else ["again"]
    assert [name for name, payload in seen if payload == b"2"] == ["other", *kept]


@pytest.mark.parametrize("leaver", [0, 1])
async def test_when_one_member_leaves_the_others_go_on(bus, leaver):
    seen: list = []
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        stacks = [await stack.enter_async_context(AsyncExitStack()) for _ in range(2)]
        for place, inner in enumerate(stacks):
            await inner.enter_async_context(bus.subscribe("g", {"t": noting(seen, str(place))}))
        for _ in range(3):
            await asyncio.sleep(0)
        await stacks[leaver].aclose()
        for n in range(3):
            await bus.publish("t", b"%d" % n)
        await eventually(lambda: len(seen) == 3)
    assert {name for name, _ in seen} == {str(1 - leaver)}


async def test_a_message_in_hand_is_finished_before_its_member_has_left(bus):
    there, begun, may_go, done = asyncio.Event(), asyncio.Event(), asyncio.Event(), []

    async def slow(delivery):
        begun.set()
        await may_go.wait()
        done.append(delivery.payload)

    async def stay():
        async with bus.subscribe("g", {"t": slow}):
            there.set()
            await begun.wait()

    async with asyncio.timeout(10):
        staying = asyncio.create_task(stay())
        await there.wait()
        await bus.publish("t", b"x")
        await begun.wait()
        assert not staying.done()
        may_go.set()
        await staying
    assert done == [b"x"]
