"""Reads beside the writer: what is seen is the last commit."""

import asyncio
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from gateway.database import is_away, is_unfit, unavailable, unfit


class Reader:
    """Runs queries, each on a connection of its own. Raises ``Unavailable`` while the database is away, ``BadRequest``
    for a value that it cannot hold."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._at_once = engine.dialect.name == "sqlite"

    async def run(self, query: Callable[[sa.Connection], Any], *, quick: bool = False) -> Any:
        """The query's result. A ``quick`` one (few rows, by an index) of an embedded database is done at once: it
        takes less time than handing it to a thread, and no writer can hold it up."""
        if quick and self._at_once:
            return self._run(query)
        return await asyncio.to_thread(self._run, query)

    def _run(self, query: Callable[[sa.Connection], Any]) -> Any:
        try:
            with self.engine.connect() as connection:
                return query(connection)
        except (sa.exc.SQLAlchemyError, OverflowError, UnicodeEncodeError) as error:
            if is_away(error):
                raise unavailable(error) from None
            if is_unfit(error):
                raise unfit(error) from None
            raise
