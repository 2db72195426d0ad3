"""The task launcher's routes: every row of the contract's table 2.2."""

import json

import pytest

from contracts.models import State
from contracts.room import Room
from gateway.task_launcher.rules import Addresses
from gateway.task_launcher.service import TaskLauncher
from tests.support import stories as s

ANY_IMAGE = '{"in":["a",{"var":"InputFile.Name"}]}'
TASK = {"Description": "count", "JobSelector": ANY_IMAGE, "PipelineId": "only-file"}
LATE = s.NOW + 10**12


@pytest.fixture
def call(house):
    async def called(method, path, body=None, **options):
        if isinstance(body, bytes | str):
            options["content"] = body
        elif body is not None:
            options["json"] = body
        return await house.call(house.launcher, method, f"/api/v1{path}", **options)

    return called


@pytest.fixture
async def task(call):
    return (await call("POST", "/task", TASK | {"ModelParameters": {"a": "1", "b": "2"}})).text


@pytest.mark.parametrize("more", [{}, {"Id": None}, {"Id": ""}, {"ModelParameters": None}, {"LastUpdated": 5}])
async def test_a_new_task_is_201_with_its_bare_id(call, more):
    answer = await call("POST", "/task", TASK | more)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (201, "text/plain")
    (task,) = (await call("GET", "/task")).json()
    expected = TASK | {"Id": answer.text, "ResultFileFolder": "", "ModelParameters": None, "LastUpdated": s.NOW}
    expected |= {"Order": 1, "Disabled": False}
    assert task == expected
    assert (await call("GET", f"/task/{answer.text}")).json() == expected


@pytest.mark.parametrize(("body", "status", "words"), [
    (TASK | {"Id": "x"}, 400, "failed to create task: id already specified\n"),
    ({}, 500, "failed to create task: job selector field is empty\n"),
    ({"JobSelector": ANY_IMAGE}, 500, "failed to create task: pipeline id field is empty\n"),
    ({"JobSelector": ANY_IMAGE, "PipelineId": "p"}, 500, "failed to create task: description field is empty\n"),
    (b"", 400, "failed to unmarshal request (/api/v1/task) to task: unexpected end of JSON input\n"),
    (TASK | {"ModelParameters": {"n": 1}}, 400, "failed to unmarshal request (/api/v1/task) to task: "),
    (TASK | {"JobSelector": "{"}, 400, ""), (TASK | {"JobSelector": '{"regex":[1,2]}'}, 400, ""),
    (TASK | {"JobSelector": "{}"}, 400, ""), (TASK | {"JobSelector": '"true"'}, 400, ""),
])  # fmt: skip
async def test_a_task_that_could_never_work_is_refused_when_it_is_made(call, body, status, words):
    answer = await call("POST", "/task", body)
    assert answer.status_code == status
    assert answer.text.startswith(words)
    assert (await call("GET", "/task")).status_code == 204


async def test_no_tasks_are_204_of_json_without_a_body(call):
    answer = await call("GET", "/task")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (204, b"", "application/json")


async def test_keys_match_in_any_case_and_a_body_without_a_length_is_taken(call):
    async def pieces():
        yield json.dumps({name.lower(): value for name, value in TASK.items()}).encode()

    answer = await call("POST", "/task", content=pieces())
    assert answer.status_code == 201
    assert "content-length" not in answer.request.headers


async def test_equal_tasks_may_exist_twice_and_tasks_keep_their_order(call):
    ids = [(await call("POST", "/task", TASK)).text for _ in range(5)]
    assert [task["Id"] for task in (await call("GET", "/task")).json()] == ids


async def test_an_update_replaces_only_what_is_not_empty_and_merges_parameters(house, call, task):
    house.clock.turn(5)
    change = {"Id": task, "Description": "new", "JobSelector": "", "ModelParameters": {"b": "3", "c": "4"}}
    answer = await call("PUT", "/task", change)
    assert (answer.status_code, answer.content) == (200, b"")
    now = (await call("GET", f"/task/{task}")).json()
    assert (now["Description"], now["JobSelector"], now["PipelineId"]) == ("new", ANY_IMAGE, "only-file")
    assert now["ModelParameters"] == {"a": "1", "b": "3", "c": "4"}
    assert now["LastUpdated"] == s.NOW + 5 * 10**9


