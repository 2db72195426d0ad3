"""Which rows a page of jobs shows, and what becomes of them as jobs change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contracts.models import Job
from contracts.ports import JobQuery


@dataclass
class Window:
    """The jobs on one page, in its order. New jobs come in at the top of the first page of the newest, no others."""

    query: JobQuery
    jobs: dict[str, Job] = field(default_factory=dict)

    def show(self, jobs: Iterable[Job]) -> None:
        """These, and no others."""
        self.jobs = {job.id: job for job in jobs}

    def change(self, changed: Sequence[Job], gone: Iterable[str] = ()) -> tuple[set[str], bool]:
        """The jobs whose rows must be drawn anew, and whether there are others than before."""
        before = list(self.jobs)
        drawn: set[str] = set()
        for job in changed:
            known = self.jobs.get(job.id)
            if known is not None and job.last_updated >= known.last_updated:
                self.jobs[job.id] = job
                drawn.add(job.id)
        fresh = [job for job in changed if job.id not in self.jobs and self._belongs(job)]
        for job_id in gone:
            self.jobs.pop(job_id, None)
        if fresh:
            # The order is that of registration; times of registration tell it but for what came at the same moment.
            newest = sorted(fresh, key=lambda job: job.created, reverse=True)
            whole = [*newest, *self.jobs.values()][: self.query.limit]
            self.jobs = {job.id: job for job in whole}
            drawn |= {job.id for job in newest}
        return drawn & self.jobs.keys(), list(self.jobs) != before

    def _belongs(self, job: Job) -> bool:
        query, details = self.query, job.pipeline_details
        if not query.newest_first or query.after is not None:
            return False
        oldest = next(reversed(self.jobs.values()), None)
        if oldest is not None and job.created < oldest.created:
            return False
        wanted = (
            (query.origin_host, job.origin_host),
            (query.task, details.task_id),
            (query.pipeline, details.pipeline_id),
        )
        return (
            all(asked is None or asked == found for asked, found in wanted)
            and (not query.states or job.state in query.states)
            and (query.name_contains or "").lower() in job.input_file.name.lower()
            and job.last_updated >= (query.updated_since or 0)
        )
