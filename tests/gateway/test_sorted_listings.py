"""Listings sorted by the last change and by name: whole, without gaps, by whatever they are narrowed."""

import itertools
import random

import pytest

from contracts.models import State
from contracts.ports import JobQuery
from gateway.job_repository import listing, store
from tests.support import stories as s

NAMES = ("b.tif", "A.tif", "c_1.tif", "b.tif", "板.tif", "zé.tif", "c1.tif", "a b.tif")


@pytest.fixture(params=["few", "many"])
async def jobs(request, house, monkeypatch):
    """Found both ways: as few that are sorted, and as many in whose order one looks."""
    if request.param == "many":
        monkeypatch.setattr(store, "FEW", -1)
    order = list(range(len(NAMES)))
    random.Random(3).shuffle(order)
    for number in order:
        house.clock.turn(1)
        await house.store.apply([s.created(f"job-{number}", NAMES[number], f"scope-{number % 2}")])
    house.clock.turn(1)
    await house.store.apply([s.cancelled("job-4")])
    return house


async def all_of(house, path: str) -> list[dict]:
    """Page by page, as clients follow the links."""
    found: list[dict] = []
    while path:
        answer = await house.call(house.jobs, "GET", path)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        path = answer.links.get("next", {}).get("url", "").removeprefix("http://job-repository")
    return found


def names(found: list[dict]) -> list[str]:
    return [job["InputFile"]["Name"] for job in found]


NARROWED = ("", "&hostname=scope-0", "&name=.tif", "&state=created,cancelled", "&name=c")


async def test_pages_hold_every_job_once_in_order(jobs):
    for more, order in itertools.product(NARROWED, ("asc", "desc")):
        expected = await all_of(jobs, f"/api/v1/job?{more}")
        changed = await all_of(jobs, f"/api/v1/job?sort=changed&limit=3&order={order}{more}")
        at = [job["LastUpdated"] for job in changed]
        assert at == sorted(at, reverse=order == "desc")
        named = await all_of(jobs, f"/api/v1/job?sort=name&limit=3&order={order}{more}")
        whole = await all_of(jobs, f"/api/v1/job?sort=name&order={order}{more}")
        assert names(named) == names(whole), "paging changes nothing"
        for found in (changed, named):
            assert sorted(job["Id"] for job in found) == sorted(job["Id"] for job in expected), more


async def test_times_are_from_and_until(jobs):
    whole = await all_of(jobs, "/api/v1/job?sort=changed&order=asc")
    second, fourth = whole[1]["LastUpdated"], whole[3]["LastUpdated"]
    for sort in ("registered", "changed", "name"):
        found = await all_of(jobs, f"/api/v1/job?sort={sort}&limit=1&updated_since={second}&updated_until={fourth}")
        assert sorted(names(found)) == sorted(names(whole[1:3]))


@pytest.mark.parametrize(("asked", "word"), [
    ("sort=size", "sort"), ("sort=changed&after=5", "mark"), ("sort=changed&after=5&mark=x", "mark"),
    ("updated_until=x", "updated_until"), ("updated_until=99999999999999999999", "updated_until"),
])  # fmt: skip
async def test_what_cannot_be_sorted_by_is_refused_by_name(house, asked, word):
    answer = await house.call(house.jobs, "GET", f"/api/v1/job?{asked}")
    assert (answer.status_code, word in answer.text) == (400, True)


async def test_sqlite_sorts_nothing_that_may_be_many(house):
    if not house.database.url.startswith("sqlite"):
        pytest.skip("PostgreSQL chooses by how many rows there are")
    fields = [{}, {"states": (State.COMPLETE,)}, {"origin_host": "h"}, {"task": "t"}, {"verification": 0}]
    for sort in ("changed", "name"):
        for more in [*fields, {"name_contains": "n"}, {"updated_since": 5}, {"updated_until": 5}]:
            query = listing.listing(JobQuery(sort=sort, **more), "sqlite")
            text = str(query.compile(house.database.readers.engine, compile_kwargs={"literal_binds": True}))
            plan = str(house.database.rows(f"EXPLAIN QUERY PLAN {text}"))
            assert "TEMP B-TREE" not in plan, (sort, more, plan)
            assert {"changed": "job_by_update", "name": "job_by_name"}[sort] in plan, (sort, more, plan)
