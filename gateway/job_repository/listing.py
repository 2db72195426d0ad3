"""The queries behind listings of jobs."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from contracts.models import State
from contracts.ports import JobQuery
from contracts.rules import FARTHEST
from gateway import tables as db

J = db.job.c
FEW = 20_000
"""Jobs that are sorted to find the first of them; where a filter leaves more, they are looked for in their order."""
Shown = Callable[[Any], sa.ColumnElement[Any]]
"""How a condition shows a column: as it is, or so that no index is used for it."""


def _as_it_is(column: Any) -> sa.ColumnElement[Any]:
    shown: sa.ColumnElement[Any] = column
    return shown


def listing(query: JobQuery, dialect: str, *, few: bool = False) -> sa.Select[Any]:
    """One more row than asked for, so that the caller knows whether there is another page. ``few`` are left: see
    ``narrowed``."""
    if query.sort != "registered":
        return _sorted(query, dialect, few)
    order = J.seq.desc() if query.newest_first else J.seq.asc()
    where = _conditions(query)
    if query.after is not None:
        where.append(J.seq < query.after if query.newest_first else J.seq > query.after)
    if query.name_contains:
        # Names alone are chosen from an index that holds no documents, which are most of what there is to read.
        chosen = sa.select(J.seq).where(*where, _named(query, dialect)).order_by(order).limit(query.limit + 1)
        where = [J.seq.in_(chosen)]
    return sa.select(J.seq, J.doc).where(*where).order_by(order).limit(query.limit + 1)


def _sorted(query: JobQuery, dialect: str, few: bool) -> sa.Select[Any]:
    column, mark = (J.last_updated, int(query.mark or 0)) if query.sort == "changed" else (J.name, query.mark or "")
    # SQLite knows nothing of how many rows fit a condition, and is shown what it shall go by.
    shown = _hidden if dialect == "sqlite" and not few else _as_it_is
    where = _conditions(query, shown, along=column)
    if query.name_contains:
        where.append(_named(query, dialect, shown))
    if few:  # found by the filter's own index, and where it is names by one that holds nothing else
        where = [J.seq.in_(sa.select(J.seq).where(*where))]
    sorted_by = _hidden(column) if few else column
    if query.after is not None:
        here, last = sa.tuple_(sorted_by, J.seq), sa.tuple_(sa.literal(mark), sa.literal(query.after))
        where.append(here < last if query.newest_first else here > last)
    order = [each.desc() if query.newest_first else each.asc() for each in (sorted_by, J.seq)]
    if few:  # what is sorted holds no documents
        where = [J.seq.in_(sa.select(J.seq).where(*where).order_by(*order).limit(query.limit + 1))]
    return sa.select(J.seq, J.doc).where(*where).order_by(*order).limit(query.limit + 1)


def narrowed(query: JobQuery, dialect: str) -> Any:
    """How many jobs a filter leaves, ``FEW`` and one at most; None where that makes no difference to a listing."""
    along = J.last_updated if query.sort == "changed" else None
    where = _conditions(query, _as_it_is, along=along)
    if query.sort == "registered" or dialect != "sqlite" or not (where or query.name_contains):
        return None
    if query.name_contains:
        where.append(_named(query, dialect))
    left = sa.select(J.seq).where(*where).limit(FEW + 1).subquery()
    counted: Any = sa.select(sa.func.count()).select_from(left)
    return counted


def counting(query: JobQuery, dialect: str) -> Any:
    """How many jobs there are of a query, and the cursor of the newest of them."""
    where = _conditions(query) + ([_named(query, dialect)] if query.name_contains else [])
    counted: Any = sa.select(sa.func.count(), sa.func.max(J.seq)).where(*where)
    return counted


def _hidden(column: Any) -> sa.ColumnElement[Any]:
    """The column's value, by an expression that is in no index."""
    hidden: sa.ColumnElement[Any] = column + ("" if isinstance(column.type, sa.Text) else 0)
    return hidden


def _named(query: JobQuery, dialect: str, shown: Shown = _as_it_is) -> sa.ColumnElement[bool]:
    # On SQLite LIKE makes no difference between capitals and small letters; lower() would take most of the time.
    name = shown(J.name)
    like = name.ilike if dialect == "postgresql" else name.like
    return like(f"%{_plain(query.name_contains or '')}%", escape="\\")


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


def _conditions(query: JobQuery, shown: Shown = _as_it_is, along: Any = None) -> list[sa.ColumnElement[bool]]:
    """``along``: the column by whose index jobs are found, if that is known."""
    found: list[sa.ColumnElement[bool]] = []
    if query.states:
        found.append(shown(J.state).in_([str(state) for state in query.states]))
    equal = {
        J.owner: query.owner,
        J.status: query.status,
        J.origin_host: query.origin_host,
        J.pipeline: query.pipeline,
        J.task: query.task,
    }
    found += [shown(column) == value for column, value in equal.items() if value is not None]
    if query.wants_preview is not None:
        found.append(J.wants_preview == query.wants_preview)
    changed = _as_it_is(J.last_updated) if along is J.last_updated else shown(J.last_updated)
    if query.batch is not None:
        found += [sa.literal_column(db.IN_BATCH), J.batch == query.batch]
    if query.updated_since is not None:
        found.append(changed >= query.updated_since)
    if query.updated_until is not None:
        found.append(changed < query.updated_until)
    if query.through is not None:
        found.append(J.seq <= query.through)
    if query.verification is not None:
        found += _judged(query.verification, shown)
    return found + _for_services(query)


def _judged(verification: int, shown: Shown) -> list[sa.ColumnElement[bool]]:
    # Word for word as in the index of complete jobs, which is then known to hold all that is looked for.
    complete = sa.literal_column("state = 'complete'") if shown is _as_it_is else shown(J.state) == "complete"
    return [complete, shown(J.verification) == verification]


def _for_services(query: JobQuery) -> list[sa.ColumnElement[bool]]:
    """What desks look for, and no person does."""
    found: list[sa.ColumnElement[bool]] = []
    if query.due_at is not None:
        found.append(is_due(query.due_at))
    if query.kept_until is not None:
        found.append((J.kept_since > 0) & (J.kept_since <= query.kept_until))
    if query.lease_over_at is not None:
        found.append((J.lease_holder == "") & (J.lease_until > 0) & (J.lease_until <= query.lease_over_at))
    return found
