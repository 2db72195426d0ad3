"""The map in SQL: a row for the cells of each job, groups, gates, and what gates decided."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from contracts.errors import Conflict, NotFound
from contracts.gates import Rule
from contracts.ports import Clock
from gateway import tables as db
from gateway.cell_map.points import Source
from gateway.cell_map.rules import features_of, ids_of, kept_of, to_text
from gateway.cell_map.said import Decision, Gate, Group, Trouble
from gateway.reader import Reader
from gateway.writer import Writer

S, G, T, D = db.cell_source.c, db.cell_group.c, db.cell_gate.c, db.cell_decision.c
MOST_GROUPS = 1000
MOST_GATES = 50
"""Each looks at every cell that comes."""
AT_ONCE = 200
"""Sources that are read together."""


@dataclass(frozen=True)
class Decided:
    """What a gate said of the cells of a job: the labels of those that it rejected, and how long all took (ns)."""

    gate: str
    accepted: int
    rejected: Any
    nanoseconds: int


class MapStore:
    """Sources are numbered in the order in which they were committed, so that who has seen one has seen all before."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer, self._reader, self._clock = writer, reader, clock

    # --- what jobs have brought

    async def digests(self) -> dict[str, str]:
        """Of the table that was read last, by job."""
        query = sa.select(S.job, S.digest)
        found: dict[str, str] = await self._reader.run(
            lambda tx: {row.job: row.digest for row in tx.execute(query).all()}
        )
        return found

    async def last(self) -> int:
        """The sequence of the newest source."""
        query = sa.select(sa.func.max(S.sequence))
        return int(await self._reader.run(lambda tx: tx.execute(query).scalar() or 0, quick=True))

    async def since(self, after: int, many: int = AT_ONCE) -> tuple[list[Source], int]:
        """The next sources after a sequence, those without trouble, and the sequence of the last that was looked at."""
        query = sa.select(db.cell_source).where(S.sequence > after).order_by(S.sequence).limit(many)

        def work(tx: sa.Connection) -> tuple[list[Source], int]:
            rows = tx.execute(query).all()
            last = int(rows[-1].sequence) if rows else after
            return [_source(row) for row in rows if not row.trouble and row.cells], last

        found: tuple[list[Source], int] = await self._reader.run(work)
        return found

    async def put(self, source: Source, digest: str, file: str, decided: Sequence[Decided]) -> None:
        """The cells of a job, instead of those that it had brought before. Its ``sequence`` is given here."""
        doc = {
            **{"Model": source.model, "Instrument": source.instrument, "At": source.at, "File": file},
            **{"Classes": source.classes, "Features": source.names, "Map": source.map},
        }
        row = {"digest": digest, "trouble": "", "doc": json.dumps(doc)}
        row |= {"cells": to_text(source.cells), "features": to_text(source.features.astype("<f4"))}

        def work(tx: sa.Connection) -> None:
            sequence = _placed(tx, source.job, row)
            for one in decided:
                _decided(tx, one, source.job, sequence, self._clock())

        await self._writer.run(work)

    async def forget(self, job: str, ids: Sequence[int]) -> None:
        """Cells of a job are no longer kept; its table is not read again for their sake."""

        def work(tx: sa.Connection) -> None:
            row = tx.execute(sa.select(S.cells, S.features).where(S.job == job, S.cells != "")).first()
            if row is None:
                return
            cells = kept_of(row.cells)
            stay = ~np.isin(cells["id"], ids)
            left = features_of(row.features, len(cells))[:, stay]
            fresh = {"cells": to_text(cells[stay]), "features": to_text(left)}
            tx.execute(db.cell_source.update().where(S.job == job).values(**fresh))

        await self._writer.run(work)

    async def tell_trouble(self, job: str, digest: str, why: str) -> None:
        """The table of a job cannot be read; it is not tried again before there is another."""
        row = {"digest": digest, "trouble": why[:1000], "doc": "{}", "cells": "", "features": ""}
        await self._writer.run(lambda tx: _placed(tx, job, row))

    async def troubles(self, most: int = 20) -> list[Trouble]:
        """The newest first."""
        query = sa.select(S.job, S.trouble).where(S.trouble != "").order_by(S.sequence.desc()).limit(most)
        rows = await self._reader.run(lambda tx: tx.execute(query).all())
        return [Trouble(Job=row.job, Why=row.trouble) for row in rows]

    async def files(self, jobs: Sequence[str]) -> dict[str, str]:
        """Where each job's table lies."""
        query = sa.select(S.job, S.doc).where(S.job.in_(jobs), S.trouble == "")
        rows = await self._reader.run(lambda tx: tx.execute(query).all())
        return {row.job: str(json.loads(row.doc).get("File", "")) for row in rows}

    # --- groups

    async def groups(self) -> list[Group]:
        """By name."""
        query = sa.select(G.id, G.name, G.by, G.at, G.many).order_by(G.name)
        return [_group(row) for row in await self._reader.run(lambda tx: tx.execute(query).all())]

    async def group(self, group_id: str) -> tuple[Group, tuple[int, ...]]:
        """A group, and the ids of its cells. Raises ``NotFound``."""
        query = sa.select(db.cell_group).where(G.id == group_id)
        row = await self._reader.run(lambda tx: tx.execute(query).first())
        if row is None:
            raise NotFound(f"there is no group {group_id[:100]}")
        return _group(row), tuple(ids_of(row.cells).tolist())

    async def make_group(self, name: str, ids: Any, by: str) -> Group:
        """Under this name, instead of what it named before. Raises ``Conflict`` where there are too many."""
        row = {"name": name, "by": by, "at": self._clock(), "many": len(ids), "cells": to_text(ids.astype("<i8"))}

        def work(tx: sa.Connection) -> str:
            return _named(tx, db.cell_group, row, MOST_GROUPS, "groups")

        made = await self._writer.run(work)
        return Group(Id=made, Name=name, By=by, At=row["at"], Count=len(ids))

    async def drop_group(self, group_id: str) -> None:
        """Its cells stay. Raises ``NotFound``."""
        await self._writer.run(lambda tx: _dropped(tx, db.cell_group, group_id, "group"))

    # --- gates

    async def gates(self) -> list[Gate]:
        """By name, with what they have decided."""
        sums = (sa.func.sum(D.accepted), sa.func.sum(D.rejected), sa.func.sum(D.nanoseconds))
        counted = sa.select(D.gate, *sums).group_by(D.gate)

        def work(tx: sa.Connection) -> list[Gate]:
            counts = {row[0]: [int(one or 0) for one in row[1:]] for row in tx.execute(counted).all()}
            rows = tx.execute(sa.select(db.cell_gate).order_by(T.name)).all()
            return [_gate(row, counts.get(row.id, [0, 0, 0])) for row in rows]

        found: list[Gate] = await self._reader.run(work)
        return found

    async def rules(self) -> dict[str, Rule]:
        """Of all gates, by id."""
        rows = await self._reader.run(lambda tx: tx.execute(sa.select(T.id, T.rule)).all(), quick=True)
        return {row.id: Rule.model_validate_json(row.rule) for row in rows}

    async def make_gate(self, name: str, rule: Rule, by: str) -> Gate:
        """Raises ``Conflict`` where there are too many."""
        row = {"name": name, "by": by, "at": self._clock(), "rule": rule.model_dump_json(by_alias=True)}

        def work(tx: sa.Connection) -> str:
            made = _named(tx, db.cell_gate, row, MOST_GATES, "gates")
            tx.execute(db.cell_decision.delete().where(D.gate == made))
            return made

        made = await self._writer.run(work)
        return Gate(Id=made, Name=name, By=by, At=row["at"], Rule=rule)

    async def drop_gate(self, gate_id: str) -> None:
        """It decides no more, and what it had decided is forgotten. Raises ``NotFound``."""

        def work(tx: sa.Connection) -> None:
            _dropped(tx, db.cell_gate, gate_id, "gate")
            tx.execute(db.cell_decision.delete().where(D.gate == gate_id))

        await self._writer.run(work)

    async def decisions(self, gate_id: str, after: int, most: int) -> list[Decision]:
        """In the order in which they were made. Raises ``NotFound``."""
        query = (
            sa.select(db.cell_decision).where(D.gate == gate_id, D.sequence > after).order_by(D.sequence).limit(most)
        )

        def work(tx: sa.Connection) -> list[Decision] | None:
            known = tx.execute(sa.select(T.id).where(T.id == gate_id)).first()
            return None if known is None else [_decision(row) for row in tx.execute(query).all()]

        found: list[Decision] | None = await self._reader.run(work)
        if found is None:
            raise NotFound(f"there is no gate {gate_id[:100]}")
        return found


