"""Reviewers' words: kept with who and why, and found again."""

import pytest

from tests.support import stories as s


@pytest.fixture
def call(house):
    async def called(method, path, **options):
        return await house.call(house.jobs, method, f"/api/v1{path}", **options)

    return called


async def found(call, verification: int) -> list[str]:
    return [job["Id"] for job in (await call("GET", f"/job?verification={verification}")).json()]


async def test_a_comment_stands_in_the_history_with_the_word_and_who_said_it(house, call):
    await house.store.apply(s.full_story())
    answer = await call("PUT", "/job/job-1/review", json={"Verification": 2, "Reason": "out of focus"})
    assert (answer.status_code, answer.json()["Verification"]) == (200, 2)
    line = (await house.store.history("job-1"))[-1]
    assert (line["What"], line["By"], line["Why"]) == ("review: rejected", "reviewer", "out of focus")


async def test_results_are_found_by_what_was_said_of_them(house, call):
    await house.store.apply([*s.full_story("one"), *s.full_story("two"), s.created("on its way", "c.tiff")])
    assert await found(call, 0) == ["two", "one"]
    await call("PUT", "/job/one/review", json={"Verification": 1})
    assert (await found(call, 0), await found(call, 1), await found(call, 2)) == (["two"], ["one"], [])
    await call("PUT", "/job/one", json={"Verification": 2})
    assert (await found(call, 1), await found(call, 2)) == ([], ["one"])


async def test_the_search_for_what_is_to_be_judged_uses_its_index(house):
    if not house.database.url.startswith("sqlite"):
        pytest.skip("PostgreSQL chooses by how many rows there are")
    plan = house.database.rows(
        "EXPLAIN QUERY PLAN SELECT seq, doc FROM job WHERE state = 'complete' AND verification = ? ORDER BY seq DESC", 0
    )
    assert "job_judged" in str(plan)


@pytest.mark.parametrize(("body", "status"), [
    ({"Verification": 3}, 400), ({}, 400), ({"Verification": 1, "Resaon": "x"}, 400), ({"Verification": 1}, 409),
])  # fmt: skip
async def test_what_is_no_word_or_has_no_result_yet_is_refused(house, call, body, status):
    await house.store.apply([s.created()])
    assert (await call("PUT", "/job/job-1/review", json=body)).status_code == status


async def test_a_job_that_is_not_there_is_404(call):
    assert (await call("PUT", "/job/none/review", json={"Verification": 1})).status_code == 404
