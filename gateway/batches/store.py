"""Batches in SQL, and what of them became no job; their jobs are counted where they are."""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from contracts.batches import Batch, Entry, What
from contracts.errors import BadRequest, NotFound
from contracts.ports import Clock
from gateway import tables as db
from gateway.reader import Reader
from gateway.writer import Writer

B, E, J = db.batch.c, db.batch_entry.c, db.job.c
SHOWN = 1000
"""Entries that are told of a batch; those of archives first."""


class BatchStore:
    """Implements ``contracts.batches.Batches``."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer, self._reader, self._clock = writer, reader, clock

    async def make(self, name: str, task: str, by: str) -> Batch:
        """A new one. Raises ``BadRequest`` for a task that is not there."""
        batch = Batch(id=str(uuid.uuid4()), name=name, task=task, by=by, created=self._clock())

        def work(tx: sa.Connection) -> Batch:
            if task and tx.execute(sa.select(db.task.c.id).where(db.task.c.id == task)).first() is None:
                raise BadRequest(f"Task: there is no task {task[:80]!r}: choose another, or none for the rules")
            row = {name: getattr(batch, name) for name in ("id", "name", "task", "by", "created")}
            tx.execute(db.batch.insert(), row)
            return batch

        return await self._writer.run(work)

    async def get(self, batch_id: str) -> Batch:
        """One, with its counts and entries. Raises ``NotFound``."""

        def work(tx: sa.Connection) -> Batch | None:
            row = tx.execute(sa.select(db.batch).where(B.id == batch_id)).first()
            if row is None:
                return None
            counts = _counts(tx, [batch_id]).get(batch_id, {})
            order = (E.what == str(What.REFUSED), E.name)
            rows = tx.execute(sa.select(db.batch_entry).where(E.batch == batch_id).order_by(*order).limit(SHOWN)).all()
            entries = tuple(Entry(name=one.name, what=What(one.what), said=one.said) for one in rows)
            return _batch(row).evolve(counts=counts, entries=entries)

        found = await self._reader.run(work)
        if found is None:
            raise NotFound(f"there is no batch {batch_id[:80]!r}")
        return Batch.model_validate(found)

    async def page(self, limit: int, after: int | None) -> tuple[list[Batch], int | None]:
        """The newest, with their counts, and the cursor of the next page."""

        def work(tx: sa.Connection) -> tuple[list[Batch], int | None]:
            query = sa.select(db.batch).order_by(B.seq.desc()).limit(limit + 1)
            rows = tx.execute(query if after is None else query.where(B.seq < after)).all()
            counts = _counts(tx, [row.id for row in rows[:limit]])
            found = [_batch(row).evolve(counts=counts.get(row.id, {})) for row in rows[:limit]]
            return found, rows[limit - 1].seq if len(rows) > limit else None

        page: tuple[list[Batch], int | None] = await self._reader.run(work)
        return page

    async def tell(self, batch_id: str, entries: Sequence[Entry]) -> None:
        """What became of these. Raises ``NotFound``."""
        at = self._clock()
        said = {one.name: {"what": str(one.what), "said": one.said, "at": at} for one in entries}
        rows = [{"batch": batch_id, "name": name, **words} for name, words in said.items()]

        def work(tx: sa.Connection) -> None:
            if tx.execute(sa.select(B.id).where(B.id == batch_id)).first() is None:
                raise NotFound(f"there is no batch {batch_id[:80]!r}")
            if not rows:
                return
            insert = postgresql_insert if tx.dialect.name == "postgresql" else sqlite_insert
            fresh = insert(db.batch_entry)
            again = {name: fresh.excluded[name] for name in ("what", "said", "at")}
            tx.execute(fresh.on_conflict_do_update(index_elements=["batch", "name"], set_=again), rows)

        await self._writer.run(work)


def _batch(row: Any) -> Batch:
    return Batch(id=row.id, name=row.name, task=row.task, by=row.by, created=row.created)


def _counts(tx: sa.Connection, batches: Sequence[str]) -> dict[str, dict[str, int]]:
    """Jobs by batch and state, counted in the index alone."""
    in_batch: sa.ColumnElement[bool] = sa.literal_column(db.IN_BATCH)
    query = sa.select(J.batch, J.state, sa.func.count().label("n")).where(in_batch, J.batch.in_(batches))
    found: dict[str, dict[str, int]] = {}
    for row in tx.execute(query.group_by(J.batch, J.state)):
        found.setdefault(row.batch, {})[row.state] = int(row.n)
    return found
