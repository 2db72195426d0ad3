"""What retention decides: which jobs' files have lain long enough, and what is rubbish of our own making."""

import re
from dataclasses import dataclass

from contracts.models import Files, Job, State

DAY = 86_400 * 10**9
"""in nanoseconds"""
SCRATCH = re.compile(r"\.(?P<job>.+)~\d+\.part")
"""A folder in which a pipeline made a job's outputs."""
PART = re.compile(r"\.[0-9a-f]{32}\.tmp|\..+\.part|.+_archive_.+\.jpeg\.part")
"""A file that was to become another and did not."""
ARCHIVED = re.compile(r".*_archive_(?P<job>.+)_\d+_(input|output)(\..*)?", re.DOTALL)
"""A file in the archive."""


@dataclass(frozen=True)
class Keep:
    """How long files are kept: ``days`` and ``failed_days`` after a job was made, and how many of archive and rejects
    (``most_bytes``); 0: for ever, and as many as come."""

    days: float = 0.0
    most_bytes: int = 0
    failed_days: float = 0.0

    def before(self, now: int) -> int:
        """Files of jobs made at this time (ns) or earlier may have to go for their age; 0: none has to."""
        ages = [days for days in (self.days, self.failed_days) if days]
        return max(0, now - int(min(ages) * DAY)) if ages else 0

    def is_too_old(self, job: Job, now: int) -> bool:
        """Whether a job's files have lain long enough."""
        days = self.days if job.state is State.COMPLETE else self.failed_days
        return job.files is Files.REMOVING or bool(days and job.created <= now - int(days * DAY))

    def may_make_room(self, job: Job) -> bool:
        """Whether a job's files may go, where archive and rejects take too much room."""
        return job.state is State.COMPLETE and bool(job.input_file.archive_name)


def scratch_job(name: str) -> str:
    """The job in whose scratch folder of this name outputs were made; empty where it is no such folder."""
    found = SCRATCH.fullmatch(name)
    return found["job"] if found else ""


def archived_job(name: str) -> str:
    """The job of a file of this name in the archive; empty where we gave no such name."""
    found = ARCHIVED.fullmatch(name)
    return found["job"] if found else ""
