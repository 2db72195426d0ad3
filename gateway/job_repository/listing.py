"""The queries behind listings of jobs."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from contracts.models import State
from contracts.ports import JobQuery
from contracts.rules import FARTHEST
from gateway import database as db

J = db.job.c


def listing(query: JobQuery, dialect: str) -> sa.Select[Any]:
    """One more row than asked for, so that the caller knows whether there is another page."""
    order = J.seq.desc() if query.newest_first else J.seq.asc()
    where = _conditions(query)
    if query.after is not None:
        where.append(J.seq < query.after if query.newest_first else J.seq > query.after)
    if query.name_contains:
        # On SQLite LIKE makes no difference between capitals and small letters; lower() would take most of the time.
        like = J.name.ilike if dialect == "postgresql" else J.name.like
        named = like(f"%{_plain(query.name_contains)}%", escape="\\")
        # Names alone are chosen from an index that holds no documents, which are most of what there is to read.
        chosen = sa.select(J.seq).where(*where, named).order_by(order).limit(query.limit + 1)
        where = [J.seq.in_(chosen)]
    return sa.select(J.seq, J.doc).where(*where).order_by(order).limit(query.limit + 1)


def is_due(now: int) -> sa.ColumnElement[bool]:
    """Jobs whose pause is over, and those whose time was set by a clock that was wrong."""
    return (J.not_before <= now) | (J.not_before > now + FARTHEST)


def claimable(pipelines: Sequence[str], now: int, retries: int | None) -> sa.ColumnElement[bool]:
    """Jobs that wait for a worker of these pipelines; ``retries``: at most so many that a run has put off before."""
    free = (J.lease_holder == "") | (J.lease_until <= now)
    mine = (J.state == State.RUNNING) & J.pipeline.in_(pipelines) & is_due(now) & free
    if retries is None:
        return mine
    again = sa.select(J.seq).where(mine, J.not_before > 0).order_by(J.seq).limit(retries)
    return mine & ((J.not_before == 0) | J.seq.in_(again))


def _plain(text: str) -> str:
    """Text that stands for itself in LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _conditions(query: JobQuery) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if query.states:
        found.append(J.state.in_([str(state) for state in query.states]))
    equal = {
        J.owner: query.owner,
        J.status: query.status,
        J.origin_host: query.origin_host,
        J.pipeline: query.pipeline,
        J.task: query.task,
        J.wants_preview: query.wants_preview,
    }
    found += [column == value for column, value in equal.items() if value is not None]
    if query.batch is not None:
        # Likewise the index of jobs in batches, which are few.
        found += [sa.literal_column("batch <> ''"), J.batch == query.batch]
    if query.updated_since is not None:
        found.append(J.last_updated >= query.updated_since)
    if query.verification is not None:
        # Word for word as in the index of complete jobs, which is then known to hold all that is looked for.
        found += [sa.literal_column("state = 'complete'"), J.verification == query.verification]
    if query.due_at is not None:
        found.append(is_due(query.due_at))
    if query.kept_until is not None:
        found.append((J.kept_since > 0) & (J.kept_since <= query.kept_until))
    if query.lease_over_at is not None:
        found.append((J.lease_holder == "") & (J.lease_until > 0) & (J.lease_until <= query.lease_over_at))
    return found
