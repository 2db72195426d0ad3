"""The outbox: messages that transactions left behind, until the bus has them."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from gateway import tables as db
from gateway.database import is_away, unavailable
from gateway.reader import Reader
from gateway.writer import Writer

O = db.outbox.c  # noqa: E741 - as J is for jobs
LOCK = 7318349394477057
"""Of whoever has messages in hand; any number that nobody else uses."""
Publish = Callable[[Sequence[Any]], Awaitable[list[int]]]
"""Publishes rows (seq, topic, key, payload) and answers the seqs of those that need not be said again."""


class Outbox:
    """Messages leave at least once, oldest first. Of two gateways on one PostgreSQL one at a time has some in hand,
    so that the order of each job's messages is kept; when it dies they are free at once."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer, self._reader = writer, reader
        self._shared = reader.engine.dialect.name == "postgresql"

    async def send(self, limit: int, publish: Publish, without: Collection[str] = ()) -> int:
        """Publish the oldest messages, and forget those that the bus has taken; the number of those tried. Jobs that
        have a message for one of the topics ``without`` are left out."""
        oldest = _oldest(limit, without)
        return await (self._send_locked(oldest, publish) if self._shared else self._send_alone(oldest, publish))

    async def depth(self) -> int:
        """How many messages wait."""
        query = sa.select(sa.func.count()).select_from(db.outbox)
        return int(await self._reader.run(lambda tx: tx.execute(query).scalar()))

    async def _send_alone(self, oldest: sa.Select[Any], publish: Publish) -> int:
        rows = await self._reader.run(lambda tx: tx.execute(oldest).all())
        if done := await publish(rows) if rows else []:
            await self._writer.run(lambda tx: tx.execute(db.outbox.delete().where(O.seq.in_(done))))
        return len(rows)

    async def _send_locked(self, oldest: sa.Select[Any], publish: Publish) -> int:
        try:
            connection = await asyncio.to_thread(self._reader.engine.connect)
            try:
                rows = await asyncio.to_thread(_take, connection, oldest)
                done = await publish(rows) if rows else []
                await asyncio.to_thread(_forget, connection, done)
            finally:
                await asyncio.to_thread(connection.close)
        except sa.exc.SQLAlchemyError as error:
            if is_away(error):
                raise unavailable(error) from None
            raise
        return len(rows)


def _oldest(limit: int, without: Collection[str]) -> sa.Select[Any]:
    oldest = sa.select(O.seq, O.topic, O.key, O.payload).order_by(O.seq).limit(limit)
    if not without:
        return oldest
    behind = sa.select(O.key).where(O.topic.in_(without))
    return oldest.where(O.key.not_in(behind))


def _take(connection: sa.Connection, oldest: sa.Select[Any]) -> Sequence[Any]:
    """The oldest messages, which nobody else takes until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    return connection.execute(oldest).all()


def _forget(connection: sa.Connection, done: list[int]) -> None:
    if done:
        connection.execute(db.outbox.delete().where(O.seq.in_(done)))
    connection.commit()
