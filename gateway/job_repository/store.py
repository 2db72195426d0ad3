"""Jobs in SQL: facts applied in groups, with history and outbox in the same transaction."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from contracts import rules
from contracts.announcements import announcement
from contracts.errors import AppError, NotFound
from contracts.events import Fact, PipelineStarted, Verdict, WorkerReleased
from contracts.models import FINAL, Job, Owner, State
from contracts.ports import Clock, JobQuery, Page
from gateway import tables as db
from gateway.job_repository import marks, placed
from gateway.job_repository.listing import FEW, claimable, counting, listing, narrowed
from gateway.job_repository.rows import is_news, line, row_of, told
from gateway.reader import Reader
from gateway.tables import EPOCH
from gateway.writer import Writer

J = db.job.c
QUICK = 100
"""Rows of a listing that are read without a thread of their own."""
Told = tuple[Fact, Verdict]
"""A fact and what came of it."""
LONG = 0.1
"""Seconds; what takes longer to count is not counted each time that somebody asks."""


class JobStore:
    """The only place where jobs are written. Reads run beside the writer and see the last commit."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock, *, raw_payload: bool = False) -> None:
        """``raw_payload``: announcements in EdgeX v4's own form."""
        self._writer, self.reader, self._clock, self._raw_payload = writer, reader, clock, raw_payload
        self._read = reader.run
        self._counts: dict[str, int] = {}
        self._count_again = 0.0

    async def apply(self, facts: Sequence[Fact]) -> list[Verdict]:
        """Apply facts in order; answered after the commit. A fact refused does not hinder the others."""
        return await self._writer.run_bulk(self._apply, facts)

    async def create(self, job: Job) -> tuple[str, bool]:
        """Keep a job made by a client, unless its location is known: (id, whether it was made)."""

        def work(tx: sa.Connection) -> tuple[str, bool]:
            file = job.input_file
            _one_at_a_time(tx, f"{file.hostname}:{file.dir_name}:{file.name}")
            here = (J.origin_host == file.hostname) & (J.origin_dir == file.dir_name) & (J.name == file.name)
            if file.sha256:
                here &= J.sha256 == file.sha256
            known = tx.execute(sa.select(J.id).where(here).order_by(J.seq.desc()).limit(1)).scalar()
            if known is not None:
                return str(known), False
            now = self._clock()
            fresh = job.evolve(last_updated=now, created=now)
            self._save(tx, {fresh.id: fresh}, {fresh.id})
            placed.keep(tx, {}, {fresh.id: fresh})
            self._note(tx, [line(fresh.id, now, fresh.owner or "client", "created", "", fresh.state, "")])
            self._announce(tx, [], [fresh])
            return fresh.id, True

        return await self._writer.run(work)

    async def change(self, job_id: str, edit: Callable[[Job], Job], by: str, what: str, why: str = "") -> Job:
        """A job after an edit that is not a fact (a client's PUT). Raises ``NotFound`` or what ``edit`` raises."""

        def work(tx: sa.Connection) -> Job:
            old = self._load(tx, [job_id]).get(job_id)
            if old is None:
                raise NotFound(f"job id not found for {job_id}")
            now = self._clock()
            new = edit(old).evolve(last_updated=max(now, old.last_updated + 1))
            self._save(tx, {job_id: new}, set())
            placed.keep(tx, {job_id: old}, {job_id: new})
            self._note(tx, [line(job_id, now, by, what, old.state, new.state, why or new.reason)])
            self._announce(tx, [], [new] if is_news(old, new) else [])
            return new

        return await self._writer.run(work)

    async def change_many(
        self, job_ids: Sequence[str], edit: Callable[[Job], Job], by: str, what: str, why: str = ""
    ) -> list[Verdict]:
        """As ``change``, for some hundred at once; one that is refused does not hinder the others, and one that is so
        already stays as it is and has nothing new in its history."""

        def work(tx: sa.Connection) -> list[Verdict]:
            before = self._load(tx, set(job_ids))
            verdicts = [_edited(before.get(job_id), job_id, edit, self._clock()) for job_id in job_ids]
            new = {one.job.id: one.job for one in verdicts if one.changed and one.job is not None}
            self._save(tx, new, set())
            placed.keep(tx, before, new)
            now = self._clock()
            self._note(tx, [line(job.id, now, by, what, before[job.id].state, job.state, why) for job in new.values()])
            self._announce(tx, [], [job for job in new.values() if is_news(before[job.id], job)])
            return verdicts

        return await self._writer.run(work)

    async def delete(self, job_id: str, by: str = "client") -> None:
        """Forget a job; its history stays. Raises ``NotFound``."""

        def work(tx: sa.Connection) -> None:
            if tx.execute(db.job.delete().where(J.id == job_id)).rowcount == 0:
                raise NotFound(f"failed to delete job for id {job_id}: job id not found for {job_id}")
            placed.forget(tx, job_id)
            self._note(tx, [line(job_id, self._clock(), by, "deleted", "", "", "")])

        await self._writer.run(work)

    async def claim(
        self, worker: str, pipelines: Sequence[str], limit: int, seconds: float, retries: int | None = None
    ) -> list[Job]:
        """Lease waiting jobs of these pipelines, oldest first."""
        return held_by(worker, await self.claimed(worker, pipelines, limit, seconds, retries))

    async def claimed(
        self, worker: str, pipelines: Sequence[str], limit: int, seconds: float, retries: int | None = None
    ) -> list[Told]:
        """The facts of a claim and what came of each: jobs that were started too often are given up instead."""

        def work(tx: sa.Connection) -> list[Told]:
            now = self._clock()
            mine = claimable(pipelines, now, retries)
            chosen = sa.select(J.id).where(mine).order_by(J.seq).limit(limit).with_for_update(skip_locked=True)
            until = now + int(seconds * 1e9)
            facts: list[Fact] = [
                PipelineStarted(job_id=str(job_id), by=Owner.TASK_LAUNCHER, worker=worker, lease_until=until)
                for job_id in tx.execute(chosen).scalars()
            ]
            return list(zip(facts, self._apply(tx, facts), strict=True))

        return await self._writer.run(work)

    async def release(self, worker: str) -> int:
        """Give back what a worker held; the number of jobs."""
        return sum(verdict.changed for _, verdict in await self.given_back(worker))

    async def given_back(self, worker: str) -> list[Told]:
        """The facts by which all was given back that a worker held, and what came of each."""

        def work(tx: sa.Connection) -> list[Told]:
            held = sa.select(J.id).where((J.state == State.RUNNING) & (J.lease_holder == worker))
            facts: list[Fact] = [
                WorkerReleased(job_id=str(job_id), by=Owner.TASK_LAUNCHER, worker=worker)
                for job_id in tx.execute(held).scalars()
            ]
            return list(zip(facts, self._apply(tx, facts), strict=True))

        return await self._writer.run(work)

    async def get(self, job_id: str) -> Job:
        """One job. Raises ``NotFound``."""
        doc = await self._read(lambda tx: tx.execute(GET, {"key": job_id}).scalar(), quick=True)
        if doc is None:
            raise NotFound(f"failed to retrieve job(s) from job repo: job id not found for {job_id}")
        return Job.model_validate_json(doc)

    async def hosts(self, job_ids: Collection[str]) -> dict[str, str]:
        """Whose jobs these are, of those that exist: job -> instrument."""
        wanted = sorted(job_ids)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), 500):
            query = sa.select(J.id, J.origin_host).where(J.id.in_(wanted[start : start + 500]))
            found.update((row.id, row.origin_host) for row in await self._read(lambda tx: tx.execute(query).all()))  # noqa: B023
        return found

    async def find(self, query: JobQuery) -> Page:
        """A page of jobs in the order that is asked for."""
        quick = query.limit <= QUICK and not query.name_contains and query.sort == "registered"
        rows = await self._read(lambda tx: _listed(tx, query), quick=quick)
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        jobs = tuple(Job.model_validate_json(row.doc) for row in rows)
        if not more:
            return Page(jobs)
        mark = {"changed": str(jobs[-1].last_updated), "name": jobs[-1].input_file.name}.get(query.sort, "")
        return Page(jobs, int(rows[-1].seq), mark)

    async def count(self, query: JobQuery) -> tuple[int, int]:
        """How many jobs there are of a query, and the cursor of the newest of them (0 for none)."""
        row = await self._read(lambda tx: tx.execute(counting(query, tx.dialect.name)).one())
        return int(row[0]), int(row[1] or 0)

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state. Where counting takes long, the answer is a few seconds old at times:
        however many ask, the database counts for a small part of its time."""
        begun = time.monotonic()
        if begun >= self._count_again:
            query = sa.select(J.state, sa.func.count()).group_by(J.state)
            self._counts = {str(state): int(n) for state, n in await self._read(lambda tx: tx.execute(query).all())}
            now = time.monotonic()
            self._count_again = now + 10 * (now - begun) if now - begun > LONG else 0.0
        return dict(self._counts)

    async def epoch(self) -> str:
        """Which restore of a backup this database is of; empty where it is of none."""
        query = sa.select(db.note.c.value).where(db.note.c.name == EPOCH)
        return str(await self._read(lambda tx: tx.execute(query).scalar(), quick=True) or "")

    async def history(self, job_id: str) -> list[dict[str, Any]]:
        """All that happened to a job, oldest first: at (ns), by, what, from, to, why."""
        h = db.history.c
        query = sa.select(h.at, h.by, h.what, h.from_state, h.to_state, h.why).where(h.job_id == job_id).order_by(h.seq)
        rows = await self._read(lambda tx: tx.execute(query).all())
        return [
            {"At": r.at, "By": r.by, "What": r.what, "From": r.from_state, "To": r.to_state, "Why": r.why} for r in rows
        ]

    async def oldest_unfinished(self) -> int | None:
        """When the oldest job was made that has not come to its end (ns); None when there is none."""
        unfinished = [state for state in State if state not in FINAL]

        def work(tx: sa.Connection) -> Any:
            firsts = [
                tx.execute(sa.select(sa.func.min(J.seq)).where(J.state == state)).scalar() for state in unfinished
            ]
            known = [first for first in firsts if first is not None]
            return tx.execute(sa.select(J.doc).where(J.seq == min(known))).scalar() if known else None

        doc = await self._read(work)
        return Job.model_validate_json(doc).created if doc is not None else None

    def _apply(self, tx: sa.Connection, facts: Sequence[Fact]) -> list[Verdict]:
        before = self._load(tx, {fact.job_id for fact in facts})
        now, owners = dict(before), placed.Placed(tx, facts)
        lines: list[dict[str, Any]] = []
        messages: list[dict[str, str]] = []
        verdicts = []
        for fact in facts:
            old = now.get(fact.job_id)
            try:
                owners.check(old, fact)
                new = rules.advance(old, fact, at := self._clock())
            except AppError as error:
                verdicts.append(Verdict(job=old, status=error.status, error=str(error)))
                continue
            if new is not old:
                new = new.evolve(last_updated=max(at, old.last_updated + 1 if old else 0))
                now[new.id] = new
                if said := told(old, new, fact, at):
                    lines.append(said)
                messages += [{"topic": m.topic, "key": new.id, "payload": m.payload} for m in fact.messages]
            verdicts.append(Verdict(job=new, changed=new is not old))
        changed = {job_id: job for job_id, job in now.items() if job is not before.get(job_id)}
        self._save(tx, changed, changed.keys() - before.keys())
        placed.keep(tx, before, changed)
        self._note(tx, lines)
        self._announce(tx, messages, [job for job_id, job in changed.items() if is_news(before.get(job_id), job)])
        return verdicts

    def _load(self, tx: sa.Connection, job_ids: Iterable[str]) -> dict[str, Job]:
        wanted = sorted(job_ids)  # rows are locked in the same order by everybody
        found: dict[str, Job] = {}
        for start in range(0, len(wanted), 500):  # SQLite and drivers limit the number of parameters
            some = wanted[start : start + 500]
            rows = tx.execute(LOAD, {"keys": some})
            found.update((row.id, Job.model_validate_json(row.doc)) for row in rows)
        return found

    def _save(self, tx: sa.Connection, jobs: dict[str, Job], fresh: set[str]) -> None:
        new = [row_of(job) for job_id, job in jobs.items() if job_id in fresh]
        old = [row_of(job) | {"key": job_id} for job_id, job in jobs.items() if job_id not in fresh]
        if new:
            tx.execute(INSERT, new)
        if old:
            tx.execute(UPDATE, old)

    def _note(self, tx: sa.Connection, lines: list[dict[str, Any]]) -> None:
        if lines:
            marks.mark(tx)
            tx.execute(NOTE, lines)

    def _announce(self, tx: sa.Connection, messages: list[dict[str, str]], jobs: Sequence[Job]) -> None:
        rows = list(messages)
        for job in jobs:
            news = announcement(job, raw_payload=self._raw_payload)
            rows.append({"topic": news.topic, "key": job.id, "payload": news.payload})
        if rows:
            tx.execute(ANNOUNCE, rows)


def _listed(tx: sa.Connection, query: JobQuery) -> Sequence[Any]:
    count = narrowed(query, tx.dialect.name)
    few = count is not None and int(tx.execute(count).scalar_one()) <= FEW
    return tx.execute(listing(query, tx.dialect.name, few=few)).all()


# Statements of the hot path are made once: making one costs more than running it.
GET = sa.select(J.doc).where(J.id == sa.bindparam("key"))
LOAD = sa.select(J.id, J.doc).where(J.id.in_(sa.bindparam("keys", expanding=True))).order_by(J.id).with_for_update()
INSERT, UPDATE = db.job.insert(), db.job.update().where(J.id == sa.bindparam("key"))
NOTE, ANNOUNCE = db.history.insert(), db.outbox.insert()


def _one_at_a_time(tx: sa.Connection, place: str) -> None:
    """Until the transaction ends no other gateway decides about this place. SQLite has one writer anyway."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(place, 0))))


def _edited(old: Job | None, job_id: str, edit: Callable[[Job], Job], now: int) -> Verdict:
    if old is None:
        return Verdict(status=NotFound.status, error=f"job id not found for {job_id}")
    try:
        new = edit(old)
    except AppError as error:
        return Verdict(job=old, status=error.status, error=str(error))
    if new == old:
        return Verdict(job=old)
    return Verdict(job=new.evolve(last_updated=max(now, old.last_updated + 1)), changed=True)


def held_by(worker: str, told: Iterable[Told]) -> list[Job]:
    """The jobs that a claim has brought to a worker."""
    jobs = [verdict.job for _, verdict in told if verdict.job is not None]
    return [job for job in jobs if job.lease_holder == worker]
