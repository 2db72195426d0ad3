"""The feed of changes: from when, how long it waits, what it tells."""

import asyncio
import time

import httpx
import pytest
from starlette.applications import Starlette

from gateway import tables as db
from gateway.database import open_engine
from gateway.job_repository.changes import Changes
from gateway.job_repository.marks import mark
from gateway.job_repository.store import JobStore
from tests.support import postgres
from tests.support import stories as s
from tests.support.house import connected


@pytest.fixture
def changes(house):
    async def asked(**params):
        return await house.call(house.jobs, "GET", "/api/v1/changes", params=params)

    return asked


async def test_who_asks_for_the_first_time_is_told_where_the_feed_stands_and_nothing_else(house, changes):
    await house.store.apply(s.full_story()[:3])
    answer = (await changes()).json()
    assert answer["Last"] > 0
    assert (answer["Jobs"], answer["Gone"]) == ([], [])


async def test_each_job_that_changed_is_told_once_as_it_is_now(house, changes):
    await house.store.apply([s.created("one"), s.created("two", "b.tiff")])
    start = (await changes()).json()["Last"]
    await house.store.apply([s.sending("two"), s.input_delivered("two")])
    answer = (await changes(after=start)).json()
    assert [(job["Id"], job["State"]) for job in answer["Jobs"]] == [("two", "received")]
    again = (await changes(after=answer["Last"])).json()
    assert (again["Jobs"], again["Last"]) == ([], answer["Last"])


async def test_who_waits_is_told_as_soon_as_something_changes(house, changes):
    await house.store.apply([s.created("one")])
    start = (await changes()).json()["Last"]
    waiting = asyncio.create_task(changes(after=start, wait=10))
    await asyncio.sleep(0)
    await house.store.apply([s.sending("one")])
    answer = await asyncio.wait_for(waiting, 5)
    assert [job["State"] for job in answer.json()["Jobs"]] == ["sending"]


async def test_a_job_that_was_deleted_is_gone(house, changes):
    await house.store.apply([s.created("one")])
    start = (await changes()).json()["Last"]
    await house.store.delete("one")
    assert (await changes(after=start)).json()["Gone"] == ["one"]


async def test_a_place_that_is_not_reached_yet_begins_anew_as_after_a_restore(house, changes):
    await house.store.apply([s.created("one")])
    answer = (await changes(after=10_000, wait=10)).json()
    assert (answer["Last"] < 10_000, answer["Jobs"]) == (True, [])


@pytest.mark.parametrize("params", [{"after": "x"}, {"after": -1}, {"after": 2**63}, {"wait": 11}, {"wait": "nan"}])
async def test_what_cannot_be_asked_is_refused(changes, params):
    assert (await changes(**{"after": 0} | params)).status_code == 400


async def test_a_line_that_another_gateway_commits_late_is_not_passed_over():
    """It has the lower number of two; before it is there, nobody is told of the higher one."""
    url = postgres.shared().database(template=postgres.migrated())
    engine = open_engine(url)
    async with connected(url, time.time_ns) as base:
        store, feed = JobStore(base.writer, base.readers, base.clock), Changes(base.readers)
        service = Starlette(routes=feed.routes())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://jobs") as client:

            async def told(after: int) -> tuple[list[str], int]:
                answer = (await client.get("/api/v1/changes", params={"after": after})).json()
                return [job["Id"] for job in answer["Jobs"]] + answer["Gone"], answer["Last"]

            await store.apply([s.created("known")])
            start = (await client.get("/api/v1/changes")).json()["Last"]
            with engine.connect() as slow, slow.begin():
                mark(slow)
                line = {"job_id": "late", "at": 1, "by": "b", "what": "w", "from_state": "", "to_state": "", "why": ""}
                slow.execute(db.history.insert(), line)
                await store.apply([s.created("quick", "b.tiff")])
                assert await told(start) == ([], start)
            assert set((await told(start))[0]) == {"late", "quick"}
    engine.dispose()
    postgres.shared().drop(url)
