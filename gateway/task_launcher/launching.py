"""Sees received jobs through their pipelines: choose, launch, remind, confirm."""

import asyncio
import logging
import random
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts import events as ev
from contracts.desk import Desk, pause_after
from contracts.disk import is_file, make_folder, sha256_of
from contracts.errors import AppError, Conflict
from contracts.models import FINAL, Job, Owner, PipelineStatus, State, Task, Trouble
from contracts.ports import Clock, JobQuery, Jobs
from contracts.room import Room
from contracts.waiting import check_room
from gateway.files import Changed, GatewayFiles, invalid
from gateway.task_launcher.messages import Messages, Wording
from gateway.task_launcher.outputs import Looked, Outputs
from gateway.task_launcher.rules import Addresses, Choice, choose
from gateway.task_launcher.store import TaskStore

log = logging.getLogger(__name__)
PAGE = 100
ALIVE_NS = 120 * 10**9
"""How long ago a runner was heard of at most that is taken to be alive (ns)."""
Batch = tuple[Job, ...]


class Launching:
    """The work behind the task launcher's routes. A job is launched by one fact: its new state, and the
    message for its pipeline in the same transaction's outbox."""

    def __init__(
        self,
        jobs: Jobs,
        tasks: TaskStore,
        files: GatewayFiles,
        addresses: Addresses,
        hostname: str,
        clock: Clock,
        answer_seconds: float,
        wording: Wording = Wording(),  # noqa: B008 - a frozen value
        room: Room | None = None,
    ) -> None:
        """``room`` for pipelines' outputs: without it nothing is launched."""
        self._room = room
        self._jobs, self._tasks, self._files = jobs, tasks, files
        self._messages, self._outputs = Messages(addresses, clock, wording), Outputs(jobs, files)
        self._hostname, self._clock, self._answer_ns = hostname, clock, int(answer_seconds * 1e9)
        self.troubles: dict[str, str] = {}
        """Task id -> why its rule could not be asked last time."""
        self.launch = Desk("launch", self._look_for_received, self.launch_all, _batch_name, slots=1)
        self.confirm = Desk("confirm", self._look_for_processed, self.confirm_all, _batch_name, slots=1)
        self.remind = Desk("remind", self._look_for_silent, self.remind_all, _batch_name, slots=1, every=10.0)
        self.desks = (self.launch, self.confirm, self.remind)

    async def _look_for_received(self, _free: int) -> Sequence[Batch]:
        await check_room(self._room, self._jobs, JobQuery(states=(State.RECEIVED,)), Owner.TASK_LAUNCHER)
        return await self._page(states=(State.RECEIVED,), due_at=self._clock())

    async def _look_for_processed(self, _free: int) -> Sequence[Batch]:
        return await self._page(states=(State.PROCESSED,), due_at=self._clock())

    async def _look_for_silent(self, _free: int) -> Sequence[Batch]:
        return await self._page(states=(State.RUNNING,), lease_over_at=self._clock())

    async def _page(self, **narrowed: Any) -> Sequence[Batch]:
        page = await self._jobs.find(JobQuery(**narrowed, newest_first=False, limit=PAGE))
        return [page.jobs] if page.jobs else []

    async def choice_for(self, job: Job) -> Choice:
        """The task for a job now. Tasks whose rules fail are remembered with the reason."""
        choice = choose(await self._tasks.tasks(), job)
        for task_id, reason in choice.troubles.items():
            if self.troubles.get(task_id) != reason:
                log.warning("task %s is passed over: %s", task_id, reason)
        self.troubles |= choice.troubles
        return choice

    async def _task_for(self, job: Job) -> Task | None:
        """The task that an operator has applied to the job, as long as there is one; else the first that wants it."""
        if job.applied_task:
            for task in await self._tasks.tasks():
                if task.id == job.applied_task:
                    return task
        return (await self.choice_for(job)).task

    async def launch_all(self, batch: Batch) -> None:
        """Launch received jobs, or say that no task wants them."""
        pulled = await self._pulled(within=ALIVE_NS)
        taken: set[tuple[str, str]] = set()
        facts = [await self._first_step(job, pulled, taken) for job in batch]
        _complain(await self._jobs.report(facts))

    async def _first_step(self, job: Job, pulled: set[str], taken: set[tuple[str, str]]) -> ev.Fact:
        """What is to be said of one received job; what is wrong with it must not hold up the others."""
        task = await self._task_for(job)
        if task is None:
            return ev.JobUnmatched(job_id=job.id, by=Owner.TASK_LAUNCHER)
        try:
            # Runners of ours look at it themselves, at the last moment; others cannot be asked to. The file of a job
            # that had ended may have been cleared away since.
            doubtful = task.pipeline_id not in pulled or job.begun
            if doubtful and (damage := await asyncio.to_thread(self._damage, job)):
                return ev.InputDamaged(job_id=job.id, by=Owner.TASK_LAUNCHER, reason=damage)
            return await self._request(job, task, task.pipeline_id in pulled, taken)
        except (AppError, OSError, ValueError) as error:
            pause = pause_after(job.failures, first=1.0, chance=random.random())
            return ev.StepFailed(
                job_id=job.id,
                by=Owner.TASK_LAUNCHER,
                state=State.RECEIVED,
                trouble=Trouble.PUBLISH,
                reason=f"cannot be launched for task {task.id}: {error}",
                retry_at=self._clock() + int(pause * 1e9),
            )

    def _damage(self, job: Job) -> str:
        """What is wrong with the file of a job; empty if nothing is. Raises ``OSError``."""
        file = job.input_file
        path = Path(file.dir_name) / file.name
        if not is_file(path):
            if path.parent.is_dir() or job.begun:
                return f"{file.name} is no longer here"
            return ""  # perhaps the folder is not mounted here; the pipeline will say so
        sound = not file.sha256 or sha256_of(self._files.input_path(file)) == file.sha256
        return "" if sound else f"{file.name} is not the file that arrived"

    async def _request(self, job: Job, task: Task, pulled: bool, taken: set[tuple[str, str]]) -> ev.PipelineRequested:
        """The launch of a job. ``taken`` holds folder and file name of those launched with it."""
        folder = self._folder(job, task)
        mine = (folder, job.input_file.name)
        if not pulled and (mine in taken or await self._clashes(job, folder)):
            folder = str(Path(folder) / job.id)
            await asyncio.to_thread(make_folder, Path(folder))
        taken.add(mine)
        request = ev.PipelineRequested(
            job_id=job.id,
            by=Owner.TASK_LAUNCHER,
            task_id=task.id,
            task_version=task.last_updated,
            pipeline_id=task.pipeline_id,
            output_host=self._hostname,
            output_folder=folder,
            parameters=dict(task.model_parameters or {}),
            lease_until=self._clock() + self._answer_ns,
            launch=secrets.token_hex(8),
        )
        return self._with_order(job, request)

    def check_folder(self, task: Task) -> None:
        """Raises ``BadRequest`` for a task whose results would lie outside the gateway's files."""
        if task.result_file_folder:
            self._files.results_folder(task.result_file_folder)

    def _folder(self, job: Job, task: Task) -> str:
        if not task.result_file_folder:
            return job.input_file.dir_name
        return str(self._files.results_folder(task.result_file_folder))

    async def _clashes(self, job: Job, folder: str) -> bool:
        """Whether an unfinished job of the same file name writes to this folder: a foreign pipeline would
        overwrite its outputs."""
        open_states = tuple(state for state in State if state not in FINAL and state is not State.CREATED)
        page = await self._jobs.find(JobQuery(states=open_states, name_contains=job.input_file.name))
        return any(
            other.id != job.id
            and other.input_file.name == job.input_file.name
            and other.pipeline_details.output_folder == folder
            for other in page.jobs
        )

    def _with_order(self, job: Job, request: ev.PipelineRequested) -> ev.PipelineRequested:
        order = self._messages.order(job, request)
        return request.model_copy(update={"messages": (order,)})

    async def remind_all(self, batch: Batch) -> None:
        """Pipelines have not taken these jobs up in time: tell them again. For those that do not claim their jobs it
        counts as a failure; jobs of the others only wait their turn, or for their runner to come back."""
        pulled = await self._pulled()
        facts: list[ev.Fact] = []
        for job in batch:
            if job.pipeline_details.pipeline_id not in pulled:
                facts.append(self._silence(job))
            facts.append(self._told_again(job))
        _complain(await self._jobs.report(facts))

    async def _pulled(self, within: int | None = None) -> set[str]:
        """The pipelines whose runners claim their jobs; those heard of lately (ns), or all that ever were."""
        since = 0 if within is None else self._clock() - within
        return {pipeline.topic for pipeline in await self._tasks.registered() if pipeline.last_seen >= since}

    async def tell_again(self, jobs: Sequence[Job]) -> None:
        """An operator wants pipelines told again; that is nobody's failure."""
        _complain(await self._jobs.report([self._told_again(job, by_operator=True) for job in jobs]))

    def _silence(self, job: Job) -> ev.StepFailed:
        return ev.StepFailed(
            job_id=job.id,
            by=Owner.TASK_LAUNCHER,
            state=State.RUNNING,
            trouble=Trouble.PIPELINE,
            reason=f"pipeline {job.pipeline_details.pipeline_id} did not answer in time",
            retry_at=self._clock(),
            lease=job.lease_until,
        )

    def _told_again(self, job: Job, *, by_operator: bool = False) -> ev.PipelineRequested:
        now, details = self._clock(), job.pipeline_details
        request = ev.PipelineRequested(
            job_id=job.id,
            by=Owner.TASK_LAUNCHER,
            task_id=details.task_id,
            task_version=details.task_version,
            pipeline_id=details.pipeline_id,
            output_host=details.output_file_host,
            output_folder=details.output_folder,
            parameters=dict(details.parameters or {}),
            lease_until=now + self._answer_ns,
            launch=details.launch,
            again=by_operator,
        )
        return self._with_order(job, request)

    async def confirm_all(self, batch: Batch) -> None:
        """Take pipelines' reports as final."""
        facts = await asyncio.gather(*(self.confirmation(job) for job in batch))
        verdicts = await self._jobs.report(facts)
        _complain(verdicts)
        # What was refused as another job's is not asked for again, and not sent.
        taken = [
            _spoilt(fact, verdict.error)
            for fact, verdict in zip(facts, verdicts, strict=True)
            if verdict.status == Conflict.status and isinstance(fact, ev.PipelineConfirmed)
        ]
        if taken:
            _complain(await self._jobs.report(taken))

    async def confirm_told(self, job: Job) -> None:
        """The pipeline itself says that its report is final. Raises ``BadRequest`` or ``Conflict`` where it has named
        what is not its job's: nothing is changed then, and it may report again."""
        fact: ev.Fact
        try:
            looked = await self._looked(job)
        except Changed as damage:
            fact = _damaged(job, damage)
        else:
            if looked.refused is not None:
                raise looked.refused
            fact = self._confirmed(job, looked)
        (verdict,) = await self._jobs.report([fact])
        if verdict.status == Conflict.status:
            raise Conflict(verdict.error)
        _complain([verdict])

    async def confirmation(self, job: Job) -> ev.PipelineConfirmed | ev.OutputDamaged:
        """What is to be said of a pipeline's report: its outputs looked at, digests filled in."""
        try:
            return self._confirmed(job, await self._looked(job))
        except Changed as damage:
            return _damaged(job, damage)

    async def _looked(self, job: Job) -> Looked:
        """Raises ``Changed``."""
        details = job.pipeline_details
        if not details.output_files or details.status != PipelineStatus.COMPLETE:
            return Looked(details.output_files or ())
        return await self._outputs.look(job)

    def _confirmed(self, job: Job, looked: Looked) -> ev.PipelineConfirmed:
        outputs = None if job.pipeline_details.output_files is None else looked.outputs
        missing = ", ".join(looked.missing)
        fact = ev.PipelineConfirmed(job_id=job.id, by=Owner.TASK_LAUNCHER, outputs=outputs, missing=missing)
        return fact.model_copy(update={"messages": self._result_messages(job, bool(outputs) and not missing)})

    def _result_messages(self, job: Job, to_be_sent: bool) -> tuple[ev.Message, ...]:
        details = job.pipeline_details
        messages = [self._messages.results(job)] if details.results else []
        if to_be_sent and details.status == PipelineStatus.COMPLETE:
            messages.append(self._messages.outputs_ready(job))
        return tuple(messages)


def _damaged(job: Job, damage: Changed) -> ev.OutputDamaged:
    log.warning("job %s: %s", job.id, damage)
    reason = f"{damage}; it is made again"
    return ev.OutputDamaged(job_id=job.id, by=Owner.TASK_LAUNCHER, reason=reason, attempt=job.attempts)


def _spoilt(fact: ev.PipelineConfirmed, why: str) -> ev.PipelineConfirmed:
    outputs = tuple(invalid(file) for file in fact.outputs or ())
    return fact.model_copy(update={"outputs": outputs, "missing": why, "messages": ()})


def _batch_name(batch: Batch) -> str:
    return batch[0].id


def _complain(verdicts: Sequence[ev.Verdict]) -> None:
    """Facts that were refused are worth a line: the job has moved on, or was deleted meanwhile."""
    for verdict in verdicts:
        if verdict.error:
            log.info("not taken: %s", verdict.error)