def _upsert(tx: sa.Connection, table: sa.Table) -> Any:
    return (postgresql_insert if tx.dialect.name == "postgresql" else sqlite_insert)(table)


def _placed(tx: sa.Connection, job: str, row: Mapping[str, Any]) -> int:
    """A row for a job, as the newest. Whoever else adds one waits for our commit, so that numbers come in its order."""
    note = db.note
    new = _upsert(tx, note).on_conflict_do_nothing(index_elements=["name"])
    tx.execute(new, {"name": db.NEXT_SOURCE, "value": "0"})
    mine = sa.select(note.c.value).where(note.c.name == db.NEXT_SOURCE).with_for_update()
    sequence = int(tx.execute(mine).scalar_one()) + 1
    tx.execute(note.update().where(note.c.name == db.NEXT_SOURCE).values(value=str(sequence)))
    tx.execute(db.cell_source.delete().where(S.job == job))
    tx.execute(db.cell_source.insert(), {"job": job, "sequence": sequence, **row})
    return sequence


def _decided(tx: sa.Connection, one: Decided, job: str, sequence: int, now: int) -> None:
    if tx.execute(sa.select(T.id).where(T.id == one.gate)).first() is None:
        return  # it was deleted meanwhile
    tx.execute(db.cell_decision.delete().where(D.gate == one.gate, D.job == job))
    row = {"gate": one.gate, "job": job, "sequence": sequence, "at": now, "accepted": one.accepted}
    row |= {"rejected": len(one.rejected), "nanoseconds": one.nanoseconds, "cells": to_text(one.rejected.astype("<i8"))}
    tx.execute(db.cell_decision.insert(), row)


