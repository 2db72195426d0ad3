# ruff: noqa: SLF001 - mistakes are planted inside
"""Runs a service of the spread world with a mistake built in, to see whether the machine finds it.

``python -m tests.faults.planted_spread MISTAKE serve job-repository …``
"""

import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.faults.planted import CHOSEN, no_file_sync, no_idempotency


def answer_before_commit() -> None:
    """The repository answers as soon as the database has heard, and commits a moment later."""
    from gateway import writer

    careful = writer.Writer._work_off

    def hasty(self: Any, group: list[Any]) -> None:
        told = False
        try:
            with self._engine.begin() as connection:
                answers = writer._bulk_answers(group, connection)
                answers += [writer._answer(request, connection) for request in group if request.bulk is None]
                for request, result, failure in answers:
                    writer._tell(request, result, failure)
                told = True
                time.sleep(0.2)
        except Exception:
            if not told:
                careful(self, group)

    writer.Writer._work_off = hasty


def created_twice() -> None:
    """A job that is registered once more is a new job: nobody looks whether it is known."""
    from contracts import rules
    from contracts.events import JobCreated

    advance = rules.advance

    def forgetful(job: Any, fact: Any, at: int) -> Any:
        if isinstance(fact, JobCreated) and job is not None:
            fact = fact.model_copy(update={"job_id": str(uuid.uuid4())})
            return advance(None, fact, at)
        return advance(job, fact, at)

    rules.advance = forgetful


def no_fencing() -> None:
    """Whoever reports a job's outputs is believed, also when another run has the job by now."""
    from contracts import rules
    from contracts.events import PipelineReported

    reported = rules.DECISIONS[PipelineReported]

    def trusting(job: Any, fact: Any, at: int) -> Any:
        return reported(job, fact.model_copy(update={"worker": "", "attempt": 0}), at)

    rules.DECISIONS = rules.DECISIONS | {PipelineReported: trusting}


def no_digest_after_download() -> None:
    """What has come from the gateway is taken for what was announced."""
    from edge.file_receiver import download

    download._fits = lambda pieces, digest: True
    verified = download._Pulling._verified

    def believing(self: Any) -> str:
        announced, self._sha256 = self._sha256, ""
        found = verified(self)
        return announced or found

    download._Pulling._verified = believing


def bus_trusted() -> None:
    """Services never look by themselves, and the bus loses one message in five."""
    from contracts.bus.redis import RedisBus
    from contracts.desk import Desk

    publish = RedisBus.publish

    async def losing(self: Any, topic: str, payload: bytes, *, key: str = "") -> None:
        if random.random() < 0.8:
            await publish(self, topic, payload, key=key)

    RedisBus.publish = losing  # type: ignore[method-assign]
    make = Desk.__init__

    def waiting(self: Any, *arguments: Any, **more: Any) -> None:
        make(self, *arguments, **(more | {"every": 1e6}))

    Desk.__init__ = waiting  # type: ignore[method-assign]


def damage_believed() -> None:
    """A result that is not as long as its pipeline has said is taken for what it is now."""
    from gateway.task_launcher import outputs

    careful = outputs.inspected

    def believing(file: Any, folder: str, root: Any) -> Any:
        return careful(file.evolve(sha256="", size=None), folder, root)

    outputs.inspected = believing


PLANTED: dict[str, Callable[[], None]] = {
    "answer-before-commit": answer_before_commit,
    "created-twice": created_twice,
    "delivered-twice": no_idempotency,
    "no-fencing": no_fencing,
    "no-digest-after-download": no_digest_after_download,
    "bus-trusted": bus_trusted,
    "unsynced": no_file_sync,
    "damage-believed": damage_believed,
}
AIMED: dict[str, tuple[str, ...]] = {
    "answer-before-commit": ("kill -9: job-repository", "PostgreSQL", "line cut: database"),
    "created-twice": ("requests said twice",),
    "delivered-twice": ("kill -9 as a result", "line cut: edge"),
    "no-fencing": ("runner stands still",),
    "no-digest-after-download": ("bit turned in a download",),
    "bus-trusted": ("broker away", "kill -9: the broker"),
    "unsynced": ("power cut",),
    "damage-believed": ("result that waits",),
}
"""The faults, by the beginnings of their names, that each of them fears."""
SETTINGS: dict[str, dict[str, str]] = {
    # A runner that stood still must find its results, not that their time is up: then it gives up by itself.
    "no-fencing": {"CYTOBUS_PIPELINES__TIMEOUT_SECONDS": "12"},
}
"""What the world is told otherwise, so that no other guard hides the mistake."""

if __name__ == "__main__":
    os.environ[CHOSEN] = sys.argv.pop(1)
if __name__ in ("__main__", "__mp_main__"):
    PLANTED[os.environ[CHOSEN]]()
if __name__ == "__main__":
    from compose.cli import app

    app()
