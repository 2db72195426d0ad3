"""Operators' routes: retry, release and cancel, for one job and for many; what the history says of it."""

import httpx
import pytest

from contracts.hosting import app_of
from contracts.models import State
from contracts.ports import JobQuery
from contracts.states import MAX_ATTEMPTS
from gateway.job_repository import operations
from tests.support import stories as s


@pytest.fixture
def call(house):
    async def called(path, body=None, **options):
        more = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        return await house.call(house.jobs, "POST", f"/api/v1{path}", **more, **options)

    return called


async def failed(house, *names: str) -> None:
    for name in names:
        await house.store.apply([*s.full_story(name)[:5], s.failed_step(State.RUNNING, name, retry_at=0)])


async def states(house) -> dict[str, str]:
    return {job.id: str(job.state) for job in (await house.jobs.find(JobQuery())).jobs}


async def test_a_cancel_and_a_release_change_the_job_and_leave_lines_with_who_what_from_to_and_why(house, call):
    await house.store.apply(s.full_story()[:5])
    answer = await call("/job/job-1/cancel", {"Reason": "wrong plate"})
    assert (answer.status_code, answer.json()["State"], answer.json()["Owner"]) == (200, "cancelled", "none")
    assert (answer.json()["Status"], answer.json()["Reason"]) == ("FileErrored", "cancelled by operator: wrong plate")
    answer = await call("/job/job-1/release", {"Reason": "it was the right one"})
    assert (answer.status_code, answer.json()["State"]) == (200, "received")
    lines = (await house.store.history("job-1"))[-2:]
    assert [(line["By"], line["What"], line["From"], line["To"], line["Why"]) for line in lines] == [
        ("operator", "job-cancelled", "running", "cancelled", "cancelled by operator: wrong plate"),
        ("operator", "job-released", "cancelled", "received", "it was the right one"),
    ]


async def test_who_asked_is_taken_from_the_request(house):
    await house.store.apply(s.full_story()[:3])
    app = app_of(house.jobs)

    async def as_alice(scope, receive, send):
        await app(scope | {"actor": "alice"}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(as_alice), base_url="http://jobs") as client:
        assert (await client.post("/api/v1/job/job-1/cancel")).status_code == 200
    assert (await house.one()).reason == "cancelled by alice"
    assert (await house.store.history("job-1"))[-1]["By"] == "alice"


@pytest.mark.parametrize(("story", "path", "status", "words"), [
    (10, "/job/job-1/cancel", 409, "job job-1 is complete: only a job on its way can be cancelled"),
    (10, "/job/job-1/retry", 409, "nothing to retry"),
    (3, "/job/job-1/release", 409, "only a failed, quarantined or cancelled job can be released"),
    (3, "/job/nobody/cancel", 404, "no job nobody"),
    (3, "/job/job-1/frobnicate", 404, "404 page not found"),
])  # fmt: skip
async def test_what_cannot_be_done_to_a_job_is_refused_in_words(house, call, story, path, status, words):
    await house.store.apply(s.full_story()[:story])
    before = await house.one()
    answer = await call(path)
    assert (answer.status_code, words in answer.text) == (status, True)
    assert await house.one() == before


@pytest.mark.parametrize(("path", "body", "words"), [
    ("/job/job-1/cancel", b"{", "/api/v1/job/job-1/cancel: body: Invalid JSON"),
    ("/job/job-1/cancel", {"Why": "x"}, "Why: Extra inputs"),
    ("/job/job-1/cancel", {"Reason": 5}, "Reason: Input should be a valid string"),
    ("/job/job-1/cancel", {"Reason": "x" * 1001}, "Reason: String should have at most"),
    ("/jobs/cancel", {}, "name jobs by Ids, or by States"),
    ("/jobs/cancel", b"", "body: Invalid JSON"),
    ("/jobs/cancel", {"Reason": "all of them"}, "name jobs by Ids, or by States"),
    ("/jobs/cancel", {"State": ["running"]}, "State: Extra inputs"),
    ("/jobs/cancel", {"States": ["odd"]}, "States.0: Input should be 'created'"),
    ("/jobs/cancel", {"Ids": ["job-1"], "Name": "a"}, "either Ids or a filter"),
    ("/jobs/cancel", {"Ids": ["x"] * 1001}, "Ids: Tuple should have at most 1000 items"),
    ("/jobs/cancel", {"Name": "a", "After": -1}, "After: Input should be greater"),
])  # fmt: skip
async def test_a_body_that_cannot_be_meant_is_refused_and_names_its_field(house, call, path, body, words):
    await house.store.apply(s.full_story()[:3])
    answer = await call(path, body)
    assert answer.status_code == 400
    assert words in answer.text
    assert (await house.one()).state is State.RECEIVED


