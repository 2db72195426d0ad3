"""Two gateways on one PostgreSQL, and a PostgreSQL that is killed: no job twice, none lost, nobody stops."""

import asyncio
import logging
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa

from contracts.bus.local import LocalBus
from contracts.desk import LONGEST_AWAY, Desk
from contracts.errors import AppError, Unavailable
from contracts.events import Message
from contracts.models import InputFile, Job, State
from contracts.ports import JobQuery
from gateway.database import doubts, migrate, open_engine
from gateway.job_repository import placed
from gateway.job_repository.outbox import Outbox
from gateway.job_repository.relay import Relay
from gateway.job_repository.store import JobStore
from tests.support import postgres
from tests.support import stories as s
from tests.support.house import connected, noting
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually


@pytest.fixture
async def gateways():
    """Two connections to one database, as two gateways have them."""
    url = postgres.shared().database(template=postgres.migrated())
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(url, time.time_ns)) for _ in range(2)]
    postgres.shared().drop(url)


@pytest.fixture
def stores(gateways):
    return [JobStore(base.writer, base.readers, base.clock) for base in gateways]


async def waiting(store, count: int) -> list[str]:
    names = [f"job-{n}" for n in range(count)]
    for name in names:
        await store.apply([*s.full_story(name)[:3], s.requested(name)])
    return names


async def test_a_file_that_both_confirm_at_once_becomes_the_output_of_one_job(gateways, stores):
    engine = open_engine(gateways[0].url)
    for name in ("job-1", "job-2"):
        await stores[0].apply([*s.full_story(name)[:3], s.requested(name), s.started(name), s.reported(name)])
    facts = {name: s.confirmed(name, outputs=(s.OUTPUT,)) for name in ("job-1", "job-2")}
    before = await stores[0].get("job-1")

    def waits() -> bool:
        with engine.connect() as connection:
            count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return bool(connection.execute(sa.text(count)).scalar())

    with engine.begin() as first:  # one gateway is about to commit ...
        placed.Placed(first, [facts["job-1"]]).check(before, facts["job-1"])
        placed.keep(first, {"job-1": before}, {"job-1": before.evolve(state=State.DELIVERING)})
        second = asyncio.create_task(stores[1].apply([facts["job-2"]]))  # ... when the other one looks whose it is
        await eventually(lambda: asyncio.to_thread(waits))
    (verdict,) = await second
    engine.dispose()
    assert verdict.status == 409
    assert "belongs to job job-1" in verdict.error


async def test_every_job_is_claimed_by_one_worker_however_many_ask_of_both(stores):
    names = await waiting(stores[0], 60)
    got: list[tuple[str, str]] = []

    async def work(store, worker):
        while jobs := await store.claim(worker, ["only-file"], 3, 60.0):
            got.extend((job.id, worker) for job in jobs)

    await asyncio.gather(*(work(stores[n % 2], f"w{n}") for n in range(6)))
    assert Counter(name for name, _ in got) == Counter(names)


async def test_a_job_is_launched_once_though_both_decide_at_once(stores, gateways):
    letter = (Message(topic="only-file", payload="order"),)
    names = [f"job-{n}" for n in range(40)]
    for name in names:
        await stores[0].apply(s.full_story(name)[:3])
    until = time.time_ns() + 60 * 10**9

    async def launch(store):
        facts = [s.requested(name, lease_until=until).model_copy(update={"messages": letter}) for name in names]
        await asyncio.gather(*(store.apply([fact]) for fact in facts))

    await asyncio.gather(*(launch(store) for store in stores))
    sent = gateways[0].rows("SELECT key FROM outbox WHERE topic = 'only-file'")
    assert Counter(key for (key,) in sent) == Counter(names)


async def test_a_worker_that_was_taken_over_cannot_report_a_failure_for_its_successor(stores):
    await waiting(stores[0], 1)
    await stores[0].claim("slow", ["only-file"], 1, 0.001)
    (job,) = await stores[1].claim("successor", ["only-file"], 1, 60.0)
    late = s.failed_step(State.RUNNING).model_copy(update={"job_id": job.id, "worker": "slow"})
    (verdict,) = await stores[0].apply([late])
    assert (verdict.changed, verdict.job.lease_holder) == (False, "successor")


async def test_facts_about_the_same_jobs_told_to_both_in_opposite_order_end_without_an_error(stores):
    names = [f"job-{n}" for n in range(30)]
    both = await asyncio.gather(
        *(
            store.apply([s.created(name) for name in order])
            for store, order in zip(stores, (names, names[::-1]), strict=True)
        )
    )
    assert {verdict.error for verdicts in both for verdict in verdicts} == {""}
    for step in (s.sending, s.input_delivered):
        both = await asyncio.gather(
            *(store.apply([step(name)]) for name in names for store in stores),
            *(store.apply([step(name) for name in names[::-1]]) for store in stores),
        )
        assert {verdict.error for verdicts in both for verdict in verdicts} == {""}
    assert await stores[0].counts() == {"received": 30}


async def test_a_place_told_by_two_clients_at_once_becomes_one_job(stores):
    def job(n):
        file = InputFile(hostname="oem", dir_name="/in/", name="a.tif", extension=".tif")
        return Job(id=f"client-{n}", input_file=file, origin_host="oem", origin_dir="/in/")

    answers = await asyncio.gather(*(stores[n % 2].create(job(n)) for n in range(20)))
    assert sum(made for _, made in answers) == 1
    assert len({job_id for job_id, _ in answers}) == 1


