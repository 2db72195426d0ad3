"""Says in jobs what they wait for, when a step cannot be begun now through no fault of theirs."""

import asyncio

from contracts.errors import Full
from contracts.events import JobWaits
from contracts.models import Job
from contracts.ports import JobQuery, Jobs
from contracts.room import Room

MOST = 100
"""So many jobs are told at once; the others learn it when they are next."""


async def check_room(room: Room | None, jobs: Jobs, query: JobQuery, by: str) -> None:
    """Raises ``Full`` when there is no room for what the jobs of a query wait for; the oldest then say so."""
    if room is None:
        return
    try:
        await asyncio.to_thread(room.check)
    except Full as error:
        page = await jobs.find(query.model_copy(update={"newest_first": False, "limit": MOST}))
        await say_waiting(jobs, page.jobs, by, error.waits)
        raise


async def say_waiting(jobs: Jobs, waiting: tuple[Job, ...], by: str, reason: str) -> None:
    """Jobs that do not say so yet, say what they wait for. Nothing happens to those that are worked on."""
    silent = [job for job in waiting if job.reason != reason and not job.lease_holder]
    facts = [JobWaits(job_id=job.id, by=by, state=job.state, reason=reason) for job in silent]
    if facts:
        await jobs.report(facts)
