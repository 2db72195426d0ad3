"""The job repository's routes: every row of the contract's table 2.1, and our additions."""

import httpx
import pytest

from contracts.errors import BadRequest
from contracts.events import jobs_in
from contracts.hosting import app_of
from contracts.models import State
from contracts.ports import JobQuery
from tests.support import stories as s

JOB = {"InputFile": {"Hostname": "oem", "DirName": "/in/", "Name": "a.tiff", "Extension": ".tiff"}}
FILE = JOB["InputFile"]


def without(field: str) -> dict:
    return {"InputFile": {name: value for name, value in FILE.items() if name != field}}


@pytest.fixture
def call(house):
    async def called(method, path, **options):
        return await house.call(house.jobs, method, f"/api/v1{path}", **options)

    return called


@pytest.fixture
async def launched(house):
    """A job that waits for the answer of task-1's pipeline."""
    await house.store.apply([*s.full_story()[:3], s.requested(lease_until=s.NOW + 10**12)])
    return "/job/pipeline/job-1/task-1"


async def test_a_new_job_is_201_with_its_bare_id_and_is_kept_as_it_was_sent(house, call):
    sent = JOB | {"Owner": "data-organizer", "Status": "Incomplete", "Verification": 1, "LastUpdated": 7}
    answer = await call("POST", "/job", json=sent)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (201, "text/plain")
    job = await house.one()
    assert answer.text == job.id
    assert (job.owner, job.status, job.verification, job.last_updated) == ("data-organizer", "Incomplete", 1, s.NOW)
    assert job.state is State.CREATED
    document = (await call("GET", f"/job/{job.id}")).json()
    assert document["ErrorDetails"] == {"Owner": "", "Error": ""}
    assert document["PipelineDetails"]["OutputFiles"] is None
    assert house.outbox(jobs_in(State.CREATED, "oem"))


async def test_the_same_place_again_is_409_with_the_existing_id_and_another_spelling_of_it_is_another(house, call):
    first = await call("POST", "/job", json=JOB)
    again = await call("POST", "/job", json=JOB | {"Owner": "other"})
    assert (again.status_code, again.text, again.headers["content-type"]) == (
        409, first.text, first.headers["content-type"],
    )  # fmt: skip
    assert (await house.one()).owner == ""
    assert (await call("POST", "/job", json={"InputFile": FILE | {"DirName": "/in"}})).status_code == 201


@pytest.mark.parametrize(("body", "status", "words"), [
    (JOB | {"Id": "x"}, 400, "failed to create job: id already specified\n"),
    *[(without(name), 400, "failed to create job: failed to validate job") for name in FILE],
    ({}, 400, "failed to create job: failed to validate job"),
    (b"", 400, "failed to unmarshal request (/api/v1/job): unexpected end of JSON input\n"),
    (b"{", 400, "failed to unmarshal request (/api/v1/job): "),
    (b"[]", 400, "failed to unmarshal request (/api/v1/job): "),
    ({"Verification": "1"}, 400, "failed to unmarshal request (/api/v1/job): "),
    ({"InputFile": {"Attributes": {"row": 8}}}, 400, "failed to unmarshal request (/api/v1/job): "),
    (b'{"LastUpdated": 9223372036854775808}', 400, "failed to unmarshal request (/api/v1/job): "),
])  # fmt: skip
async def test_a_job_that_cannot_be_kept_is_refused_in_plain_text(house, call, body, status, words):
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = await call("POST", "/job", **sent)
    assert answer.status_code == status
    assert answer.text.startswith(words)
    assert answer.text.endswith("\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert await house.store.counts() == {}


async def test_keys_match_in_any_case_and_a_body_without_a_length_is_taken(house, call):
    async def pieces():
        yield b'{"inputfile": {"HOSTNAME": "oem", "dirname": "/in/", "nAme": "a.tiff", '
        yield b'"extension": ".tiff", "unknown": 1}, "owner": null}'

    answer = await call("POST", "/job", content=pieces())
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 201
    assert (await house.one()).input_file.name == "a.tiff"


async def test_the_listing_is_an_array_even_when_it_is_empty(call):
    answer = await call("GET", "/job")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"[]", "application/json")


async def test_times_beyond_what_a_float_can_hold_are_whole_numbers_on_the_wire(house, call):
    house.clock.now = 1_795_212_693_520_638_771
    job_id = (await call("POST", "/job", json=JOB)).text
    assert b'"LastUpdated":1795212693520638771,' in (await call("GET", f"/job/{job_id}")).content


