"""The repositories over HTTP behave as the objects in the same process do."""

import socket

import httpx
import pytest
from starlette.responses import Response

from contracts.client import HttpJobs, HttpTasks, call
from contracts.errors import (
    AppError,
    Away,
    BadRequest,
    Conflict,
    Forbidden,
    Full,
    NotFound,
    Throttled,
    TooEarly,
    Unauthorized,
    Unavailable,
    error_of,
)
from contracts.events import Message
from contracts.listing import params_of, query_of
from contracts.models import Job, State, Task
from contracts.ports import JobQuery
from tests.support import stories as s
from tests.support.house import house_in
from tests.support.proxy import Fault, proxied
from tests.support.serving import listening


@pytest.fixture
async def house(tmp_path):
    async with house_in(tmp_path) as house:
        yield house


@pytest.fixture(params=["in process", "over HTTP"])
async def jobs(request, house):
    if request.param == "in process":
        yield house.jobs
        return
    async with listening(house.jobs) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield HttpJobs(client)


@pytest.fixture(params=["in process", "over HTTP"])
async def tasks(request, house):
    if request.param == "in process":
        yield house.launcher
        return
    async with listening(house.launcher) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield HttpTasks(client)


async def test_facts_are_told_in_order_and_each_gets_its_verdict(jobs):
    verdicts = await jobs.report([s.created("a"), s.archived("a"), s.sending("nobody"), *s.full_story("b")])
    assert [verdict.status for verdict in verdicts] == [200, 425, 404] + [200] * 10
    assert [verdict.changed for verdict in verdicts[:3]] == [True, False, False]
    assert verdicts[0].job.id == "a"
    assert verdicts[-1].job == await jobs.get("b")
    assert await jobs.report([]) == []


@pytest.mark.parametrize("upwards", [True, False])
async def test_a_bit_that_turns_in_a_fact_or_a_verdict_is_noticed(house, upwards):
    job_id = "x" * 2000  # somewhere in it the bit turns
    async with (
        listening(house.jobs) as port,
        proxied(port, [Fault("flip", 1000, upwards)]) as proxy,
        httpx.AsyncClient(base_url=proxy.url) as client,
    ):
        with pytest.raises(Unavailable, match="came damaged"):
            await HttpJobs(client).report([s.created(job_id)])
        (verdict,) = await HttpJobs(client).report([s.created(job_id)])
    assert proxy.struck == 1
    assert verdict.job.id == job_id
    assert [job.id for job in (await house.store.find(JobQuery())).jobs] == [job_id]


async def test_messages_ride_with_their_facts(jobs, house):
    fact = s.created().model_copy(update={"messages": (Message(topic="t/ö", payload="\u2028<&>"),)})
    await jobs.report([fact])
    rows = house.database.rows("SELECT payload FROM outbox WHERE topic = 't/ö'")
    async with house.jobs.running():
        pass
    assert rows in ([("\u2028<&>",)], [])  # over HTTP the repository runs and may have sent it already


async def test_a_job_comes_back_as_it_is_kept(jobs):
    odd = s.created("ö-1", "zelle €<&>\u2028.tiff", attributes={"Lab": "Zürich", "k.e.y": ""}, size=2**53 + 1)
    (verdict,) = await jobs.report([odd])
    job = await jobs.get("ö-1")
    assert job == verdict.job
    assert job.input_file == odd.input_file
    assert job.last_updated == s.NOW


@pytest.mark.parametrize("job_id", ["none", "a/b", "a?b#c", "100%", "..", " "])
async def test_a_job_that_is_not_there_is_not_found(jobs, job_id):
    with pytest.raises(NotFound):
        await jobs.get(job_id)


async def test_all_pages_give_all_jobs_once(jobs):
    await jobs.report([s.created(str(n)) for n in range(25)])
    query, seen = JobQuery(newest_first=False, limit=10, states=(State.CREATED, State.RUNNING)), []
    while True:
        page = await jobs.find(query)
        seen += [job.id for job in page.jobs]
        if page.next is None:
            break
        query = query.model_copy(update={"after": page.next})
    assert seen == [str(n) for n in range(25)]


