"""Applying a task to past jobs: which are chosen, how often, and what their launch then is."""

import json

import pytest

from contracts.models import State, Task
from contracts.ports import JobQuery
from gateway.task_launcher import applying
from tests.gateway.test_launching import launch
from tests.support import stories as s

ALL = '{"in":["",{"var":"InputFile.Name"}]}'
DAPI = '{"in":["dapi",{"var":"InputFile.Name"}]}'


@pytest.fixture
def call(house):
    async def called(path, body=None, method="POST"):
        more = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        return await house.call(house.launcher, method, f"/api/v1{path}", **more)

    return called


async def add_task(house, selector: str = ALL, **more) -> str:
    return await house.launcher.create(
        Task(**({"description": "d", "job_selector": selector, "pipeline_id": "only-file"} | more))
    )


async def unmatched(house, *names: str) -> None:
    for name in names:
        await house.store.apply([s.created(name, f"{name}.tiff"), s.unmatched(name)])


async def states(house) -> dict[str, str]:
    return {job.id: str(job.state) for job in (await house.jobs.find(JobQuery())).jobs}


async def test_unmatched_jobs_that_the_task_wants_go_on_their_way_and_others_stay(house, call):
    await unmatched(house, "dapi-1", "gfp-1", "dapi-2")
    await house.store.apply([s.created("dapi-3", "dapi-3.tiff")])  # on its way
    task = await add_task(house, DAPI)
    answer = (await call(f"/task/{task}/apply", {"Reason": "forgot it"})).json()
    assert answer == {"Looked": 3, "Wanted": 2, "Applied": 2, "Troubles": [], "After": None}
    expected = {"dapi-1": "sending", "dapi-2": "sending", "gfp-1": "unmatched", "dapi-3": "created"}
    assert await states(house) == expected
    line = (await house.store.history("dapi-1"))[-1]
    assert (line["By"], line["What"], line["From"], line["To"], line["Why"]) == (
        "operator", "task-applied", "unmatched", "sending", "forgot it",
    )  # fmt: skip
    again = (await call(f"/task/{task}/apply")).json()
    assert (again["Looked"], again["Applied"]) == (1, 0)


async def test_a_dry_run_says_what_would_be_and_changes_nothing(house, call):
    await unmatched(house, "a", "b")
    await house.store.apply([s.created("lost", host=""), s.unmatched("lost")])
    task = await add_task(house)
    before = (await house.jobs.find(JobQuery())).jobs
    answer = (await call(f"/task/{task}/apply", {"DryRun": True})).json()
    assert (answer["Wanted"], answer["Applied"]) == (3, 2)
    (trouble,) = answer["Troubles"]
    assert trouble["Id"] == "lost"
    assert "copy the file in again" in trouble["Error"]
    assert (await house.jobs.find(JobQuery())).jobs == before


async def test_only_jobs_registered_since_a_time_are_chosen(house, call):
    await unmatched(house, "old")
    house.clock.turn(60)
    await unmatched(house, "new")
    await house.store.change("old", lambda job: job.evolve(verification=1), "client", "put")  # changed, yet old
    task = await add_task(house)
    assert (await call(f"/task/{task}/apply", {"Since": s.NOW + 1})).json()["Applied"] == 1
    assert await states(house) == {"old": "unmatched", "new": "sending"}


async def test_more_jobs_than_one_call_looks_at_are_gone_through_with_the_cursor(house, call, monkeypatch):
    monkeypatch.setattr(applying, "PAGE", 2)
    await unmatched(house, *[f"j{n}" for n in range(5)])
    task, after, applied = await add_task(house), None, []
    while True:
        answer = (await call(f"/task/{task}/apply", {"After": after})).json()
        applied.append(answer["Applied"])
        if (after := answer["After"]) is None:
            break
    assert applied == [2, 2, 1]
    assert set((await states(house)).values()) == {"sending"}


