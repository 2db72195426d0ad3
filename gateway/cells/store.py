"""What is said of cells, in SQL: a row for each block that was added together, whose cells' ids follow each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from contracts.errors import Conflict
from contracts.ports import Clock
from gateway import tables as db
from gateway.cells.rules import GONE, MOST_CLASSES, PACKED, Packed, pack, unpack
from gateway.cells.said import Cell, NewCells
from gateway.reader import Reader
from gateway.writer import Writer

B = db.cell_block.c
SOME = 500
"""Values in one condition."""


@dataclass(frozen=True)
class Wanted:
    """Which cells. What is empty does not narrow; ``since`` and ``until`` are ns, ``until`` no longer meant."""

    model: str
    instruments: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None

    @property
    def narrows(self) -> bool:
        return bool(self.instruments or self.jobs or self.classes or self.since is not None or self.until is not None)


@dataclass(frozen=True)
class Block:
    """Ids that follow each other; ``cells`` where they were asked for."""

    first: int
    many: int
    cells: Packed | None = None


class CellStore:
    """Cells are known by model, job and number: told again they keep their ids."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer, self._reader, self._clock = writer, reader, clock

    async def register(self, said: NewCells) -> tuple[list[int], bool]:
        """The ids of cells, new or as they were before, and whether any was known before: then what is said of it now
        holds."""

        def work(tx: sa.Connection) -> tuple[list[int], bool]:
            codes = _codes(tx, sorted({cell.class_ for cell in said.cells}))
            rows = [(cell.number, codes[cell.class_], cell.x, cell.y) for cell in said.cells]
            told = np.array(rows, PACKED)
            ids = _known(tx, said, told)
            fresh = ids < 0
            if fresh.any():
                first = _reserved(tx, int(fresh.sum()))
                ids[fresh] = np.arange(first, first + int(fresh.sum()))
                tx.execute(db.cell_block.insert(), self._row(tx, said, first, told[fresh]))
            return ids.tolist(), bool((~fresh).any())

        return await self._writer.run(work)

    def _row(self, tx: sa.Connection, said: NewCells, first: int, told: Packed) -> dict[str, Any]:
        of_job = sa.select(db.job.c.origin_host).where(db.job.c.id == said.job)
        instrument = said.instrument or tx.execute(of_job).scalar() or ""
        named = {"model": said.model, "job": said.job, "instrument": instrument, "at": said.at or self._clock()}
        return {"first": first, "many": len(told), "cells": pack(told), **named}

    async def described(self, ids: Sequence[int]) -> list[Cell | None]:
        """What is said of cells; None of those that are not known (any more)."""

        def query(tx: sa.Connection) -> list[Cell | None]:
            names: Mapping[int, str] = dict(tx.execute(sa.select(db.cell_class.c.code, db.cell_class.c.name)).all())
            blocks = _blocks_of(tx, ids)
            return [_cell(blocks.get(one), one, names) for one in ids]

        found: list[Cell | None] = await self._reader.run(query)
        return found

    async def of_job(self, job: str, model: str) -> list[int]:
        """The ids of a job's cells, those of one model if it is named."""

        def query(tx: sa.Connection) -> list[int]:
            rows = tx.execute(_narrowed(sa.select(B.first, B.cells).where(B.job == job), model)).all()
            return [
                int(row.first) + int(at) for row in rows for at in np.nonzero(unpack(row.cells)["number"] != GONE)[0]
            ]

        found: list[int] = await self._reader.run(query)
        return found

    async def forget(self, ids: Sequence[int]) -> None:
        """These cells are known no more."""

        def work(tx: sa.Connection) -> None:
            for row in set(_blocks_of(tx, ids).values()):
                cells = unpack(row.cells)
                mine = [one - row.first for one in ids if row.first <= one < row.first + row.many]
                cells["number"][mine] = GONE
                _kept(tx, row.first, cells)

        await self._writer.run(work)

    async def blocks(self, wanted: Wanted, since: int) -> list[Block]:
        """Those from an id on which hold cells that are wanted; with what is said of each, where classes are asked."""
        columns = [B.first, B.many, *([B.cells] if wanted.classes else [])]
        query = sa.select(*columns).where(B.model == wanted.model, B.first >= since).order_by(B.first)
        if wanted.instruments:
            query = query.where(B.instrument.in_(wanted.instruments))
        if wanted.jobs:
            query = query.where(B.job.in_(wanted.jobs))
        if wanted.since is not None:
            query = query.where(B.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(B.at < wanted.until)

        def read(tx: sa.Connection) -> list[Block]:
            rows = tx.execute(query).all()
            return [Block(row.first, row.many, unpack(row.cells) if wanted.classes else None) for row in rows]

        found: list[Block] = await self._reader.run(read)
        return found

    async def codes(self, names: Sequence[str]) -> list[int]:
        """Of classes; those that nobody has used have none."""
        query = sa.select(db.cell_class.c.code).where(db.cell_class.c.name.in_(names))
        found: list[int] = await self._reader.run(lambda tx: list(tx.execute(query).scalars()))
        return found

    async def counts(self) -> dict[str, int]:
        """Cells by model, those that were deleted one by one among them."""
        query = sa.select(B.model, sa.func.sum(B.many)).group_by(B.model)
        found: dict[str, int] = await self._reader.run(lambda tx: {name: int(n) for name, n in tx.execute(query).all()})
        return found


def _codes(tx: sa.Connection, names: Sequence[str]) -> dict[str, int]:
    """Of these classes; new ones get the next."""
    table = db.cell_class
    known: dict[str, int] = {name: code for code, name in tx.execute(sa.select(table.c.code, table.c.name)).all()}
    for name in names:
        if name not in known:
            known[name] = max(known.values(), default=-1) + 1
            if known[name] >= MOST_CLASSES:
                raise Conflict(f"there are {MOST_CLASSES} classes already: use names of theirs")
            tx.execute(table.insert(), {"code": known[name], "name": name})
    return known


def _reserved(tx: sa.Connection, many: int) -> int:
    """The first of so many ids in a row, which nobody else gets."""
    note = db.note
    insert = postgresql_insert if tx.dialect.name == "postgresql" else sqlite_insert
    tx.execute(insert(note).on_conflict_do_nothing(index_elements=["name"]), {"name": db.NEXT_CELL, "value": "0"})
    mine = sa.select(note.c.value).where(note.c.name == db.NEXT_CELL).with_for_update()
    first = int(tx.execute(mine).scalar_one())
    tx.execute(note.update().where(note.c.name == db.NEXT_CELL).values(value=str(first + many)))
    return first


def _known(tx: sa.Connection, said: NewCells, told: Packed) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The ids of cells that were told before, with what is said of them now; -1 for others."""
    ids = np.full(len(told), -1, np.int64)
    query = sa.select(B.first, B.cells).where(B.job == said.job, B.model == said.model)
    for row in tx.execute(query).all():
        cells = unpack(row.cells)
        _, mine, theirs = np.intersect1d(told["number"], cells["number"], return_indices=True)
        if len(mine):
            ids[mine] = row.first + theirs
            cells[theirs] = told[mine]
            _kept(tx, row.first, cells)
    return ids


def _kept(tx: sa.Connection, first: int, cells: Packed) -> None:
    """A block as it is now; one of which nothing is left goes."""
    mine = B.first == first
    if (cells["number"] == GONE).all():
        tx.execute(db.cell_block.delete().where(mine))
    else:
        tx.execute(db.cell_block.update().where(mine).values(cells=pack(cells)))


def _narrowed(query: Any, model: str) -> Any:
    return query.where(B.model == model) if model else query


def _blocks_of(tx: sa.Connection, ids: Sequence[int]) -> dict[int, Any]:
    """The row that holds each id."""
    found: dict[int, Any] = {}
    wanted = sorted(set(ids))
    while wanted:
        # Of each id the last block that begins before it: one look along the primary key, for some at once.
        some, wanted = wanted[:SOME], wanted[SOME:]
        starts = sa.union_all(*(sa.select(sa.func.max(B.first).label("first")).where(B.first <= one) for one in some))
        chosen = starts.subquery()
        rows = tx.execute(sa.select(db.cell_block).where(B.first.in_(sa.select(chosen.c.first)))).all()
        by_first = {row.first: row for row in rows}
        firsts = np.array(sorted(by_first), np.int64)
        for one in some:
            place = int(np.searchsorted(firsts, one, "right")) - 1
            if place >= 0 and one < (row := by_first[int(firsts[place])]).first + row.many:
                found[one] = row
    return found


def _cell(row: Any, one: int, names: Mapping[int, str]) -> Cell | None:
    if row is None:
        return None
    cell = unpack(row.cells)[one - row.first]
    if cell["number"] == GONE:
        return None
    said: dict[str, Any] = {"job": row.job, "model": row.model, "instrument": row.instrument, "at": row.at}
    place: dict[str, Any] = {"x": float(cell["x"]), "y": float(cell["y"]), "class_": names[int(cell["code"])]}
    return Cell.model_construct(id=one, number=int(cell["number"]), **said, **place)