async def test_many_are_named_by_their_ids_and_each_gets_its_verdict(house, call):
    await failed(house, "a", "b")
    await house.store.apply(s.full_story("c"))
    answer = (await call("/jobs/release", {"Ids": ["a", "nobody", "c", "b", "a"]})).json()
    assert [(one["Id"], one["Status"], one["Changed"]) for one in answer["Verdicts"]] == [
        ("a", 200, True), ("nobody", 404, False), ("c", 409, False), ("b", 200, True),
    ]  # fmt: skip
    assert (answer["Changed"], answer["After"]) == (2, None)
    assert "only a failed" in answer["Verdicts"][2]["Error"]
    assert await states(house) == {"a": "received", "b": "received", "c": "complete"}


@pytest.mark.parametrize(("narrow", "expected"), [
    ({"Name": "one"}, {"a"}), ({"Pipeline": "only-file"}, {"a", "b"}), ({"Task": "task-9"}, set()),
    ({"Instrument": "oem"}, {"a", "b"}), ({"Instrument": "scope-2"}, set()), ({"States": ["quarantined"]}, set()),
    ({"States": ["failed"], "Name": "two"}, {"b"}),
])  # fmt: skip
async def test_a_filter_chooses_jobs_that_were_given_up_for_a_release(house, call, narrow, expected):
    for name, file in (("a", "plate-one.tiff"), ("b", "plate-two.tiff"), ("c", "plate-one-c.tiff")):
        await house.store.apply([s.created(name, file), *s.full_story(name)[1:5]])
    for name in ("a", "b"):
        await house.store.apply([s.failed_step(State.RUNNING, name, retry_at=0)])
    answer = (await call("/jobs/release", narrow)).json()
    assert {one["Id"] for one in answer["Verdicts"]} == expected
    assert {name for name, state in (await states(house)).items() if state == "received"} == expected


async def test_a_filter_that_fits_more_than_one_call_deals_with_goes_on_from_its_cursor(house, call, monkeypatch):
    monkeypatch.setattr(operations, "MOST", 2)
    names = [f"job-{n}" for n in range(5)]
    for name in names:
        await house.store.apply(s.full_story(name)[:2])
    ended, after = [], None
    while True:
        answer = (await call("/jobs/cancel", {"Instrument": "oem", "After": after})).json()
        ended.append([one["Id"] for one in answer["Verdicts"]])
        if (after := answer["After"]) is None:
            break
    assert ended == [["job-0", "job-1"], ["job-2", "job-3"], ["job-4"]]
    assert set((await states(house)).values()) == {"cancelled"}


async def test_a_cancelled_job_is_claimed_by_nobody_and_its_runner_hears_that_it_is_over(house, call):
    await house.store.apply([*s.full_story()[:3], s.requested()])
    (job,) = await house.jobs.claim("w1", ["only-file"], 1, 60)
    await call("/job/job-1/cancel")
    assert await house.jobs.claim("w2", ["only-file"], 1, 60) == []
    kept = s.started(until=job.lease_until + 1).model_copy(update={"by": "pipeline-runner"})
    (verdict,) = await house.jobs.report([kept])
    assert (verdict.changed, verdict.job.state) == (False, State.CANCELLED)
    late = s.reported(worker="w1", attempt=1)
    (verdict,) = await house.jobs.report([late])
    assert (verdict.changed, verdict.status) == (False, 200)
    # A pipeline that only speaks the contract gets no error for its late answer either.
    path = "/api/v1/job/pipeline/job-1/task-1"
    assert (await house.call(house.jobs, "PUT", path, json={"Status": "PipelineComplete"})).status_code == 200
    path = "/api/v1/pipelineStatus/job-1/task-1"
    assert (await house.call(house.launcher, "POST", path, content=b"PipelineComplete")).status_code == 200
    assert (await house.one()).state is State.CANCELLED


async def figures(house) -> str:
    return (await house.call(house.jobs, "GET", "/metrics")).text


async def test_jobs_that_are_given_up_when_they_are_claimed_and_those_cancelled_are_counted_as_ended(house, call):
    await house.store.apply([*s.full_story()[:3], s.requested()])
    for _ in range(MAX_ATTEMPTS):
        assert len(await house.jobs.claim("w", ["only-file"], 1, 1)) == 1
        house.clock.turn(2)
    assert 'cytobus_jobs_ended_total{state="quarantined"} 0.0' in await figures(house)
    assert await house.jobs.claim("w", ["only-file"], 1, 1) == []
    await house.store.apply(s.full_story("other")[:2])
    await call("/job/other/cancel")
    text = await figures(house)
    assert 'cytobus_jobs_ended_total{state="quarantined"} 1.0' in text
    assert 'cytobus_jobs_ended_total{state="cancelled"} 1.0' in text
    assert f'cytobus_facts_total{{fact="pipeline-started"}} {MAX_ATTEMPTS + 1}.0' in text
