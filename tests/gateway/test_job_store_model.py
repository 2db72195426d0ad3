"""The job store against a plain dict of jobs, advanced by the same rules, for any sequence of calls."""

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts import rules
from contracts.errors import AppError
from contracts.models import State
from contracts.ports import JobQuery
from gateway.job_repository.store import JobStore
from tests.support import stories as s
from tests.support.house import opened

NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.sampled_from([
    s.created, s.sending, s.unmatched, s.input_delivered, s.requested, s.reported, s.confirmed,
    s.outputs_delivered, s.archived, s.previewed, s.released, s.retried, s.cancelled, s.applied,
])  # fmt: skip
WORKERS = st.sampled_from(["w1", "w2"])


class StoreAndDict(RuleBasedStateMachine):
    """What the store keeps is what the rules say, whatever is asked of it and in whatever groups."""

    dialect = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict = {}
        self.folder = Path(mkdtemp())
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        database = self.runner.run(
            self.stack.enter_async_context(opened(self.folder / "jobs.db", dialect=self.dialect))
        )
        self.clock, self.store = database.clock, JobStore(database.writer, database.readers, database.clock)

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def expect(self, fact) -> int:
        """The rules' answer to a fact, as an HTTP status; the dict is advanced."""
        old = self.jobs.get(fact.job_id)
        try:
            new = rules.advance(old, fact, self.clock())
        except AppError as error:
            return error.status
        if new is not old:
            self.jobs[new.id] = new.evolve(last_updated=max(self.clock(), old.last_updated + 1 if old else 0))
        return 200

    @rule(facts=st.lists(st.tuples(STEPS, NAMES), min_size=1, max_size=6))
    def tell(self, facts):
        self.apply([step(name) for step, name in facts])

    @rule(name=NAMES, steps=st.integers(1, 10))
    def tell_part_of_a_story(self, name, steps):
        self.apply(s.full_story(name)[:steps])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), pause=st.sampled_from([0, 3]))
    def fail(self, data, pause):
        name = data.draw(st.sampled_from(sorted(self.jobs)))
        retry_at = pause and self.clock() + pause * 10**9
        self.apply([s.failed_step(self.jobs[name].state, name, retry_at=retry_at)])

    def apply(self, facts) -> None:
        expected = [self.expect(fact) for fact in facts]
        assert [verdict.status for verdict in self.runner.run(self.store.apply(facts))] == expected

    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def claim(self, worker, limit):
        now = self.clock()
        free = [
            job.id
            for job in self.jobs.values()
            if job.state is State.RUNNING and job.not_before <= now and (not job.lease_holder or job.lease_until <= now)
        ][:limit]
        for name in free:
            self.expect(s.started(name, worker, now + 5 * 10**9))
        claimed = self.runner.run(self.store.claim(worker, ["only-file"], limit, 5.0))
        assert [job.id for job in claimed] == [name for name in free if self.jobs[name].lease_holder == worker]

    @rule(worker=WORKERS)
    def release(self, worker):
        held = [job.id for job in self.jobs.values() if job.lease_holder == worker]
        for name in held:
            self.expect(s.worker_released(name, worker))
        assert self.runner.run(self.store.release(worker)) == len(held)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), word=st.sampled_from([s.released, s.retried, s.cancelled, s.applied]))
    def an_operator_speaks(self, data, word):
        name = data.draw(st.sampled_from(sorted(self.jobs)))
        old = self.jobs[name]
        self.apply([word(name)])
        new = self.runner.run(self.store.get(name))
        if new.state is not old.state:
            line = self.runner.run(self.store.history(name))[-1]
            assert (line["By"], line["From"], line["To"]) == ("operator", old.state, new.state)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), version=st.integers(1, 3))
    def a_task_is_applied(self, data, version):
        """Whatever else is told of a job: one version of a task sends it on its way once, unless it could not."""
        name = data.draw(st.sampled_from(sorted(self.jobs)))
        for _ in range(2):
            self.apply([s.applied(name, version=s.NOW + version)])
        job = self.jobs[name]
        processed = [one.pipeline_details for one in job.earlier if one.pipeline_details.task_version]
        assert len({(one.task_id, one.task_version) for one in processed}) == len(processed)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def delete(self, data):
        name = data.draw(st.sampled_from(sorted(self.jobs)))
        self.runner.run(self.store.delete(name))
        del self.jobs[name]

    @rule(seconds=st.integers(1, 6))
    def time_passes(self, seconds):
        self.clock.turn(seconds)

    @invariant()
    def the_store_keeps_what_the_rules_say(self):
        page = self.runner.run(self.store.find(JobQuery(newest_first=False)))
        assert list(page.jobs) == list(self.jobs.values())

    @invariant()
    def the_columns_say_the_same_as_the_documents(self):
        for state in (State.RUNNING, State.COMPLETE, State.QUARANTINED, State.CANCELLED):
            page = self.runner.run(self.store.find(JobQuery(states=(state,), newest_first=False)))
            assert [job.id for job in page.jobs] == [job.id for job in self.jobs.values() if job.state is state]


class StoreOnPostgresqlAndDict(StoreAndDict):
    dialect = "postgresql"


USUAL = settings(max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
StoreAndDict.TestCase.settings = StoreOnPostgresqlAndDict.TestCase.settings = USUAL
TestStore, TestStoreOnPostgresql = StoreAndDict.TestCase, StoreOnPostgresqlAndDict.TestCase
