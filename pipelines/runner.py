"""Runs installed pipelines: claims launched jobs, has worker processes do them, reports what came of it."""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from contracts import meters, web
from contracts.desk import LONGEST_AWAY, Desk, pause_after
from contracts.disk import bare_name, inside
from contracts.errors import AppError, BadRequest
from contracts.events import Fact, PipelineStarted
from contracts.models import Job, PipelineInfo, State
from contracts.openapi import Operations
from contracts.ports import Bus, Clock, Delivery, JobQuery, Jobs
from contracts.room import Room
from contracts.waiting import check_room
from pipelines.delivery import discard, scratch_of
from pipelines.models import Models, ModelSource
from pipelines.registry import Installed
from pipelines.reports import BY, fact_of
from pipelines.workers import Closed, Limits, Outcome, RunRequest, Status, Workers

log = logging.getLogger(__name__)
REGISTER_SECONDS = 30.0


class Registrar(Protocol):
    """Who wants to know which pipelines are alive."""

    async def register(self, worker: str, pipelines: Sequence[Mapping[str, Any]]) -> None: ...


class Runner:
    """The pipelines of one host. The bus only wakes it: jobs are claimed from the repository, with a lease
    that is kept alive while they run, so a lost message or a lost runner loses no job."""

    name = "pipeline-sim"

    def __init__(
        self,
        jobs: Jobs,
        registrar: Registrar,
        plugins: Mapping[str, Installed],
        workers: Workers,
        bus: Bus,
        clock: Clock,
        *,
        worker: str,
        size: int,
        lease_seconds: float = 60.0,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        own_limits: Mapping[str, Limits] | None = None,
        drain_seconds: float = 10.0,
        room: Room | None = None,
        files: Path | None = None,
        models: ModelSource | None = None,
        model_cache: Path = Path("models"),
    ) -> None:
        """``worker`` names this runner and no other; ``size`` jobs run at once; times in seconds. ``limits`` hold for
        every pipeline but those that have ``own_limits``, by topic. ``room`` for outputs: without it nothing is
        claimed. ``files`` is the folder in which images are read and results written, whatever a job says; None:
        anywhere. ``models``: where others than the pipelines' own are chosen and fetched; None: there are no others.
        ``model_cache``: a folder of this runner's own for them."""
        self._room, self._files = room, files
        self._jobs, self._registrar, self._workers, self._bus, self._clock = jobs, registrar, workers, bus, clock
        self._plugins = {topic: plugin for topic, plugin in plugins.items() if not plugin.error}
        wanted = {topic: plugin.plugin for topic, plugin in self._plugins.items()}
        self._models = Models(models, wanted, model_cache, workers.run) if models is not None else None
        self._worker, self._lease, self._drain = worker, lease_seconds, drain_seconds
        self._late = False
        self._limits, self._own_limits = limits, own_limits or {}
        # One more than can run for each process: it must not stand idle while a result is reported.
        self._most_again = size - 1 if size > 1 else None
        self._again: set[tuple[str, int]] = set()
        """Runs in hand of jobs that a run has put off before. They never take all processes: should they hang until
        their time is over once more, others go on meanwhile."""
        self._desk = Desk("pipelines", self._claim, self._work_on, _name_of, slots=2 * size, every=1.0, exclusive=True)
        self.desks = (self._desk, *([room] if room else ()), *([self._models] if self._models else ()))
        self._seconds = meters.histogram(
            "cytobus_pipeline_seconds", "Time of pipelines, by what came of it (s)", ["pipeline", "outcome"]
        )
        for (
            topic
        ) in self._plugins:  # there from the start: what appears with its first count has not grown, to Prometheus
            self._seconds.labels(topic, str(Status.DONE))
        self._replaced = meters.histogram(
            "cytobus_worker_replacement_seconds", "Time in which a worker process that had ended was replaced (s)"
        )
        self._workers.on_replaced = self._replaced.observe
        self.meters = (self._seconds, self._replaced, *([room] if room else ()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Claims and runs while the context is open. On exit jobs in hand get ``drain_seconds`` to finish;
        what is not done then is given back and runs again later."""
        await self._workers.start()
        wakes = dict.fromkeys(self._plugins, self._wake)
        present = asyncio.create_task(self._be_present())
        late: asyncio.Task[None] | None = None
        try:
            async with self._bus.subscribe(f"runner-{self._worker}", wakes):
                await self._give_back()
                async with self._models.running() if self._models else nullcontext(), self._desk.running():
                    try:
                        yield
                    finally:  # also when the process is told to stop, which cancels
                        late = asyncio.create_task(self._close_later())
        finally:
            if late is not None:
                late.cancel()
            present.cancel()
            await self._workers.close()
            await self._give_back(tries=1)

    async def _close_later(self) -> None:
        await asyncio.sleep(self._drain)
        self._late = True
        await self._workers.close()

    async def _give_back(self, tries: int = 1_000_000) -> None:
        """Whatever an earlier life of this runner held is free again."""
        for failures in range(tries):
            try:
                if released := await self._jobs.release(self._worker):
                    log.info("%d jobs of an earlier run are taken up again", released)
                return
            except AppError as error:
                log.warning("the job repository does not answer: %s", error)
                if failures + 1 < tries:
                    await asyncio.sleep(pause_after(failures, longest=LONGEST_AWAY, chance=random.random()))

    async def _be_present(self) -> None:
        """Say again and again which pipelines are alive here."""
        while True:
            try:
                await self._registrar.register(self._worker, self.described())
            except Exception as error:  # whatever it is, the next time may do
                log.info("the task launcher does not hear which pipelines are alive here: %s", error)
            await asyncio.sleep(REGISTER_SECONDS)

    def described(self) -> list[dict[str, Any]]:
        """What is said of the installed pipelines: topic, name, description, parameters."""
        return [
            {
                "topic": topic,
                "name": plugin.name,
                "description": plugin.description,
                "parameters": {
                    name: {"kind": p.kind.__name__, "default": p.default, "description": p.description}
                    for name, p in plugin.parameters.items()
                },
                "about": dict(plugin.about),
            }
            for topic, plugin in self._plugins.items()
        ]

    async def _wake(self, _delivery: Delivery) -> None:
        self._desk.wake()

    async def _claim(self, free: int) -> Sequence[Job]:
        await check_room(self._room, self._jobs, JobQuery(states=(State.RUNNING,)), BY)
        again = None if self._most_again is None else max(0, self._most_again - len(self._again))
        topics = tuple(topic for topic in self._plugins if self.takes(topic))
        if not topics:
            return []
        jobs = await self._jobs.claim(self._worker, topics, free, self._lease, again)
        self._again |= {_run_of(job) for job in jobs if job.not_before}
        return jobs

    def takes(self, topic: str) -> bool:
        """Whether jobs of a pipeline are taken now."""
        return self._models is None or bool(self._models.usable((topic,)))

    def model_of(self, topic: str) -> Path | None:
        """The folder of the model that the next job of a pipeline is to use; None: its own."""
        return self._models.folder(topic) if self._models is not None else None

    async def _work_on(self, job: Job) -> None:
        try:
            await self.work_on(job)
        finally:
            self._again.discard(_run_of(job))

    async def work_on(self, job: Job) -> None:
        """Run one claimed job and report it."""
        details = job.pipeline_details
        try:
            request = self._request(job)
        except (BadRequest, ValueError) as error:
            with suppress(Closed):
                await self._tell(self._fact_of(job, Outcome(Status.BAD_INPUT, reason=str(error)[:500])))
            return
        run = asyncio.create_task(self._workers.run(request))
        alive = asyncio.create_task(self._keep_lease(job, run))
        begun = time.monotonic()
        try:
            outcome = await run
            self._seconds.labels(details.pipeline_id, str(outcome.status)).observe(time.monotonic() - begun)
            await self._tell(self._fact_of(job, outcome))
        except (Closed, asyncio.CancelledError):
            return  # given back at the end, or no longer ours
        finally:
            alive.cancel()  # not before it is told: what is finished must not be taken over meanwhile
        await asyncio.to_thread(discard, scratch_of(request.folder, request.job, request.attempt))

    def _limits_of(self, job: Job) -> Limits:
        return self._own_limits.get(job.pipeline_details.pipeline_id, self._limits)

    def _request(self, job: Job) -> RunRequest:
        """What a worker is to do. Raises ``BadRequest`` or ``ValueError`` for a job that names places it must not."""
        details, limits = job.pipeline_details, self._limits_of(job)
        image = Path(job.input_file.dir_name) / bare_name(job.input_file.name)
        folder = Path(details.output_folder)
        if self._files is not None:
            for path in (image, folder):
                if not path.is_absolute():
                    raise BadRequest(
                        f"{str(path)[:200]!r} is not a path from the root on: name one below {self._files}"
                    )
                inside(self._files, path)
        return RunRequest(
            job=job.id,
            topic=details.pipeline_id,
            plugin=self._plugins[details.pipeline_id].plugin,
            image=image,
            folder=folder,
            parameters=dict(details.parameters or {}),
            attributes=dict(job.input_file.attributes or {}),
            timeout=limits.timeout,
            memory_bytes=limits.memory_bytes,
            attempt=job.attempts,
            sha256=job.input_file.sha256,
            model=self.model_of(details.pipeline_id),
        )

    async def _keep_lease(self, job: Job, run: "asyncio.Task[Outcome]") -> None:
        """Prolong the lease; should another have taken the job, stop working on it."""
        while True:
            await asyncio.sleep(self._lease / 3)
            until = self._clock() + int(self._lease * 1e9)
            fact = PipelineStarted(job_id=job.id, by=BY, worker=self._worker, lease_until=until, seconds=self._lease)
            try:
                (verdict,) = await self._jobs.report([fact])
            except Exception as error:  # whatever it is, the job still runs, and the next time may do
                log.warning("the lease of job %s could not be prolonged: %s", job.id, error)
                continue
            if verdict.error or verdict.job is None or verdict.job.state is not State.RUNNING:
                log.warning("job %s is no longer ours: %s", job.id, verdict.error or "it has moved on")
                run.cancel()
                return

    def _fact_of(self, job: Job, outcome: Outcome) -> Fact:
        tries, chance = self._limits_of(job).attempts, random.random()
        return fact_of(job, outcome, worker=self._worker, tries=tries, now=self._clock(), chance=chance)

    async def _tell(self, fact: Fact) -> None:
        """Report until it is taken: the work is done and must not be lost for a repository's restart. Raises ``Closed``
        when the runner has to end before."""
        failures = 0
        while True:
            try:
                (verdict,) = await self._jobs.report([fact])
                if verdict.error:
                    log.warning("what became of job %s is not taken: %s", fact.job_id, verdict.error)
                return
            except AppError as error:
                if not error.retry:
                    raise
                if self._late:
                    raise Closed("the runner is stopped, and the job repository does not answer") from error
                failures += 1
                await asyncio.sleep(pause_after(failures, longest=LONGEST_AWAY, chance=random.random()))

    # --- the contract's calls

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/pipelines", self.on_pipelines, methods=["GET"])]

    def operations(self) -> Operations:
        """The routes, described."""
        from pipelines.openapi import operations

        return operations()

    async def on_pipelines(self, _request: Request) -> Response:
        return web.json(
            [
                PipelineInfo(
                    id=str(uuid.uuid4()), name=plugin.name, description=plugin.description, subscriptionTopic=topic
                ).model_dump()
                for topic, plugin in self._plugins.items()
            ]
        )


def _name_of(job: Job) -> str:
    return job.id


def _run_of(job: Job) -> tuple[str, int]:
    return job.id, job.attempts
