"""The job store: facts, history, outbox in one transaction; claims; listings."""

import asyncio
from collections import Counter

import pytest

from contracts import edgex
from contracts.errors import NotFound
from contracts.events import Message, jobs_in
from contracts.models import InputFile, Job, State
from contracts.ports import JobQuery
from contracts.states import MAX_ATTEMPTS
from gateway.job_repository.outbox import Outbox
from gateway.job_repository.store import JobStore
from tests.support import stories as s
from tests.support.stories import NOW

OUTBOX = "SELECT topic, key FROM outbox ORDER BY seq"


@pytest.fixture
def base(database):
    """A migrated database, of each dialect."""
    return database


@pytest.fixture
def store(base):
    return JobStore(base.writer, base.readers, base.clock)


@pytest.fixture
def outbox(base):
    return Outbox(base.writer, base.readers)


async def running(store, *names: str, pipeline: str = "only-file") -> None:
    """Jobs that wait for their pipeline."""
    for name in names:
        await store.apply([*s.full_story(name)[:3], s.requested(name, pipeline)])


async def test_a_whole_story_told_at_once_ends_complete_with_a_line_for_each_step(store):
    verdicts = await store.apply(s.full_story())
    assert [verdict.error for verdict in verdicts] == [""] * 10
    assert all(verdict.changed for verdict in verdicts)
    job = await store.get("job-1")
    assert job.state is State.COMPLETE
    lines = await store.history("job-1")
    assert [line["What"] for line in lines] == [fact.kind for fact in s.full_story()]
    assert [line["To"] for line in lines[:4]] == ["created", "sending", "received", "running"]
    assert lines[4]["Why"] == "taken by w1"
    assert all(line["At"] == NOW for line in lines)


async def test_each_change_has_a_later_time_even_when_the_clock_stands_still_or_steps_back(store, base):
    (first,) = await store.apply([s.created()])
    base.clock.turn(-3600)
    (second,) = await store.apply([s.sending()])
    assert second.job.last_updated > first.job.last_updated


async def test_a_fact_that_is_refused_hinders_no_other_and_its_verdict_says_why(store):
    verdicts = await store.apply([s.created("a"), s.archived("a"), s.sending("nobody"), s.created("b")])
    assert [verdict.status for verdict in verdicts] == [200, 425, 404, 200]
    assert verdicts[1].job.id == "a"
    assert "nobody" in verdicts[2].error
    assert await store.counts() == {"created": 2}


async def test_messages_leave_only_with_a_fact_that_changed_the_job(store, base):
    letter = (Message(topic="only-file", payload="launch"),)
    launch = s.requested().model_copy(update={"messages": letter})
    await store.apply([*s.full_story()[:2], launch])  # too early
    assert ("only-file", "job-1") not in base.rows(OUTBOX)
    await store.apply([s.input_delivered(), launch, launch])
    await store.apply([launch])
    assert base.rows(OUTBOX).count(("only-file", "job-1")) == 1


async def test_each_new_state_is_announced_and_a_kept_lease_is_not(store, base):
    await store.apply([s.created()])
    await store.apply([s.sending(), s.input_delivered(), s.requested()])
    await store.apply([s.started(until=NOW + 5)])
    lines = len(await store.history("job-1"))
    await store.apply([s.started(until=NOW + 9)])
    assert base.rows(OUTBOX) == [(jobs_in(State.CREATED, "oem"), "job-1"), (jobs_in(State.RUNNING, "oem"), "job-1")]
    assert len(await store.history("job-1")) == lines
    payload = base.rows("SELECT payload FROM outbox ORDER BY seq")[-1][0]
    told = edgex.unpack(payload.encode())
    assert told.correlation_id == "job-1"
    assert told.event.readings[0].object_value["Owner"] == "task-launcher"


async def test_what_is_sent_leaves_the_outbox_and_nothing_else_does(store, outbox):
    await store.apply([s.created(str(n)) for n in range(5)])
    tried = []

    async def publish(rows):
        tried.append([row.key for row in rows])
        return [row.seq for row in rows if row.key != "1"]

    assert await outbox.send(3, publish) == 3
    assert await outbox.depth() == 3
    assert await outbox.send(10, publish) == 3
    assert tried == [["0", "1", "2"], ["1", "3", "4"]]
    assert await outbox.depth() == 1


