"""The id that follows a file through all processes: its job's."""

from contextvars import ContextVar

correlation: ContextVar[str] = ContextVar("correlation", default="")
"""The id of the job that is being dealt with; empty where it is about none, or none alone."""

HEADER = "X-Correlation-ID"
"""In which requests carry it, and answers echo it: EdgeX's convention."""


def id_of(thing: object) -> str:
    """The job id of a thing that has one: a job, or a row about one."""
    found = getattr(thing, "job_id", None) or getattr(thing, "id", "")
    return found if isinstance(found, str) else ""