async def test_parameters_can_be_given_to_a_task_that_had_none_where_the_predecessor_panicked(call):
    bare = (await call("POST", "/task", TASK)).text
    assert (await call("PUT", "/task", {"Id": bare, "ModelParameters": {"a": "1"}})).status_code == 200
    assert (await call("GET", f"/task/{bare}")).json()["ModelParameters"] == {"a": "1"}


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), [
    ("PUT", "/task", {"Id": "none"}, 404, "failed to update task for Id (none): specified task id none not found\n"),
    ("PUT", "/task", {}, 404, "failed to update task"),
    ("PUT", "/task", b"", 400, "failed to unmarshal request (/api/v1/task) to task: "),
    ("PUT", "/task", {"Id": "x", "JobSelector": "{"}, 400, ""),
    ("PUT", "/task/none", {}, 405, ""),
    ("GET", "/task/none", None, 404, "failed to retrieve task from task launcher: specified task id none not found"),
    ("DELETE", "/task/none", None, 400, "failed to delete task for Id (none): no task was deleted\n"),
    ("GET", "/task/", None, 404, "404 page not found\n"),
    ("POST", "/matchTask", b"", 400, ""), ("POST", "/dataToHandle", b"", 400, ""),
    ("POST", "/dataToHandle", {"Id": "none"}, 404, ""),
    ("POST", "/retry", b"", 400, "failed to unmarshal request (/api/v1/retry): unexpected end of JSON input\n"),
    ("POST", "/retry", {}, 500, 'failed to process request: /api/v1/retry: time: invalid duration ""\n'),
    ("POST", "/retry", {"TimeoutDuration": "soon"}, 500, "failed to process request: /api/v1/retry: time: invalid"),
    ("POST", "/retry", {"TimeoutDuration": "1h2m3.5s"}, 200, ""), ("POST", "/retry", {"timeoutduration": "0"}, 200, ""),
    ("POST", "/pipelines", {"worker": 5}, 400, "this registration cannot be read"),
    ("POST", "/matchTasks", {}, 400, "these jobs cannot be read"),
])  # fmt: skip
async def test_what_cannot_be_done_is_said_in_plain_text(call, method, path, body, status, words):
    answer = await call(method, path, body)
    assert answer.status_code == status
    assert answer.text.startswith(words)


async def test_deleting_a_task_is_200_and_it_is_gone(call, task):
    assert (await call("DELETE", f"/task/{task}")).content == b""
    assert (await call("GET", "/task")).status_code == 204


@pytest.mark.parametrize(("name", "said"), [("image.tiff", "true"), ("ship.tiff", "false")])
async def test_matching_answers_a_word_that_go_parses_as_bool(call, task, name, said):
    answer = await call("POST", "/matchTask", {"InputFile": {"Name": name}})
    assert (answer.status_code, answer.text, answer.headers["content-type"].partition(";")[0]) == (
        200, said, "text/plain",
    )  # fmt: skip
    many = await call("POST", "/matchTasks", [{"InputFile": {"Name": name}}, {"InputFile": {"Name": ""}}])
    assert many.json() == [said == "true", False]


async def test_a_rule_that_fails_on_a_job_stops_no_other_rule(call):
    poison = TASK | {"JobSelector": '{"in":["x",{"var":"InputFile.Attributes.nope"}]}'}
    assert (await call("POST", "/task", poison)).status_code == 201
    await call("POST", "/task", TASK)
    assert (await call("POST", "/matchTask", {"InputFile": {"Name": "a.tiff"}})).text == "true"


async def test_a_job_handed_over_is_launched_at_once_and_handing_it_over_again_changes_nothing(house, call, task):
    await house.store.apply(s.full_story()[:3])
    for _ in range(2):
        answer = await call("POST", "/dataToHandle", {"Id": "job-1", "InputFile": {"Name": "ignored"}})
        assert (answer.status_code, answer.content) == (200, b"")
    job = await house.one()
    assert (job.owner, job.status, job.state) == ("task-launcher", "Incomplete", State.RUNNING)
    details = job.pipeline_details
    assert (details.task_id, details.status, details.output_file_host) == (task, "PipelineProcessing", "gateway")
    assert len(house.outbox("only-file")) == 1


async def test_a_job_that_no_task_wants_any_more_ends_with_the_contracts_words(house, call):
    await house.store.apply(s.full_story()[:3])
    assert (await call("POST", "/dataToHandle", {"Id": "job-1"})).status_code == 200
    job = await house.one()
    assert (job.owner, job.status) == ("none", "NoPipelineFound")
    assert job.error_details.owner == "task-launcher"
    assert job.error_details.error == "no tasks could be matched to the input file name"


@pytest.mark.parametrize(("place", "body", "status", "words"), [
    ("job-1/task-1", "PipelineComplete", 200, ""),
    ("job-1/task-1", "  pipelinecomplete\n", 200, ""),
    ("job-1/task-1", "PipelineFailed", 400, "task status mismatch for job id job-1, got PipelineFailed, expected"),
    ("job-1/task-1", "PipelineProcessing", 400, "task status not set to failed or complete for job id job-1, taskid"),
    ("job-1/task-1", "FileNotFound", 400, "task status not set to failed or complete"),
    ("job-1/task-1", '"PipelineComplete"', 400, "request body does not match expected task status\n"),
    ("job-1/task-1", "", 400, "request body does not match expected task status\n"),
    ("job-1/task-2", "PipelineComplete", 400, "task id mismatch: got task-2, expected task-1\n"),
    ("none/task-1", "PipelineComplete", 400, ""),
])  # fmt: skip
async def test_a_pipelines_second_call(house, call, place, body, status, words):
    story = [*s.full_story()[:3], s.requested(lease_until=LATE), s.reported(outputs=None, confirm_from=LATE)]
    await house.store.apply(story)
    answer = await call("POST", f"/pipelineStatus/{place}", body)
    assert answer.status_code == status
    assert answer.text.startswith(words)
    assert (await house.one()).state is (State.COMPLETE if status == 200 else State.PROCESSED)


