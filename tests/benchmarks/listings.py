"""What listings, filters and counts take among 10,000, 100,000 and 1,000,000 jobs, on SQLite and PostgreSQL."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from contracts.events import Fact
from contracts.models import State
from contracts.ports import JobQuery
from gateway import database as db
from gateway import tables
from gateway.job_repository.store import JobStore
from gateway.reader import Reader
from gateway.writer import Writer
from tests.support import postgres
from tests.support import stories as tell
from tests.support.stories import NOW

FIRST = 10_000
SAMPLES = 200
PIPELINES = ("nuclei", "cells", "only-file", "multi-file", "file-and-results")
Look = Callable[[int], Awaitable[Any]]


def _life(number: int) -> list[Fact]:
    """Of a hundred jobs ninety-eight are complete, one found no task, one waits for its pipeline."""
    job = f"job-{number:05}"
    begin: list[Fact] = [tell.created(job, f"r0-plate{number:05}_A01.tif", f"scope-{number % 20}")]
    if number % 100 == 7:
        return [*begin, tell.unmatched(job)]
    begin += [tell.sending(job), tell.input_delivered(job)]
    begin.append(tell.requested(job, PIPELINES[number % len(PIPELINES)]))
    if number % 100 == 8:
        return begin
    return [*begin, *tell.full_story(job)[5:]]


async def _begin(store: JobStore) -> float:
    """The first ten thousand, by facts; facts per second."""
    facts, begun = 0, time.perf_counter()
    for start in range(0, FIRST, 250):
        lives = [_life(number) for number in range(start, start + 250)]
        for step in range(max(map(len, lives))):
            some = [life[step] for life in lives if step < len(life)]
            verdicts = await store.apply(some)
            assert all(verdict.changed for verdict in verdicts), verdicts
            facts += len(some)
    return facts / (time.perf_counter() - begun)


def _multiply(engine: sa.Engine, before: int, after: int) -> None:
    """More of the same under new ids and names, made by the database itself."""
    same = [
        column.name for column in tables.job.columns if column.name not in ("seq", "id", "name", "doc", "last_updated")
    ]
    with engine.begin() as tx:
        if engine.dialect.name == "postgresql":
            tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
        numbers = "WITH RECURSIVE again(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM again WHERE n < {times})"
        tx.exec_driver_sql(
            numbers.format(times=after // FIRST - 1)
            + f" INSERT INTO job (id, name, doc, last_updated, {', '.join(same)})"
            " SELECT id || '-' || n, 'r' || n || substr(name, 3), replace(replace(doc, id, id || '-' || n), name,"
            f" 'r' || n || substr(name, 3)), last_updated + n, {', '.join(same)}"
            f" FROM job, again WHERE n >= {before // FIRST} AND job.seq <= {FIRST}"
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE job")  # as the server does by itself after a while


def _looks(store: JobStore, count: int) -> dict[str, Look]:
    """What users and services ask, each time a little different."""
    last = count // FIRST - 1

    def find(**fields: Any) -> Look:
        def look(number: int) -> Awaitable[Any]:
            varied = {name: value(number) if callable(value) else value for name, value in fields.items()}
            return store.find(JobQuery(**({"limit": 100} | varied)))

        return look

    suffix = f"-{last}" if last else ""
    return {
        "get": lambda number: store.get(f"job-{number * 37 % FIRST:05}{suffix}"),
        "newest 100": find(),
        "100 from the middle": find(after=lambda number: count // 2 + number),
        "newest 1000": find(limit=1000),
        "of a state": find(states=(State.COMPLETE,)),
        "of a rare state": find(states=(State.UNMATCHED,)),
        "of a state that none has": find(states=(State.QUARANTINED,)),
        "of an instrument": find(origin_host=lambda number: f"scope-{number % 20}"),
        "of an instrument and a state": find(origin_host="scope-7", states=(State.UNMATCHED,)),
        "of a pipeline": find(pipeline=lambda number: PIPELINES[number % 5]),
        "of a pipeline and a state": find(pipeline="cells", states=(State.RUNNING,)),
        "name, one has it": find(name_contains=lambda number: f"r{last}-plate{number * 37 % FIRST:05}"),
        "name, many have it": find(name_contains="_A01"),
        "name, none has it": find(name_contains=lambda number: f"slide{number}"),
        "changed of late": find(updated_since=NOW + 10, newest_first=False),
        "last changed": find(sort="changed"),
        "last changed of a state": find(sort="changed", states=(State.COMPLETE,)),
        "last changed of a rare state": find(sort="changed", states=(State.UNMATCHED,)),
        "last changed of an instrument": find(sort="changed", origin_host=lambda number: f"scope-{number % 20}"),
        "last changed, many have the name": find(sort="changed", name_contains="_A01"),
        "last changed, none has the name": find(sort="changed", name_contains=lambda number: f"slide{number}"),
        "last changed, in a time": find(sort="changed", updated_since=NOW, updated_until=NOW + 5),
        "by name": find(sort="name", newest_first=False),
        "by name from the middle": find(sort="name", newest_first=False, after=1, mark=f"r{last}-plate05000"),
        "by name of a rare state": find(sort="name", states=(State.UNMATCHED,)),
        "by name of a state": find(sort="name", states=(State.COMPLETE,)),
        "what a desk looks for": find(states=(State.RUNNING,), due_at=NOW + 10**12, newest_first=False),
        "counts by state": lambda _number: store.counts(),
        "oldest unfinished": lambda _number: store.oldest_unfinished(),
    }


async def _measure(look: Look) -> Sequence[float]:
    """How long each took, in ms, sorted; fewer samples of what takes long."""
    taken: list[float] = []
    begun = time.perf_counter()
    for number in range(SAMPLES):
        start = time.perf_counter()
        await look(number)
        taken.append((time.perf_counter() - start) * 1e3)
        if number >= 20 and time.perf_counter() - begun > 10:
            break
    return sorted(taken)


async def _on(url: str, largest: int) -> dict[str, float | str]:
    engine, readers = db.open_engine(url), db.open_engine(url, writes=False)
    db.migrate(engine)
    writer, dialect, count = Writer(engine), engine.dialect.name, FIRST
    writer.start()
    try:
        store = JobStore(writer, Reader(readers), lambda: NOW)
        found: dict[str, float | str] = {f"{dialect}, facts/s": await _begin(store)}
        while True:
            for what, look in _looks(store, count).items():
                taken = await _measure(look)
                p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
                found[f"{dialect}, {count:,}: {what}"] = f"{p50:.3g} / {p99:.3g} ms"
            if count >= largest:
                return found
            _multiply(engine, count, count * 10)
            count *= 10
    finally:
        writer.stop()
        engine.dispose()
        readers.dispose()


def listings(largest: int) -> dict[str, float | str]:
    """p50 / p99 of each question, by database and number of jobs."""
    with tempfile.TemporaryDirectory(prefix="cytobus-bench-") as folder:
        found = asyncio.run(_on(f"sqlite:///{Path(folder) / 'jobs.db'}", largest))
    return found | asyncio.run(_on(postgres.shared().database(), largest))