def _named(tx: sa.Connection, table: sa.Table, row: Mapping[str, Any], most: int, what: str) -> str:
    """The id under which a row lies now: that of the row of its name, or a new one."""
    known = tx.execute(sa.select(table.c.id).where(table.c.name == row["name"])).scalar()
    if known is not None:
        tx.execute(table.update().where(table.c.id == known).values(**row))
        return str(known)
    if int(tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()) >= most:
        raise Conflict(f"there are {most} {what} already: delete one first")
    made = str(uuid.uuid4())
    tx.execute(table.insert(), {"id": made, **row})
    return made


def _dropped(tx: sa.Connection, table: sa.Table, one: str, what: str) -> None:
    if not tx.execute(table.delete().where(table.c.id == one)).rowcount:
        raise NotFound(f"there is no {what} {one[:100]}")


def _source(row: Any) -> Source:
    doc, cells = json.loads(row.doc), kept_of(row.cells)
    return Source(
        sequence=int(row.sequence),
        job=row.job,
        model=doc["Model"],
        instrument=doc["Instrument"],
        at=int(doc["At"]),
        classes=tuple(doc["Classes"]),
        names=tuple(doc["Features"]),
        cells=cells,
        features=features_of(row.features, len(cells)),
        map=int(doc.get("Map", 0)),
    )


def _group(row: Any) -> Group:
    return Group(Id=row.id, Name=row.name, By=row.by, At=int(row.at), Count=int(row.many))


def _gate(row: Any, counts: Sequence[int]) -> Gate:
    accepted, rejected, nanoseconds = counts
    mean = nanoseconds / 1000 / max(1, accepted + rejected)
    rule = Rule.model_validate_json(row.rule)
    about = {"Accepted": accepted, "Rejected": rejected, "Microseconds": round(mean, 3)}
    return Gate.model_validate({"Id": row.id, "Name": row.name, "By": row.by, "At": int(row.at), "Rule": rule, **about})


def _decision(row: Any) -> Decision:
    said = {"Job": row.job, "Sequence": int(row.sequence), "At": int(row.at), "Nanoseconds": int(row.nanoseconds)}
    numbers = ids_of(row.cells).tolist()
    return Decision(**said, Accepted=int(row.accepted), Rejected=int(row.rejected), RejectedCells=numbers)
