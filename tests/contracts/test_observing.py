"""Figures, health and readiness, correlation ids."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts import meters, tracing
from contracts.bus.local import LocalBus
from contracts.correlation import correlation, id_of
from contracts.desk import Desk
from contracts.errors import Unavailable
from contracts.hosting import app_of
from contracts.meters import BusFigures, process_figures
from tests.support.waiting import eventually


class Bakery:
    """A service with one desk and one counter."""

    name = "bakery"

    def __init__(self) -> None:
        self.loaves = meters.counter("cytobus_loaves", "Loaves baked")
        self.meters = (self.loaves,)
        self.orders: list[str] = []
        self.seen: list[str] = []
        self.broken = ""
        self.desk = Desk("oven", self.look, self.bake, lambda order: order, slots=1, every=0.01)
        self.desks = (self.desk,)

    def routes(self):
        return []

    async def look(self, _free):
        if self.broken:
            raise Unavailable(self.broken)
        return list(self.orders)

    async def bake(self, order):
        self.orders.remove(order)
        self.loaves.inc()

    async def refresh(self):
        self.seen.append("asked")


@pytest.fixture
def bakery():
    return Bakery()


async def get(service, path, extra=(), **headers):
    transport = httpx.ASGITransport(app_of(service, extra=extra))
    async with httpx.AsyncClient(transport=transport, base_url="http://bakery") as client:
        return await client.get(path, headers=headers)


def figures(answer: httpx.Response) -> dict[str, float]:
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {f"{s.name}{sorted(s.labels.items())}": s.value for family in families for s in family.samples}


async def test_what_a_service_counts_and_what_its_desks_do_is_told(bakery):
    async with bakery.desk.running():
        bakery.orders += ["rye", "wheat"]
        await eventually(lambda: bakery.desk.handled == 2)
        found = figures(await get(bakery, "/metrics"))
    assert bakery.seen == ["asked"]
    assert found["cytobus_loaves_total[]"] == 2
    assert found["cytobus_desk_handled_total[('desk', 'oven')]"] == 2
    assert found["cytobus_desk_in_hand[('desk', 'oven')]"] == 0
    assert found["cytobus_desk_trouble[('desk', 'oven')]"] == 0


async def test_the_process_and_the_bus_are_told_where_they_are_asked_for(bakery):
    bus = LocalBus()
    await bus.publish("t", b"")
    found = figures(await get(bakery, "/metrics", extra=[*process_figures(), BusFigures(bus)]))
    assert found["cytobus_bus_messages_total[('event', 'published')]"] == 1
    assert found["process_resident_memory_bytes[]"] > 1e6
    plain = figures(await get(bakery, "/metrics"))
    assert not any(name.startswith(("cytobus_bus", "process_")) for name in plain)


async def test_a_service_that_cannot_do_its_work_lives_but_is_not_ready(bakery):
    async with bakery.desk.running():
        assert (await get(bakery, "/api/v1/ready")).status_code == 200
        bakery.broken = "no flour"
        await eventually(lambda: bakery.desk.trouble)
        assert (await get(bakery, "/api/v1/health")).status_code == 200
        answer = await get(bakery, "/api/v1/ready")
    assert answer.status_code == 503
    assert answer.json() == {"service": "bakery", "ready": False, "troubles": {"oven": "no flour"}}


async def test_an_answer_bears_the_correlation_id_of_its_request(bakery):
    answer = await get(bakery, "/api/v1/health", **{"X-Correlation-ID": "job-7"})
    assert answer.headers["X-Correlation-ID"] == "job-7"
    assert "X-Correlation-ID" not in (await get(bakery, "/api/v1/health")).headers


class Thing:
    def __init__(self, **fields) -> None:
        self.__dict__.update(fields)


@pytest.mark.parametrize(("thing", "job_id"), [
    (Thing(id="job-1"), "job-1"),
    (Thing(id=17, job_id="job-2"), "job-2"),
    (Thing(id=17, job_id=""), ""),
    ((), ""),
])  # fmt: skip
def test_a_thing_is_about_the_job_that_it_names(thing, job_id):
    assert id_of(thing) == job_id


async def test_work_on_a_job_is_done_under_its_id_in_a_span_of_its_own():
    seen, spans, jobs = [], [], [Thing(id="job-1"), Thing(id="job-2")]

    class Span:
        def __init__(self, *what) -> None:
            spans.append(what)

        def __enter__(self) -> None: ...

        def __exit__(self, *_) -> None: ...

    async def handle(job):
        jobs.remove(job)
        seen.append((job.id, correlation.get()))

    async def look(_free):
        return list(jobs)

    tracing.trace_with(Span)
    try:
        async with Desk("work", look, handle, lambda job: job.id, every=0.01).running():
            await eventually(lambda: len(seen) == 2)
    finally:
        tracing.trace_with(None)
    assert sorted(seen) == [("job-1", "job-1"), ("job-2", "job-2")]
    assert sorted(spans) == [("work", "job-1", {}), ("work", "job-2", {})]
    assert correlation.get() == ""