async def test_two_claimers_at_once_never_share_a_job(store, base):
    await running(store, *[f"j{n}" for n in range(40)])
    claims = await asyncio.gather(*(store.claim(f"w{n % 4}", ["only-file"], 5, 60) for n in range(12)))
    taken = Counter(job.id for claimed in claims for job in claimed)
    assert len(taken) == 40
    assert set(taken.values()) == {1}
    assert [job.id for job in claims[0]] == ["j0", "j1", "j2", "j3", "j4"]
    assert await store.claim("late", ["only-file"], 5, 60) == []
    held = base.rows("SELECT lease_holder, count(*) FROM job GROUP BY 1 ORDER BY 1")
    assert held == [(f"w{n}", 10) for n in range(4)]


async def test_only_jobs_of_the_pipelines_asked_for_whose_back_off_is_over_can_be_claimed(store, base):
    await running(store, "mine")
    await running(store, "other", pipeline="other")
    await running(store, "resting")
    await store.apply([s.failed_step(State.RUNNING, "resting", retry_at=NOW + 5 * 10**9)])
    assert [job.id for job in await store.claim("w", ["only-file", "nuclei"], 9, 60)] == ["mine"]
    base.clock.turn(5)
    assert [job.id for job in await store.claim("w", ["only-file"], 9, 60)] == ["resting"]
    assert await store.claim("w", [], 9, 60) == []


async def test_of_jobs_that_a_run_has_put_off_no_more_are_claimed_than_are_asked_for(store, base):
    await running(store, "first", "second", "fresh", "fresher")
    for name in ("first", "second"):
        await store.apply([s.failed_step(State.RUNNING, name, retry_at=NOW + 5 * 10**9)])
    base.clock.turn(5)
    assert [job.id for job in await store.claim("w", ["only-file"], 1, 60, 0)] == ["fresh"]
    assert [job.id for job in await store.claim("w", ["only-file"], 9, 60, 1)] == ["first", "fresher"]
    assert await store.claim("w", ["only-file"], 9, 60, 0) == []
    assert [job.id for job in await store.claim("w", ["only-file"], 9, 60)] == ["second"]


async def test_a_pause_that_was_set_by_a_wrong_clock_is_not_waited_for(store):
    await running(store, "hasty")
    await store.apply([s.failed_step(State.RUNNING, "hasty", retry_at=NOW + 3600 * 10**9)])
    assert [job.id for job in (await store.find(JobQuery(due_at=NOW))).jobs] == ["hasty"]
    assert [job.id for job in await store.claim("w", ["only-file"], 9, 60)] == ["hasty"]


async def test_a_job_whose_lease_is_over_is_taken_by_another_and_the_attempt_is_counted(store, base):
    await running(store, "j")
    (first,) = await store.claim("dead", ["only-file"], 1, 60)
    base.clock.turn(59)
    assert await store.claim("w", ["only-file"], 1, 60) == []
    base.clock.turn(1)
    (second,) = await store.claim("w", ["only-file"], 1, 60)
    assert (first.attempts, second.attempts, second.lease_holder) == (1, 2, "w")


async def test_a_job_that_is_claimed_again_and_again_is_quarantined_and_not_handed_out(store, base):
    await running(store, "j")
    for _ in range(MAX_ATTEMPTS):
        assert len(await store.claim("w", ["only-file"], 1, 1)) == 1
        base.clock.turn(2)
    assert await store.claim("w", ["only-file"], 1, 1) == []
    assert (await store.get("j")).state is State.QUARANTINED


async def test_a_worker_gives_back_all_it_held_and_nobody_elses(store, base):
    await running(store, "a", "b", "c")
    await store.claim("w1", ["only-file"], 2, 60)
    await store.claim("w2", ["only-file"], 1, 60)
    assert await store.release("w1") == 2
    assert await store.release("w1") == 0
    assert [job.id for job in await store.claim("w3", ["only-file"], 9, 60)] == ["a", "b"]
    assert (await store.get("c")).lease_holder == "w2"


