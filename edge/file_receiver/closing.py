"""Closes the rows of files whose jobs have ended in another way than by an output brought home."""

from contracts.desk import Desk
from contracts.models import FINAL, Job
from contracts.ports import JobQuery, Jobs
from edge.journal import Journal
from edge.rows import SECOND, FileState, Row, Step

CURSOR = "jobs ended until"
OVERLAP = 30 * SECOND
"""Looked at twice: jobs whose end was committed a little out of order."""
PAGE = 500


class Closing:
    """Every row whose job has ended (failed, unmatched, results only …) is done, with the job's end as its outcome."""

    def __init__(self, journal: Journal, jobs: Jobs, host: str, every: float) -> None:
        self._journal, self._jobs, self._host = journal, jobs, host
        self.desk: Desk[Job] = Desk("closing", self._close_ended, self._nothing, lambda job: job.id, every=every)

    async def _close_ended(self, _limit: int) -> list[Job]:
        """Go through all jobs that ended since the last time; nothing is left to hand out."""
        since = int(await self._journal.noted(CURSOR) or 0)
        latest, after = since, None
        while True:
            page = await self._jobs.find(
                JobQuery(
                    states=tuple(sorted(FINAL)),
                    origin_host=self._host,
                    updated_since=max(0, since - OVERLAP),
                    newest_first=False,
                    after=after,
                    limit=PAGE,
                )
            )
            await self._close(page.jobs)
            latest = max([latest, *(job.last_updated for job in page.jobs)])
            after = page.next
            if after is None:
                break
        if latest > since:
            await self._journal.note(CURSOR, str(latest))
        return []

    async def _close(self, jobs: tuple[Job, ...]) -> None:
        rows = await self._journal.of_jobs([job.id for job in jobs])
        steps = [closed(rows[job.id], job) for job in jobs if job.id in rows]
        if waiting := [step for step in steps if step.was == FileState.SENT]:
            await self._journal.step(waiting)

    async def _nothing(self, _job: Job) -> None:
        """Never called: looking is all there is to do."""


def closed(row: Row, job: Job) -> Step:
    """The row done, with the job's end as its outcome."""
    return Step(row.id, FileState(row.state), FileState.DONE, str(job.state), job.reason)