async def test_a_pipelines_second_call_before_its_first_is_refused(house, call):
    await house.store.apply([*s.full_story()[:3], s.requested(lease_until=LATE)])
    answer = await call("POST", "/pipelineStatus/job-1/task-1", "PipelineComplete")
    assert answer.status_code == 400
    assert "expected PipelineProcessing" in answer.text


@pytest.mark.parametrize("word", ["PipelineComplete", "PipelineFailed"])
async def test_both_calls_may_be_repeated_in_any_order_or_come_late_and_nothing_is_done_twice(house, call, word):
    await house.store.apply([*s.full_story()[:3], s.requested(lease_until=LATE)])
    result = {"Status": word, "Results": "CellCount, 5"}

    async def put():
        path = "/api/v1/job/pipeline/job-1/task-1"
        assert (await house.call(house.jobs, "PUT", path, json=result)).status_code == 200

    async def post():
        assert (await call("POST", "/pipelineStatus/job-1/task-1", word)).status_code == 200

    await put()
    await put()
    await post()
    ended = await house.one()
    for step in (post, put, post, post, put):
        await step()
    assert await house.one() == ended
    assert ended.state is (State.COMPLETE if word == "PipelineComplete" else State.FAILED)
    assert len(house.outbox("pipeline/inferenceResults")) == 1


async def test_pipelines_that_registered_are_listed_as_the_contract_lists_them(call):
    pipelines = [{"topic": "b", "name": "B", "description": "x"}, {"topic": "a", "name": "A"}]
    for _ in range(2):
        assert (await call("POST", "/pipelines", {"worker": "w", "pipelines": pipelines})).status_code == 200
    listed = (await call("GET", "/pipelines")).json()
    assert [(p["subscriptionTopic"], p["name"], p["status"]) for p in listed] == [
        ("a", "A", "Running"), ("b", "B", "Running"),
    ]  # fmt: skip
    assert {"id", "description"} <= set(listed[0])


async def test_of_a_topic_that_is_registered_twice_at_once_the_last_holds(call):
    both = [{"topic": "t", "name": "first"}, {"topic": "t", "name": "last"}]
    assert (await call("POST", "/pipelines", {"worker": "w", "pipelines": both})).status_code == 200
    assert [one["name"] for one in (await call("GET", "/pipelines")).json()] == ["last"]


async def test_a_parameter_without_end_is_refused_and_spoils_no_listing(call):
    body = '{"worker": "w", "pipelines": [{"topic": "t", "name": "n", "parameters": {"a": {"default": 1e999}}}]}'
    assert (await call("POST", "/pipelines", body)).status_code == 400
    assert (await call("GET", "/pipelines")).json() == []


async def test_a_parameter_of_which_little_is_said_is_listed_as_text_so_that_forms_can_show_it(call):
    said = {"topic": "t", "name": "n", "parameters": {"little": {}, "much": {"kind": "int", "default": 5}}}
    assert (await call("POST", "/pipelines", {"worker": "w", "pipelines": [said]})).status_code == 200
    (listed,) = (await call("GET", "/pipelines")).json()
    assert listed["parameters"] == {
        "little": {"kind": "str", "default": "", "description": ""},
        "much": {"kind": "int", "default": 5, "description": ""},
    }


@pytest.mark.parametrize("duration", ["9" * 400 + "h", "9" * 30 + "s", "2562048h"])
async def test_a_duration_longer_than_go_has_is_refused_as_go_does(call, duration):
    answer = await call("POST", "/retry", {"TimeoutDuration": duration})
    assert answer.status_code == 500
    assert answer.text.startswith('failed to process request: /api/v1/retry: time: invalid duration "')


async def test_a_retry_reaches_the_desks_where_a_disk_is_watched_too(house):
    room = Room({"output": house.files.output}, 1)
    here = Addresses("http://job-repository:59784", "http://task-launcher:59785")
    launcher = TaskLauncher(house.jobs, house.tasks, house.files, here, house.bus, house.clock, room=room)
    answer = await house.call(launcher, "POST", "/api/v1/retry", json={"TimeoutDuration": "15s"})
    assert (answer.status_code, answer.text) == (200, "")
