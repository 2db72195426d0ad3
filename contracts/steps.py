"""One line for each step of a file's way, by which it can be followed through the logs of all services."""

import logging

log = logging.getLogger("cytobus.steps")


def note(what: str, job_id: str, name: str) -> None:
    """Say that a step was taken; the line bears the job's id as its correlation id."""
    if log.isEnabledFor(logging.INFO):
        log.info("%s: %s", what, name, extra={"correlation_id": job_id})
