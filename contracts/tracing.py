"""Spans of work on jobs, where somebody wants them; else nothing, at no cost.

A job's id is a UUID and a trace's id has as many bits, so the job's id is the trace's: the spans of all processes
join one trace without anything being passed on.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Open = Callable[[str, str, dict[str, str | int]], AbstractContextManager[None]]
"""Opens a span: name, job id, attributes."""

_open: Open | None = None


def trace_with(opener: Open | None) -> None:
    """From now on spans are opened so; with None no more."""
    global _open
    _open = opener


def span(name: str, job_id: str, **attributes: str | int) -> AbstractContextManager[None]:
    """A span while the context is open. An error that leaves it marks it."""
    if _open is None or not job_id:
        return nullcontext()
    return _open(name, job_id, attributes)