async def test_listings_are_narrowed_and_ordered_alike(jobs):
    await jobs.report([s.created("a", "x&y=1.tiff"), s.created("b", "%2F+ö.tiff"), *s.full_story("c")[:9]])

    async def found(**narrowed):
        return [job.id for job in (await jobs.find(JobQuery(**narrowed))).jobs]

    assert await found() == ["c", "b", "a"]
    assert await found(newest_first=False) == ["a", "b", "c"]
    assert await found(name_contains="&y=") == ["a"]
    assert await found(name_contains="%2F+ö") == ["b"]
    assert await found(wants_preview=True) == ["c"]
    assert await found(wants_preview=False) == ["b", "a"]
    assert await found(owner="none", status="Complete", pipeline="only-file", task="task-1") == ["c"]
    assert await found(updated_since=s.NOW + 1) == ["c"]
    assert await found(due_at=s.NOW - 1, origin_host="oem", lease_over_at=2**62) == []


@pytest.mark.parametrize("worker", ["pc-1", "lab/pc 1", "ö#?%"])
async def test_jobs_are_claimed_and_given_back_by_name(jobs, worker):
    await jobs.report([*s.full_story("a")[:4], *s.full_story("b")[:4]])
    claimed = await jobs.claim(worker, ["only-file"], 1, 60.0)
    assert [(job.id, job.lease_holder, job.attempts) for job in claimed] == [("a", worker, 1)]
    assert await jobs.release("nobody") == 0
    assert await jobs.release(worker) == 1
    assert [job.id for job in await jobs.claim("other", ["only-file", "more"], 9, 60.0)] == ["a", "b"]
    assert await jobs.claim("other", [], 9, 60.0) == []


async def test_tasks_match_alike(tasks, house):
    assert await tasks.match([Job()]) == [False]
    await house.launcher.create(
        Task(description="d", job_selector='{"in":["a",{"var":"InputFile.Name"}]}', pipeline_id="p")
    )
    told = [s.told([s.created(name=name)]) for name in ("a.tiff", "b", "ba")]
    assert await tasks.match(told) == [True, False, True]
    assert await tasks.match([]) == []


async def test_pipelines_register_alike(tasks, house):
    parameter = {"kind": "float", "default": 0.5, "description": "how sure"}
    await tasks.register("w", [{"topic": "t", "name": "n", "description": "d", "parameters": {"p": parameter}}])
    (known,) = await house.tasks.registered()
    assert (known.topic, known.worker, known.last_seen, dict(known.parameters)) == ("t", "w", s.NOW, {"p": parameter})


async def test_a_repository_that_is_down_is_unavailable_and_may_be_asked_again():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base) as client:
            jobs, tasks = HttpJobs(client), HttpTasks(client)
            calls = [
                jobs.report([s.created()]), jobs.find(JobQuery()), jobs.get("a"), jobs.claim("w", [], 1, 1),
                jobs.release("w"), tasks.match([]), tasks.register("w", []),
            ]  # fmt: skip
            for asked in calls:
                with pytest.raises(Unavailable, match=base) as caught:
                    await asked
                assert caught.value.retry


@pytest.mark.parametrize(("status", "kind", "retry"), [
    (400, BadRequest, False), (404, NotFound, False), (409, Conflict, False), (425, TooEarly, True),
    (503, Away, True), (507, Full, True), (500, Unavailable, True), (502, Away, True),
    (429, Throttled, True), (401, Unauthorized, True), (403, Forbidden, False),
    (418, BadRequest, False), (413, BadRequest, False),
])  # fmt: skip
async def test_answers_become_errors_of_our_own(status, kind, retry):
    transport = httpx.ASGITransport(app=Response("because\n", status))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        with pytest.raises(AppError, match="because") as caught:
            await call(client, "GET", "/")
    assert type(caught.value) is kind
    assert caught.value.retry is retry
    assert issubclass(kind, type(error_of(status, "x")))


def test_a_query_survives_its_way_through_a_query_string():
    query = JobQuery(
        states=(State.RUNNING, State.FAILED), owner="o", status="s", origin_host="h", pipeline="p/q", task="t",
        name_contains="n", updated_since=2**62, due_at=1, lease_over_at=2, wants_preview=False, newest_first=False,
        after=7, limit=5,
    )  # fmt: skip
    assert query_of(params_of(query)) == query
    assert query_of(params_of(JobQuery())) == JobQuery()
    assert query_of({"limit": "0"}).limit == 1
    assert query_of({"limit": "99999"}).limit == 1000