async def test_what_could_be_markup_is_escaped_as_go_does(call):
    await call("POST", "/job", json={"InputFile": FILE | {"Name": "<a&b>.tiff"}})
    assert rb"\u003ca\u0026b\u003e.tiff" in (await call("GET", "/job")).content


@pytest.mark.parametrize(("language", "status"), [
    ("zh", "完成"), ("zh-CN,zh;q=0.9", "完成"), ("fr, zh;q=0.5, en;q=0.1", "完成"), ("en,zh;q=0.9", "Complete"),
    ("", "Complete"), ("fr", "Complete"), ("zh;q=0", "Complete"), ("zh;q=x", "Complete"),
])  # fmt: skip
async def test_only_the_whole_listing_is_translated(house, call, language, status):
    await house.store.apply(s.full_story())
    headers = {"Accept-Language": language}
    (job,) = (await call("GET", "/job", headers=headers)).json()
    assert job["Status"] == status
    (job,) = (await call("GET", "/job/owner/none", headers=headers)).json()
    assert job["Status"] == "Complete"
    assert (await call("GET", "/job/job-1", headers=headers)).json()["Status"] == "Complete"


@pytest.mark.parametrize("path", ["/job", "/job/owner/data-organizer"])
async def test_a_listing_names_its_next_page_until_there_is_none(house, call, path):
    await house.store.apply([s.created(str(n)) for n in range(7)])
    answer, seen = await call("GET", f"{path}?limit=3&order=asc&name=a.ti"), []
    while True:
        seen += [job["Id"] for job in answer.json()]
        if "next" not in answer.links:
            break
        following = httpx.URL(answer.links["next"]["url"])
        answer = await call("GET", f"{path}?{following.query.decode()}")
    assert seen == [str(n) for n in range(7)]


