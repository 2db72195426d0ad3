"""The order of tasks, tasks that are disabled, what hangs on one, and jobs run again by another."""

import pytest

from contracts.models import State, Task
from tests.gateway.test_launching import launch
from tests.support import stories as s

A, B = '{"in":["a",{"var":"InputFile.Name"}]}', '{"in":["b",{"var":"InputFile.Name"}]}'


@pytest.fixture
def call(house):
    async def called(method, path, body=None):
        more = {} if body is None else {"json": body}
        return await house.call(house.launcher, method, f"/api/v1{path}", **more)

    return called


async def add(house, name: str, selector: str = A) -> str:
    return await house.launcher.create(Task(description=name, job_selector=selector, pipeline_id=f"p-{name}"))


async def order(call) -> list[tuple[str, int]]:
    return [(task["Description"], task["Order"]) for task in (await call("GET", "/task")).json()]


async def test_a_task_is_put_before_others_and_gets_the_files_that_both_want(house, call):
    await add(house, "one")
    two = await add(house, "two")
    await add(house, "three")
    assert (await call("PUT", f"/task/{two}/order", {"Order": 1})).status_code == 200
    assert await order(call) == [("two", 1), ("one", 2), ("three", 3)]
    await house.store.apply(s.full_story()[:3])
    await launch(house)
    assert (await house.one()).pipeline_details.task_id == two
    await call("PUT", f"/task/{two}/order", {"Order": 99})
    await add(house, "four")
    assert [name for name, _ in await order(call)] == ["one", "three", "two", "four"]


async def test_an_order_is_no_new_version_and_a_whole_task_sent_by_an_old_client_keeps_its_place(house, call):
    one, two = await add(house, "one"), await add(house, "two")
    before = (await call("GET", f"/task/{one}")).json()
    house.clock.turn(5)
    await call("PUT", f"/task/{one}/order", {"Order": 2})
    await call("PUT", f"/task/{one}/disabled", {"Disabled": True})
    after = (await call("GET", f"/task/{one}")).json()
    assert after == before | {"Order": 2, "Disabled": True}
    old = {name: before[name] for name in before if name not in ("Order", "Disabled")}
    assert (await call("PUT", "/task", old | {"Description": "uno"})).status_code == 200
    assert await order(call) == [("two", 1), ("uno", 2)]
    assert (await call("GET", f"/task/{one}")).json()["Disabled"] is True
    assert (await call("GET", f"/task/{two}")).json()["Disabled"] is False


async def test_a_disabled_task_wants_nothing_and_what_was_launched_for_it_goes_on(house, call):
    task = await add(house, "one")
    await house.store.apply([*s.full_story("launched")[:3], s.created("coming", "a.tiff")])
    await launch(house)
    assert (await house.store.get("launched")).state is State.RUNNING
    await call("PUT", f"/task/{task}/disabled", {"Disabled": True})
    assert await house.launcher.match([await house.store.get("coming")]) == [False]
    assert (await house.store.get("launched")).state is State.RUNNING
    assert (await call("POST", f"/task/{task}/apply", {})).status_code == 409
    await call("PUT", f"/task/{task}/disabled", {"Disabled": False})
    assert await house.launcher.match([await house.store.get("coming")]) == [True]


async def test_who_deletes_a_task_is_told_what_hangs_on_it(house, call):
    first, second = await add(house, "first", A), await add(house, "second", B)
    coming = [s.created("1", "a.tiff"), s.created("2", "ab.tiff"), s.created("3", "b.tiff"), s.created("4", "c.tiff")]
    await house.store.apply([*s.full_story("launched")[:3]])
    await launch(house)
    await house.store.apply(coming)
    assert (await call("GET", f"/task/{first}/waiting")).json() == {"Running": 1, "Waiting": 2, "More": False}
    assert (await call("GET", f"/task/{second}/waiting")).json() == {"Running": 0, "Waiting": 1, "More": False}
    assert (await call("GET", "/task/none/waiting")).status_code == 404


@pytest.mark.parametrize(("path", "body"), [
    ("order", {"Order": 0}), ("order", {"Order": "x"}), ("order", {}), ("disabled", {"Disabled": "perhaps"}),
    ("disabled", {}),
])  # fmt: skip
async def test_what_cannot_be_read_is_refused_with_the_fields_name(house, call, path, body):
    answer = await call("PUT", f"/task/{await add(house, 'one')}/{path}", body)
    assert (answer.status_code, path.title() in answer.text) == (400, True)
    good = {"order": {"Order": 1}, "disabled": {"Disabled": True}}[path]
    assert (await call("PUT", f"/task/none/{path}", good)).status_code == 404


async def test_a_job_is_run_again_by_another_task_and_says_what_had_become_of_it(house, call):
    await house.store.apply(s.full_story())
    other = await add(house, "other", B)
    answer = await call("POST", "/job/job-1/rerun", {"Task": other, "Reason": "wrong threshold"})
    assert answer.status_code == 200, answer.text
    job = await house.store.get("job-1")
    assert (job.state, job.applied_task, len(job.earlier)) == (State.SENDING, other, 1)
    line = (await house.store.history("job-1"))[-1]
    assert (line["What"], line["By"], line["Why"]) == ("task-applied", "operator", "wrong threshold")
    again = await call("POST", "/job/job-1/rerun", {"Task": other})
    assert (again.status_code, "on its way" in again.text) == (409, True)


async def test_a_rerun_that_cannot_be_is_refused_with_the_remedy(house, call):
    task = await add(house, "one")
    await house.store.apply([*s.full_story(), *s.full_story("cancelled")[:2], s.cancelled("cancelled")])
    await house.store.apply([s.created("on its way", "c.tiff")])
    assert "cancel it first" in (await call("POST", "/job/on its way/rerun", {"Task": task})).text
    assert "release it" in (await call("POST", "/job/cancelled/rerun", {"Task": task})).text
    assert (await call("POST", "/job/none/rerun", {"Task": task})).status_code == 404
    unknown = await call("POST", "/job/job-1/rerun", {"Task": "no such"})
    assert (unknown.status_code, "Task: there is no task 'no such'" in unknown.text) == (400, True)
    assert (await call("POST", "/job/job-1/rerun", {})).status_code == 400
    await call("PUT", f"/task/{task}/disabled", {"Disabled": True})
    assert "enable it first" in (await call("POST", "/job/job-1/rerun", {"Task": task})).text