async def test_two_relays_say_everything_once_and_keep_the_order_of_each_key(gateways, stores):
    bus, heard = LocalBus(), []
    relays = [Relay(bus, Outbox(base.writer, base.readers), every=0.01) for base in gateways]
    async with bus.subscribe("g", {"#": noting(heard)}), relays[0].running(), relays[1].running():
        for store, step in zip(stores * 2, (s.created, s.sending, s.input_delivered, s.requested), strict=True):
            for some in range(0, 50, 10):
                await store.apply([step(f"job-{n}") for n in range(some, some + 10)])
                for relay in relays:
                    relay.wake()
        await eventually(lambda: not gateways[0].rows("SELECT seq FROM outbox LIMIT 1"))
        await bus.settled()
    told = [(delivery.key, delivery.topic.rpartition("/")[2]) for delivery in heard if "/Job/" in delivery.topic]
    assert Counter(told).most_common(1)[0][1] == 1
    for n in range(50):
        assert [state for key, state in told if key == f"job-{n}"] == ["created", "sending", "received", "running"]


async def test_text_that_postgresql_cannot_hold_does_not_break_a_group(stores):
    strange = s.created("odd").model_copy(update={"input_file": s.created("odd").input_file.evolve(name="a\0b.tif")})
    verdicts = await stores[0].apply([strange, s.created("even")])
    assert [verdict.error for verdict in verdicts] == ["", ""]
    failed = s.failed_step(State.CREATED).model_copy(update={"job_id": "odd", "reason": "broken\0"})
    await stores[0].apply([failed])
    assert (await stores[0].get("odd")).reason == "broken\0"
    assert (await stores[0].history("odd"))[-1]["Why"] == "broken\ufffd"


@pytest.fixture(scope="module")
def own_server():
    server = PostgresServer()
    yield server
    server.close()


async def test_a_killed_database_makes_calls_unavailable_and_everything_goes_on_when_it_is_back(own_server):
    url = own_server.database()
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    async with connected(url, time.time_ns) as base:
        store, outbox = JobStore(base.writer, base.readers, base.clock), Outbox(base.writer, base.readers)
        answered = [await store.apply([s.created("before")])]
        await store.get("before")
        own_server.kill()
        try:
            for call in (
                lambda: store.apply([s.created("x")]),
                lambda: store.get("before"),
                lambda: store.find(JobQuery()),
            ):
                with pytest.raises(Unavailable):
                    await call()
            with pytest.raises(Unavailable):
                await outbox.send(10, lambda rows: asyncio.sleep(0, []))
        finally:
            own_server.start()

        async def works() -> bool:
            try:
                answered.append(await store.apply([s.created("after")]))
            except AppError:
                return False
            return True

        await eventually(works, seconds=20)
        assert (await store.get("before")).id == "before"
        assert (await store.get("after")).id == "after"


async def test_work_is_taken_up_within_moments_when_the_database_is_back(own_server, caplog):
    caplog.set_level(logging.CRITICAL)
    url = own_server.database()
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    async with connected(url, time.time_ns) as base:
        store = JobStore(base.writer, base.readers, base.clock)
        await store.apply([s.created("one"), s.created("two")])

        killed: list[str] = []

        async def look(limit: int):
            return (await store.find(JobQuery(states=(State.CREATED,), limit=limit))).jobs

        async def handle(job):
            if not killed:
                killed.append(job.id)
                own_server.kill()  # in the middle of the work
            await store.apply([s.sending(job.id)])

        desk = Desk("test", look, handle, lambda job: job.id, slots=1, every=3600.0, chance=lambda: 1.0)
        async with desk.running():
            try:
                await eventually(lambda: desk.trouble, seconds=20)
                failures = asyncio.get_running_loop().time() + 4.0
                # The longer it is away, the longer a pause that only grows would be.
                await eventually(lambda: asyncio.get_running_loop().time() > failures)
            finally:
                await asyncio.to_thread(own_server.start)

            async def both() -> bool:
                return (await store.counts()) == {"sending": 2}

            await eventually(both, seconds=LONGEST_AWAY + 3.0)


def test_settings_that_break_the_promise_are_named(own_server):
    engine = open_engine(own_server.url())
    assert doubts(engine) == []
    own_server.execute("ALTER SYSTEM SET full_page_writes = off")
    own_server.execute("SELECT pg_reload_conf()")
    try:
        found: list = []
        deadline = time.monotonic() + 10
        while not found and time.monotonic() < deadline:
            engine.dispose()
            found = doubts(engine)
        assert found == [("full_page_writes", "off", "set it to on")]
    finally:
        own_server.execute("ALTER SYSTEM RESET full_page_writes")
        own_server.execute("SELECT pg_reload_conf()")
        engine.dispose()


def test_a_database_that_does_not_come_is_waited_for_and_then_named():
    engine = open_engine("postgresql://cytobus:secret@127.0.0.1:1/nowhere")
    with pytest.raises(OSError, match="is away") as refused:
        migrate(engine, patience=0.6)
    assert "secret" not in str(refused.value)
    engine.dispose()
