"""The last report of each instrument."""

from dataclasses import dataclass

import sqlalchemy as sa

from contracts.edge_status import EdgeStatus
from contracts.ports import Clock
from gateway import tables as db
from gateway.reader import Reader
from gateway.writer import Writer

MOST = 1000
"""Instruments whose reports are kept; of more, those heard of last."""


@dataclass(frozen=True)
class Reported:
    """An instrument's last report, and when it came (ns since the epoch, by the gateway's clock)."""

    name: str
    at: int
    status: EdgeStatus


class StatusStore:
    """A row an instrument. Implements ``contracts.edge_status.Statuses``."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer, self._reader, self._clock = writer, reader, clock

    async def tell(self, name: str, status: EdgeStatus) -> None:
        """Keep this report instead of the one before."""
        row = {"at": self._clock(), "doc": status.model_dump_json(by_alias=True)}
        mine = db.edge_status.c.name == name

        def work(tx: sa.Connection) -> None:
            if not tx.execute(db.edge_status.update().where(mine).values(row)).rowcount:
                tx.execute(db.edge_status.insert().values(name=name, **row))
                _shorten(tx)

        await self._writer.run(work)

    async def reported(self) -> list[Reported]:
        """Of all instruments, by name."""
        query = sa.select(db.edge_status).order_by(db.edge_status.c.name)
        rows = await self._reader.run(lambda tx: tx.execute(query).all())
        return [Reported(row.name, row.at, EdgeStatus.model_validate_json(row.doc)) for row in rows]

    async def forget(self, name: str) -> bool:
        """Whether there was a report. It comes again if the instrument lives."""
        gone = db.edge_status.delete().where(db.edge_status.c.name == name)
        return bool(await self._writer.run(lambda tx: tx.execute(gone).rowcount))


def _shorten(tx: sa.Connection) -> None:
    """Where nobody has to say who they are, anybody may invent names."""
    table = db.edge_status
    kept = sa.select(table.c.name).order_by(table.c.at.desc(), table.c.name).limit(MOST)
    names = tx.execute(kept).scalars().all()
    if len(names) == MOST:
        tx.execute(table.delete().where(table.c.name.not_in(names)))
