"""Whose each output is that lies in a pipeline's folder: jobs share these, and none may give away another's file."""

import os
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from contracts.events import Fact, PipelineConfirmed
from contracts.models import Job, OutputFile, State
from gateway import tables as db
from gateway.files import belongs

P = db.placed.c
HOLDING = (State.DELIVERING, State.DELIVERED)
"""The states in which a job's outputs lie in its pipeline's folder, confirmed and not archived."""
LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(place, 0)) FROM unnest(CAST(:places AS text[])) AS place")
SOME = 500
"""SQLite and drivers limit the number of parameters."""


def place_of(file: OutputFile) -> str:
    """The path of an output."""
    return os.path.normpath(os.path.join(file.dir_name, file.name))


def places(job: Job | None) -> frozenset[str]:
    """Where the outputs lie that a job has, also one that may be released to go on with them."""
    if job is None or job.files or (job.held_state or job.state) not in HOLDING:
        return frozenset()
    return frozenset(place_of(file) for file in job.pipeline_details.output_files or () if not file.archive_name)


class Placed:
    """The owners of what one group of facts names, as the facts are applied."""

    def __init__(self, tx: sa.Connection, facts: Sequence[Fact]) -> None:
        wanted = sorted({place for fact in facts for place in _named(fact)})
        self._owners: dict[str, str] = {}
        if wanted and tx.dialect.name == "postgresql":
            # Another gateway that confirms the same file waits here, and then sees whose it has become.
            tx.execute(LOCK, {"places": wanted})
        for start in range(0, len(wanted), SOME):
            rows = tx.execute(sa.select(P.place, P.job).where(P.place.in_(wanted[start : start + SOME])))
            self._owners.update((row.place, row.job) for row in rows)

    def check(self, job: Job | None, fact: Fact) -> None:
        """Raises ``Conflict`` when a fact would make another job's file an output of this one's."""
        named = _named(fact) if job is not None and job.state is State.PROCESSED else []
        for place in named:
            if self._owners.get(place, fact.job_id) != fact.job_id:
                raise belongs(place, self._owners[place])
        self._owners.update(dict.fromkeys(named, fact.job_id))


def _named(fact: Fact) -> list[str]:
    if not isinstance(fact, PipelineConfirmed) or fact.missing:
        return []
    return [place_of(file) for file in fact.outputs or ()]


def keep(tx: sa.Connection, before: Mapping[str, Job], after: Mapping[str, Job]) -> None:
    """Note what jobs have come to own, and no longer own, by a change. The first to own a place keeps it."""
    gone, fresh = [], []
    for job_id, job in after.items():
        old, new = places(before.get(job_id)), places(job)
        gone += [{"at": place, "whose": job_id} for place in sorted(old - new)]
        fresh += [{"place": place, "job": job_id} for place in sorted(new - old)]
    if gone:
        tx.execute(FREE, gone)
    if fresh:
        insert = postgresql_insert if tx.dialect.name == "postgresql" else sqlite_insert
        tx.execute(insert(db.placed).on_conflict_do_nothing(), fresh)


def forget(tx: sa.Connection, job_id: str) -> None:
    """A job is deleted, and owns nothing."""
    tx.execute(db.placed.delete().where(P.job == job_id))


FREE = db.placed.delete().where((P.place == sa.bindparam("at")) & (P.job == sa.bindparam("whose")))
