"""The job repository as the smallest thing that keeps its promises: a dict and the rules."""

import time
from collections.abc import Iterable, Sequence
from itertools import islice

from contracts import events as ev
from contracts import rules
from contracts.errors import AppError, NotFound
from contracts.models import Job, State
from contracts.ports import JobQuery, Page


class FakeJobs:
    """``contracts.ports.Jobs`` without persistence. ``facts`` is everything told, in order.

    While ``down`` is set, every call raises it; while ``deaf`` is, only ``report`` does.
    """

    def __init__(self, *jobs: Job) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.facts: list[ev.Fact] = []
        self.down: AppError | None = None
        self.deaf: AppError | None = None
        self.restored = ""

    async def report(self, facts: Sequence[ev.Fact]) -> list[ev.Verdict]:
        self._answer()
        if self.deaf is not None:
            raise self.deaf
        return [self._judge(fact) for fact in facts]

    async def find(self, query: JobQuery) -> Page:
        self._answer()
        found = list(enumerate(job for job in self.jobs.values() if matches(query, job)))
        if query.newest_first:
            found.reverse()
        if query.after is not None:
            found = [(n, job) for n, job in found if (n < query.after if query.newest_first else n > query.after)]
        page = found[: query.limit]
        return Page(tuple(job for _, job in page), page[-1][0] if len(found) > len(page) else None)

    async def get(self, job_id: str) -> Job:
        self._answer()
        if job_id not in self.jobs:
            raise NotFound(f"no job {job_id}")
        return self.jobs[job_id]

    async def epoch(self) -> str:
        self._answer()
        return self.restored

    async def claim(
        self, worker: str, pipelines: Sequence[str], limit: int, seconds: float, retries: int | None = None
    ) -> list[Job]:
        self._answer()
        now = time.time_ns()
        until = now + int(seconds * 1e9)
        free = list(islice(self._waiting(pipelines, now), limit))
        facts = [ev.PipelineStarted(job_id=job.id, by=worker, worker=worker, lease_until=until) for job in free]
        return [verdict.job for verdict in await self.report(facts) if verdict.job and not verdict.error]

    async def release(self, worker: str) -> int:
        self._answer()
        held = [job.id for job in self.jobs.values() if job.lease_holder == worker]
        await self.report([ev.WorkerReleased(job_id=name, by=worker, worker=worker) for name in held])
        return len(held)

    def _waiting(self, pipelines: Sequence[str], now: int) -> Iterable[Job]:
        for job in self.jobs.values():
            free = not job.lease_holder or job.lease_until <= now
            if job.state is State.RUNNING and free and job.pipeline_details.pipeline_id in pipelines:
                yield job

    def _judge(self, fact: ev.Fact) -> ev.Verdict:
        self.facts.append(fact)
        now = time.time_ns()
        old = self.jobs.get(fact.job_id)
        try:
            new = rules.advance(old, fact, now)
        except AppError as error:
            return ev.Verdict(job=old, status=error.status, error=str(error))
        if new is old:
            return ev.Verdict(job=old)
        self.jobs[new.id] = new = new.evolve(last_updated=now)
        return ev.Verdict(job=new, changed=True)

    def _answer(self) -> None:
        if self.down is not None:
            raise self.down


def matches(query: JobQuery, job: Job) -> bool:
    """Whether a job is among those asked for (of the query's fields, those that concern one job alone)."""
    details = job.pipeline_details
    wanted: list[tuple[object, object]] = [
        (query.owner, job.owner),
        (query.status, job.status),
        (query.origin_host, job.origin_host),
        (query.pipeline, details.pipeline_id),
        (query.task, details.task_id),
        (query.batch, job.batch),
    ]
    return (
        all(asked is None or asked == found for asked, found in wanted)
        and (not query.states or job.state in query.states)
        and (query.name_contains or "") in job.input_file.name
        and job.last_updated >= (query.updated_since or 0)
        and (query.due_at is None or job.not_before <= query.due_at)
    )
