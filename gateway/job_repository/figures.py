"""What the job repository counts and says of jobs on their way."""

import time
from collections.abc import Sequence

from contracts import meters, steps
from contracts.events import Fact, PipelineStarted, StepFailed
from contracts.models import FINAL, Job, State
from contracts.ports import Clock
from contracts.tracing import span
from gateway.job_repository.outbox import Outbox
from gateway.job_repository.relay import Relay
from gateway.job_repository.store import JobStore

FRESH = 2.0
"""Seconds for which counts from the database are believed: many may ask, one query is made."""


class Figures:
    """Counters of facts and ended jobs; the rest is read from the database when it is asked for."""

    def __init__(self, store: JobStore, outbox: Outbox, relay: Relay, clock: Clock) -> None:
        self._store, self._outbox, self._clock = store, outbox, clock
        self._read_at = -FRESH
        self._facts = meters.counter("cytobus_facts", "Facts that changed a job, by kind", ["fact"])
        self._retries = meters.counter("cytobus_step_failures", "Steps that failed and count against a job", ["state"])
        self._ended = meters.counter("cytobus_jobs_ended", "Jobs that came to their end", ["state"])
        for state in State:  # there from the start: what appears with its first count has not grown, to Prometheus
            self._retries.labels(str(state))
            if state in FINAL:
                self._ended.labels(str(state))
        self._taken = meters.histogram("cytobus_job_seconds", "From a job's registration to its end (s)")
        self._jobs = meters.gauge("cytobus_jobs", "Jobs by state", ["state"])
        self._oldest = meters.gauge("cytobus_oldest_unfinished_job_age_seconds", "Age of the oldest job on its way")
        self._waiting = meters.gauge("cytobus_outbox_messages", "Messages that wait for the bus")
        self._relayed = meters.Tallies(
            {
                "cytobus_outbox_published": ("Messages given to the bus", lambda: relay.published),
                "cytobus_outbox_dropped": ("Messages that the bus will never take", lambda: relay.dropped),
            }
        )

    @property
    def meters(self) -> Sequence[meters.Collector]:
        return (
            self._facts,
            self._retries,
            self._ended,
            self._taken,
            self._jobs,
            self._oldest,
            self._waiting,
            self._relayed,
        )

    def count(self, fact: Fact, job: Job) -> None:
        """A fact has changed a job."""
        self._facts.labels(fact.kind).inc()
        if isinstance(fact, PipelineStarted) and job.state not in FINAL:
            return
        if isinstance(fact, StepFailed):
            self._retries.labels(str(fact.state)).inc()
        if job.state in FINAL and fact.kind != "previews-made":
            self._ended.labels(str(job.state)).inc()
            self._taken.observe(max(0.0, (self._clock() - (job.begun or job.created)) / 1e9))
        with span(fact.kind, job.id, file=job.input_file.name, state=str(job.state), by=fact.by):
            steps.note(f"{fact.kind} by {fact.by}, now {job.state}", job.id, job.input_file.name)

    async def refresh(self) -> None:
        """Read what only the database knows."""
        if time.monotonic() - self._read_at < FRESH:
            return
        self._read_at = time.monotonic()
        counts = await self._store.counts()
        for state in State:
            self._jobs.labels(str(state)).set(counts.get(str(state), 0))
        oldest = await self._store.oldest_unfinished()
        self._oldest.set(0 if oldest is None else max(0.0, (self._clock() - oldest) / 1e9))
        self._waiting.set(await self._outbox.depth())