@pytest.mark.parametrize("query", ["limit=x", "order=up", "after=", "state=nowhere", f"after={10**30}", "due_at=1.5"])
async def test_a_query_that_cannot_be_read_is_refused_naming_the_parameter(call, query):
    answer = await call("GET", f"/job?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.text


@pytest.mark.parametrize("owner", [
    "none", "file-watcher", "data-organizer", "file-sender-oem", "file-receiver-gateway", "task-launcher",
    "file-sender-gateway", "file-receiver-oem",
])  # fmt: skip
async def test_jobs_can_be_listed_by_each_of_the_eight_owners(call, owner):
    answer = await call("GET", f"/job/owner/{owner}")
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize("owner", ["job-repository", "Data-Organizer", "x"])
async def test_other_owners_are_refused(call, owner):
    answer = await call("GET", f"/job/owner/{owner}")
    assert answer.status_code == 500
    assert f"invalid input got {owner}, expected proper owner name" in answer.text


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_job_is_404_where_the_predecessor_said_500(call, method):
    answer = await call(method, "/job/none")
    assert answer.status_code == 404
    assert "job id not found for none" in answer.text


async def test_deleting_frees_the_place(house, call):
    job_id = (await call("POST", "/job", json=JOB)).text
    answer = await call("DELETE", f"/job/{job_id}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await call("POST", "/job", json=JOB)).status_code == 201


@pytest.mark.parametrize(("body", "status", "words"), [
    ({"Status": "PipelineComplete", "OutputFiles": []}, 200, ""),
    ({"STATUS": "PipelineFailed"}, 200, ""),
    ({"Status": "PipelineComplete", "TaskId": "x", "OutputFileHost": "elsewhere"}, 200, ""),
    ({"Status": "pipelinecomplete"}, 400, "invalid Status value 'pipelinecomplete'\n"),
    ({}, 400, "invalid Status value ''\n"),
    ({"Status": "PipelineComplete", "Results": 5}, 500, "failed to unmarshal request ("),
    ({"Status": "PipelineComplete", "OutputFiles": [{"ErrorDetails": "text"}]}, 500, "failed to unmarshal request ("),
    (b"", 500, "failed to unmarshal request (/api/v1/job/pipeline/job-1/task-1): "),
    (b"nonsense", 500, "failed to unmarshal request ("),
])  # fmt: skip
async def test_a_pipelines_first_call(house, call, launched, body, status, words):
    answer = await call("PUT", launched, **({"content": body} if isinstance(body, bytes) else {"json": body}))
    assert answer.status_code == status
    assert answer.text.startswith(words)
    details = (await house.one()).pipeline_details
    assert (details.task_id, details.output_file_host) == ("task-1", "gateway")


@pytest.mark.parametrize("place", ["/job/pipeline/none/task-1", "/job/pipeline/job-1/other"])
async def test_a_pipelines_call_for_another_job_or_task_is_400(call, launched, place):
    answer = await call("PUT", place, json={"Status": "PipelineComplete"})
    assert answer.status_code == 400
    assert answer.text.startswith("url jobid" if "none" in place else "url taskid")


@pytest.mark.parametrize("outputs", [None, []])
async def test_no_outputs_and_an_empty_list_are_told_apart(house, call, launched, outputs):
    body = {"Status": "PipelineComplete"} | ({} if outputs is None else {"OutputFiles": outputs})
    assert (await call("PUT", launched, json=body)).content == b""
    details = (await call("GET", "/job/job-1")).json()["PipelineDetails"]
    assert details["OutputFiles"] == outputs
    assert (details["QCFlags"], details["Results"]) == ("", "")


async def test_a_pipelines_late_call_on_a_finished_job_is_answered_and_changes_nothing(house, call):
    await house.store.apply(s.full_story())
    before = await house.one()
    answer = await call("PUT", "/job/pipeline/job-1/task-1", json={"Status": "PipelineFailed", "Results": "late"})
    assert answer.status_code == 200
    assert await house.one() == before


async def test_a_pipelines_call_before_the_launch_is_refused_until_it_is_time(house, call):
    await house.store.apply([*s.full_story()[:4]])
    await house.store.change("job-1", lambda job: job.evolve(state=State.RECEIVED), "test", "step back")
    answer = await call("PUT", "/job/pipeline/job-1/task-1", json={"Status": "PipelineComplete"})
    assert (answer.status_code, answer.headers["retry-after"]) == (425, "1")


@pytest.mark.parametrize(("method", "path", "status", "body"), [
    ("GET", "/nowhere", 404, "404 page not found\n"), ("GET", "/job/", 404, "404 page not found\n"),
    ("POST", "/job/", 404, "404 page not found\n"), ("PATCH", "/job", 405, ""), ("POST", "/job/x", 405, ""),
    ("GET", "/job/pipeline/a/b", 405, ""), ("OPTIONS", "/job", 405, ""),
])  # fmt: skip
async def test_unknown_paths_and_wrong_methods_are_answered_as_go_does(call, method, path, status, body):
    answer = await call(method, path)
    assert (answer.status_code, answer.text) == (status, body)
    assert "allow" not in answer.headers


async def test_browsers_of_any_origin_may_ask(call):
    asked = {"Origin": "http://ui", "Access-Control-Request-Method": "PUT"}
    answer = await call("OPTIONS", "/job/x", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-max-age"] == "3600"
    assert {verb.strip() for verb in answer.headers["access-control-allow-methods"].split(",")} == {
        "GET", "POST", "PUT", "PATCH", "DELETE",
    }  # fmt: skip
    assert (await call("GET", "/job", headers={"Origin": "http://ui"})).headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in (await call("GET", "/job")).headers


async def test_every_service_answers_ping_version_and_health(house):
    app = app_of(house.jobs)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
        ping = (await client.get("/api/v2/ping")).json()
        assert (ping["apiVersion"], ping["serviceName"]) == ("v2", "app-job-repository")
        assert set((await client.get("/api/v2/version")).json()) == {
            "apiVersion", "version", "serviceName", "sdk_version",
        }  # fmt: skip
        assert (await client.get("/api/v1/health")).json()["state"] == "ok"


@pytest.mark.parametrize("number", [2**63, 10**25, -1])
async def test_a_number_that_no_database_holds_is_400_and_changes_nothing(house, call, launched, number):
    before = await house.one()
    for fact in (
        {"kind": "step-failed", "state": "running", "trouble": "t", "reason": "r", "retry_at": number},
        {"kind": "pipeline-started", "worker": "w", "lease_until": number},
        {"kind": "input-delivered", "hostname": "h", "dir_name": "d", "sha256": s.DIGEST, "size": number},
    ):
        answer = await call("POST", "/facts", json=[fact | {"job_id": "job-1", "by": "x"}])
        assert answer.status_code == 400, answer.text
    assert await house.one() == before


async def test_more_pipelines_than_anybody_runs_are_not_asked_for(call):
    claim = {"worker": "w", "pipelines": ["p"] * 1001}
    assert (await call("POST", "/claims", json=claim)).status_code == 400


async def test_what_the_database_cannot_hold_is_the_askers_fault(house):
    await house.store.apply([s.created("job-1")])
    with pytest.raises(BadRequest, match="cannot keep"):
        await house.store.find(JobQuery(after=2**63))
    with pytest.raises(BadRequest, match="cannot keep"):
        await house.store.change("job-1", lambda job: job.evolve(not_before=2**63), "x", "y")
