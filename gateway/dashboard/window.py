"""Which rows a page of jobs shows, and what becomes of them as jobs change."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from contracts.models import Job
from contracts.ports import JobQuery


@dataclass
class Window:
    """The jobs on one page, in its order. What comes in is seen at once at the top of the first page of the newest, and
    of those that have changed last; on other pages it makes them ``stale``: to be read anew soon."""

    query: JobQuery
    jobs: dict[str, Job] = field(default_factory=dict)
    stale: bool = False

    def show(self, jobs: Iterable[Job]) -> None:
        """These, and no others."""
        self.jobs = {job.id: job for job in jobs}

    def change(self, changed: Sequence[Job], gone: Iterable[str] = ()) -> tuple[set[str], bool]:
        """The jobs whose rows must be drawn anew, and whether there are others than before, or in another order."""
        before = list(self.jobs)
        drawn: set[str] = set()
        for job in changed:
            known = self.jobs.get(job.id)
            if known is not None and job.last_updated >= known.last_updated:
                self.jobs[job.id] = job
                drawn.add(job.id)
        fresh = {job.id: job for job in changed if job.id not in self.jobs and self._is_wanted(job)}
        for job_id in gone:
            self.jobs.pop(job_id, None)
        drawn |= self._ordered(fresh, moved=bool(drawn))
        return drawn & self.jobs.keys(), list(self.jobs) != before

    def _ordered(self, fresh: dict[str, Job], *, moved: bool) -> set[str]:
        """Puts fresh jobs where they belong; those that have come in."""
        query = self.query
        at_top = query.newest_first and query.after is None
        if query.sort == "name":
            self.stale |= any(self._lies_within(job.input_file.name) for job in fresh.values())
            return set()
        if query.sort == "changed":
            self.stale |= not at_top and (moved or bool(fresh))
            return self._put(fresh, lambda job: job.last_updated) if at_top else set()
        oldest = next(reversed(self.jobs.values()), None)
        newer = {job_id: job for job_id, job in fresh.items() if oldest is None or job.created >= oldest.created}
        # The order is that of registration; times of registration tell it but for what came at the same moment.
        return self._put(newer, lambda job: job.created, known=False) if at_top and newer else set()

    def _put(self, fresh: dict[str, Job], key: Callable[[Job], int], *, known: bool = True) -> set[str]:
        """Newest first, as many as are asked for. ``known``: those that are shown already may move, too."""
        if known:
            whole = sorted([*fresh.values(), *self.jobs.values()], key=key, reverse=True)
        else:
            whole = [*sorted(fresh.values(), key=key, reverse=True), *self.jobs.values()]
        self.jobs = {job.id: job for job in whole[: self.query.limit]}
        return set(fresh)

    def _lies_within(self, name: str) -> bool:
        """Whether a name may be between the first and the last on this page."""
        names = sorted(job.input_file.name for job in self.jobs.values())
        full, later = len(names) >= self.query.limit, self.query.after is not None
        up = not self.query.newest_first
        open_below, open_above = (not later, not full) if up else (not full, not later)
        return not names or ((open_below or names[0] <= name) and (open_above or name <= names[-1]))

    def _is_wanted(self, job: Job) -> bool:
        """By the filters."""
        query, details = self.query, job.pipeline_details
        wanted = (
            (query.origin_host, job.origin_host),
            (query.task, details.task_id),
            (query.pipeline, details.pipeline_id),
        )
        return (
            all(asked is None or asked == found for asked, found in wanted)
            and (not query.states or job.state in query.states)
            and (query.name_contains or "").lower() in job.input_file.name.lower()
            and (query.updated_since or 0) <= job.last_updated < (query.updated_until or 2**63)
        )
