"""What buses with a server promise when consumers and servers die. Real servers, real kills."""

import asyncio
import sys
import tracemalloc
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from contracts.errors import Unavailable
from tests.support.carriers import CARRIERS
from tests.support.waiting import eventually


@pytest.fixture(scope="module", params=[name for name, carrier in CARRIERS.items() if carrier.has_server])
def carrier(request):
    made = CARRIERS[request.param]()
    yield made
    made.close()


@pytest.fixture
async def open_bus(carrier):
    carrier.forget()
    async with AsyncExitStack() as stack:

        async def opened(instance: str = "one"):
            return await stack.enter_async_context(carrier.opened(instance=instance))

        yield opened


@pytest.fixture
async def bus(open_bus):
    return await open_bus()


def noting(seen: list):
    async def note(delivery):
        seen.append((delivery.payload, delivery.attempt))

    return note


@asynccontextmanager
async def consumer(carrier, instance: str, *, fresh: bool = True):
    """Another process that consumes; it is killed at the end if it still lives."""
    command = ["-m", "tests.support.consumer", carrier.name, carrier.url, instance, "g", "t"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    try:
        if fresh:  # else what was kept for it may come before it is ready
            assert await line(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process) -> str:
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


async def test_what_a_killed_consumer_had_in_hand_comes_again_and_counts_as_a_further_attempt(bus, carrier):
    async with consumer(carrier, "victim") as first:
        await bus.publish("t", b"hang")
        assert await line(first) == "hang 1"
        first.kill()
        await first.wait()
    async with consumer(carrier, "victim", fresh=False) as again:
        lines = {await line(again), await line(again)} - {"ready"}
        payload, attempt = lines.pop().split()
    assert payload == "hang"
    assert int(attempt) >= 2


async def test_what_a_killed_consumer_left_waiting_is_not_lost(bus, carrier):
    async with consumer(carrier, "victim") as first:
        await bus.publish("t", b"hang")
        assert await line(first) == "hang 1"
        for number in range(20):
            await bus.publish("t", b"%d" % number)
        first.kill()
        await first.wait()
    seen: list = []
    async with carrier.opened(instance="victim") as later, later.subscribe("g", {"t": noting(seen)}):
        await eventually(lambda: {payload for payload, _ in seen} >= {b"%d" % n for n in range(20)} | {b"hang"})


async def test_members_in_different_processes_share_messages_and_none_comes_twice(open_bus, carrier):
    bus, seen = await open_bus(), Counter()
    async with consumer(carrier, "a") as one, consumer(carrier, "b") as two:
        for number in range(60):
            await bus.publish("t", b"%d" % number, key=str(number))

        async def listen(process) -> int:
            got = 0
            while sum(seen.values()) < 60:
                try:
                    async with asyncio.timeout(0.5):
                        payload, attempt = (await process.stdout.readline()).decode().split()
                except TimeoutError:
                    continue
                assert attempt == "1"
                seen[payload] += 1
                got += 1
            return got

        async with asyncio.timeout(20):
            shares = await asyncio.gather(listen(one), listen(two))
    assert seen == Counter(str(number) for number in range(60))
    assert min(shares) > 0


async def test_a_killed_and_restarted_broker_stops_nobody_for_long(bus, carrier):
    seen: list = []
    async with bus.subscribe("g", {"t": noting(seen)}):
        await bus.publish("t", b"before")
        await eventually(lambda: seen)
        carrier.kill()
        carrier.start()

        # A Mosquitto that is killed before it has saved its sessions delivers nothing until they are made again: so
        # what must be heard is said again, as the outbox's owners do.
        async def heard_again() -> bool:
            return await published(bus, b"after") and b"after" in {payload for payload, _ in seen}

        await eventually(heard_again, seconds=20)


async def published(bus, payload: bytes) -> bool:
    try:
        await bus.publish("t", payload)
    except Unavailable:
        return False
    return True


async def test_a_broker_that_has_lost_everything_stops_nobody_for_long(bus, carrier):
    seen: list = []
    async with bus.subscribe("g", {"t": noting(seen)}):
        await bus.publish("t", b"before")
        await eventually(lambda: seen)
        carrier.forget()

        async def heard_again() -> bool:
            await published(bus, b"after")
            return b"after" in {payload for payload, _ in seen}

        await eventually(heard_again, seconds=20)


async def test_while_the_broker_is_away_publishing_says_so_soon_and_subscribing_goes_on_later(open_bus, carrier):
    bus, seen = await open_bus(), []
    carrier.kill()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await bus.publish("t", b"x")
        async with bus.subscribe("g", {"t": noting(seen)}):
            carrier.start()

            async def heard() -> bool:
                await published(bus, b"now")
                return bool(seen)

            await eventually(heard, seconds=20)
    finally:
        carrier.kill()
        carrier.start()


async def test_what_is_published_while_a_service_restarts_is_kept_for_it(open_bus, carrier):
    bus, seen = await open_bus(), []
    async with carrier.opened(instance="service") as first, first.subscribe("g", {"t": noting(seen)}):
        pass
    for number in range(10):
        await bus.publish("t", b"%d" % number)
    async with carrier.opened(instance="service") as second, second.subscribe("g", {"t": noting(seen)}):
        await eventually(lambda: len(seen) == 10)
    assert [payload for payload, _ in seen] == [b"%d" % number for number in range(10)]


async def test_a_slow_consumer_needs_little_memory_and_loses_nothing(open_bus, carrier):
    bus, may_go, seen, size, count = await open_bus(), asyncio.Event(), [], 100_000, 600

    async def slow(delivery):
        await may_go.wait()
        seen.append(delivery.payload[:4])

    async with bus.subscribe("g", {"t": slow}):
        tracemalloc.start()
        for number in range(count):
            await bus.publish("t", b"%04d" % number + b"x" * size)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < count * size / 3
        may_go.set()
        await eventually(lambda: len(seen) >= count, seconds=30)
    assert seen == [b"%04d" % number for number in range(count)]


async def test_a_message_that_is_worked_on_for_long_is_not_given_to_others(open_bus):
    one, two, seen = await open_bus("one"), await open_bus("two"), []
    begun, may_go = asyncio.Event(), asyncio.Event()

    async def long(delivery):
        seen.append(delivery.attempt)
        begun.set()
        await may_go.wait()

    async with one.subscribe("g", {"t": long}), two.subscribe("g", {"t": long}):
        await one.publish("t", b"x")
        await begun.wait()
        await asyncio.sleep(1.5)  # three times as long as a sign of life may be missing: time is what is tested
        may_go.set()
    assert seen == [1]