@pytest.mark.parametrize("newest_first", [True, False])
async def test_paging_gives_every_job_once_while_others_are_added(store, newest_first):
    await store.apply([s.created(f"old-{n}") for n in range(3000)])
    query, seen, pages = JobQuery(newest_first=newest_first, limit=250), [], 0
    while True:
        page = await store.find(query)
        seen += [job.id for job in page.jobs]
        pages += 1
        if page.next is None:
            break
        if pages < 6:
            await store.apply([s.created(f"new-{pages}-{n}") for n in range(20)])
        query = query.model_copy(update={"after": page.next})
    assert len(seen) == len(set(seen))
    old = [name for name in seen if name.startswith("old")]
    assert old == [f"old-{n}" for n in (reversed(range(3000)) if newest_first else range(3000))]
    assert any(name.startswith("new") for name in seen) != newest_first


async def test_every_filter_narrows_to_what_it_says(store, base):
    await store.apply([s.created("plain", "x_1.tiff"), s.created("other-host", "100%.tiff", host="scope-2")])
    await running(store, "launched")
    await store.apply([*s.full_story("foreign")[:3], s.requested("foreign", "x/y", lease_until=NOW + 7)])
    await store.apply(s.full_story("done")[:9])
    await store.apply([*s.full_story("seen"), s.created("resting")])
    await store.apply([s.failed_step(State.CREATED, "resting", retry_at=NOW + 9)])
    base.clock.turn(1)
    await store.apply([s.created("late"), s.unmatched("late")])

    async def found(**narrowed):
        return {job.id for job in (await store.find(JobQuery(**narrowed))).jobs}

    everything = await found()
    assert len(everything) == 8
    assert await found(states=(State.RUNNING, State.UNMATCHED)) == {"launched", "foreign", "late"}
    assert await found(owner="task-launcher") == {"launched", "foreign"}
    assert await found(status="Complete") == {"done", "seen"}
    assert await found(origin_host="scope-2") == {"other-host"}
    assert await found(pipeline="x/y") == {"foreign"}
    assert await found(task="task-1", status="Incomplete") == {"launched", "foreign"}
    assert await found(name_contains="0%") == {"other-host"}
    assert await found(name_contains="x_") == {"plain"}
    assert await found(name_contains="X_1.TIF") == {"plain"}  # nobody knows how an instrument writes its names
    assert await found(name_contains="\\") == set()
    assert await found(name_contains="TIFF", origin_host="scope-2") == {"other-host"}
    assert await found(updated_since=NOW + 10**9) == {"late"}
    assert await found(due_at=NOW + 8) == everything - {"resting"}
    assert await found(lease_over_at=NOW + 6) == set()
    assert await found(lease_over_at=NOW + 7) == {"foreign"}
    assert await found(wants_preview=True) == {"done"}
    assert "done" not in await found(wants_preview=False)


async def test_a_deleted_job_is_gone_but_its_history_stays_and_its_place_is_free(store):
    job = Job(id="a", input_file=InputFile(hostname="h", dir_name="/", name="n"), origin_host="h", origin_dir="/")
    assert await store.create(job) == ("a", True)
    assert await store.create(job.evolve(id="b")) == ("a", False)
    await store.delete("a")
    with pytest.raises(NotFound, match="a"):
        await store.get("a")
    with pytest.raises(NotFound):
        await store.delete("a")
    assert [line["What"] for line in await store.history("a")] == ["created", "deleted"]
    assert await store.create(job.evolve(id="c")) == ("c", True)


async def test_an_edit_that_fails_changes_nothing_and_one_that_succeeds_is_announced(store, base):
    await store.apply([s.created()])
    before = await store.get("job-1")

    def refuse(_job):
        raise NotFound("no such entry")

    with pytest.raises(NotFound, match="entry"):
        await store.change("job-1", refuse, "client", "put")
    assert await store.get("job-1") == before
    await store.change("job-1", lambda job: job.evolve(state=State.COMPLETE), "client", "put")
    assert base.rows(OUTBOX)[-1] == (jobs_in(State.COMPLETE, "oem"), "job-1")
