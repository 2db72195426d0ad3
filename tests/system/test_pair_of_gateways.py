"""Two whole gateways, each service a process, on one PostgreSQL and one Redis: no job is launched twice."""

import asyncio
from collections import Counter

import pytest

from contracts.bus.redis import RedisBus
from tests.support import postgres
from tests.support.fleet import Fleet
from tests.support.house import noting
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system
FILES = 40


@pytest.fixture
def bus():
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def pair(tmp_path, bus):
    url = postgres.shared().database()
    parts = {"bus_url": bus.url, "database_url": url, "CYTOBUS_PIPELINES__LEASE_SECONDS": "10"}
    first = Fleet(tmp_path / "first", **parts)
    second = Fleet(tmp_path / "second", **parts, files=first.files, with_edge=False)
    try:
        for fleet in (first, second):
            fleet.start()
        yield first, second
    finally:
        second.close()
        first.close()
        postgres.shared().drop(url)


def drop(fleet: Fleet, name: str) -> None:
    for number in range(FILES):
        fleet.edge.drop(f"{name}-{number}.dat", f"{name} {number}".encode() * 50)


def wait_for(fleet: Fleet, complete: int) -> None:
    fleet.edge.wait_for(lambda: fleet.repository.counts() == {"complete": complete}, 120, "not all came back")


def lines(fleet: Fleet, what: str) -> Counter[str]:
    """How often the history of each file's job says this."""
    found: Counter[str] = Counter()
    for job in fleet.repository.jobs():
        history = fleet.repository.ask("GET", "job-repository", f"/api/v1/job/{job['Id']}/history").json()
        found[job["InputFile"]["Name"]] += sum(line["What"] == what for line in history)
    return found


async def test_two_gateways_launch_each_job_once_also_when_one_of_them_is_killed(pair, bus):
    first, second = pair
    first.launcher.add_task("only-file")
    orders = []
    async with (
        RedisBus(bus.url, instance="witness") as witness,
        witness.subscribe("witness", {"only-file": noting(orders)}),
    ):
        drop(first, "calm")
        await asyncio.to_thread(wait_for, first, FILES)  # an order said twice would have come by now
        await eventually(lambda: len(orders) >= FILES)
    assert len({delivery.key for delivery in orders}) == len(orders) == FILES
    # Both gateways' runners are called by the same host: their leases are their own all the same.
    assert set(lines(first, "pipeline-started").values()) == {1}

    drop(first, "storm")
    first.edge.wait_for(
        lambda: second.repository.counts().get("complete", 0) > FILES + FILES // 4, 60, "the second did not begin"
    )
    for instance in second.all:
        instance.kill()
    wait_for(first, 2 * FILES)
    launches = lines(first, "pipeline-requested")
    assert set(launches.values()) == {1}
    assert len(launches) == 2 * FILES
    returned = sorted(path.name for path in first.edge.output.rglob("*.dat"))
    assert len(returned) == len(set(returned)) == 2 * FILES