@pytest.mark.parametrize(("path", "body", "status", "words"), [
    ("/task/none/apply", None, 404, "specified task id none not found"),
    ("/task/{task}/apply", {"States": ["running"]}, 400, "cannot be applied to jobs that are running"),
    ("/task/{task}/apply", {"States": ["cancelled"]}, 400, "choose from unmatched, complete, failed, quarantined"),
    ("/task/{task}/apply", {"Dry": True}, 400, "Dry: Extra inputs"),
    ("/task/{task}/apply", {"Since": "monday"}, 400, "Since: Input should be a valid integer"),
    ("/task/{task}/apply", b"[", 400, "body: Invalid JSON"),
])  # fmt: skip
async def test_what_cannot_be_meant_is_refused_and_named(house, call, path, body, status, words):
    await unmatched(house, "a")
    answer = await call(path.format(task=await add_task(house)), body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert await states(house) == {"a": "unmatched"}


async def test_a_rule_that_fails_on_a_job_is_told_and_the_others_are_applied(house, call):
    await unmatched(house, "a")
    await house.store.apply([s.created("b", "b.tiff", attributes={"row": "x"}), s.unmatched("b")])
    await house.store.apply([s.created("c", "c.tiff", attributes={"row": "7"}), s.unmatched("c")])
    task = await add_task(house, '{">": [{"var": "InputFile.Attributes.row"}, 5]}')
    answer = (await call(f"/task/{task}/apply")).json()
    assert answer["Looked"] == 3
    assert (await states(house))["c"] == "sending"
    assert answer["Applied"] == 1


async def test_the_applied_task_launches_the_job_although_an_older_one_wants_it_too(house, call):
    first = await add_task(house, pipeline_id="first")
    second = await add_task(house, pipeline_id="second", model_parameters={"threshold": "0.7"})
    await house.store.apply(s.full_story())
    assert (await call(f"/task/{second}/apply", {"States": ["complete"]})).json()["Applied"] == 1
    (house.files.input / "a.tiff").write_bytes(b"pixels")
    await house.store.apply([s.input_delivered(folder=str(house.files.input))])
    await house.store.change("job-1", undigested, "test", "put")
    await launch(house)
    details = (await house.one()).pipeline_details
    assert (details.task_id, details.pipeline_id, details.task_version) == (second, "second", s.NOW)
    (order,) = house.outbox("second")
    assert json.loads(order)["CorrelationID"] == "job-1"
    assert first not in order
    # The same version again, while it runs and when it is done:
    assert (await call(f"/task/{second}/apply", {"States": ["complete"]})).json()["Looked"] == 0


def undigested(job):
    return job.evolve(input_file=job.input_file.evolve(sha256=""))


async def test_a_changed_task_is_a_new_version_and_an_unchanged_one_is_not_applied_twice(house, call):
    house.clock.turn(1)
    task = await add_task(house)
    version = (await house.tasks.get(task)).last_updated
    await unmatched(house, "a")
    body = {"States": ["unmatched", "complete", "failed"]}
    for expected in (1, 0):
        assert (await call(f"/task/{task}/apply", body)).json()["Applied"] == expected
        await house.store.apply([s.unmatched("a"), s.input_delivered("a"), s.unmatched("a")])
        assert (await states(house)) == {"a": "unmatched"}
    house.clock.turn(5)
    assert (await call("/task", {"Id": task, "Description": "better"}, method="PUT")).status_code == 200
    assert (await house.tasks.get(task)).last_updated > version
    assert (await call(f"/task/{task}/apply", body)).json()["Applied"] == 1


async def test_a_job_whose_file_is_no_longer_at_the_gateway_is_sent_again_by_its_instrument(house, call):
    task = await add_task(house, pipeline_id="second")
    await house.store.apply([*s.full_story()[:5], s.failed_step(State.RUNNING, retry_at=0)])
    assert (await call(f"/task/{task}/apply", {"States": ["failed"]})).json()["Applied"] == 1
    assert (await house.one()).state is State.RECEIVED
    await launch(house)
    job = await house.one()
    assert (job.state, job.reason) == (State.SENDING, "a.tiff is no longer here")
    assert job.input_file.hostname == "oem"
