"""Places of stored cells, in SQL: which lie as an older map had them, and how they are moved."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from gateway import tables as db
from gateway.cell_map.charts import Charted
from gateway.cell_map.rules import Floats, features_of, kept_of, to_text
from gateway.reader import Reader
from gateway.writer import Writer

S = db.cell_source.c
NOVELTY = "novelty"


@dataclass(frozen=True)
class Move:
    """New places of the cells ``ids`` (n) of a job."""

    job: str
    ids: Any
    charted: Charted


class Places:
    """Each job's row says by which map its cells lie; one without a word of it by that which came with the model."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer, self._reader = writer, reader

    async def maps(self) -> list[tuple[str, str, int]]:
        """Each job, the model of its cells, and the version of the map by which they lie; the oldest first."""
        query = sa.select(S.job, S.doc).where(S.trouble == "", S.cells != "").order_by(S.sequence)

        def work(tx: sa.Connection) -> list[tuple[str, str, int]]:
            said = [(str(row.job), json.loads(row.doc)) for row in tx.execute(query)]
            return [(job, str(doc["Model"]), int(doc.get("Map", 0))) for job, doc in said]

        found: list[tuple[str, str, int]] = await self._reader.run(work)
        return found

    async def ids(self, job: str) -> Any:
        """Of the cells of a job, (n) int64."""
        query = sa.select(S.cells).where(S.job == job, S.cells != "")
        text = await self._reader.run(lambda tx: tx.execute(query).scalar())
        return (kept_of(text)["id"] if text else np.zeros(0)).astype(np.int64)

    async def move(self, moves: list[Move]) -> None:
        """All of these, or none. Cells that are gone meanwhile stay gone."""

        def work(tx: sa.Connection) -> None:
            for one in moves:
                _moved(tx, one)

        await self._writer.run(work)


def joined(moves: Sequence[Move]) -> tuple[Any, Floats, Floats]:
    """Ids (n), places (n, 2) and novelty (n) of all of them."""
    charted = [one.charted for one in moves]
    return (
        np.concatenate([one.ids for one in moves]),
        np.concatenate([one.places for one in charted]),
        np.concatenate([one.novelty for one in charted]),
    )


def _moved(tx: sa.Connection, move: Move) -> None:
    row = tx.execute(sa.select(S.doc, S.cells, S.features).where(S.job == move.job, S.cells != "")).first()
    if row is None:
        return
    said, cells = json.loads(row.doc), kept_of(row.cells).copy()
    _, mine, theirs = np.intersect1d(cells["id"], move.ids, return_indices=True)
    for number, name in enumerate(("x", "y")):
        cells[name][mine] = move.charted.places[theirs, number]
    values = {"doc": json.dumps(said | {"Map": move.charted.version}), "cells": to_text(cells)}
    if NOVELTY in said["Features"]:
        features = features_of(row.features, len(cells)).copy()
        features[said["Features"].index(NOVELTY), mine] = move.charted.novelty[theirs]
        values["features"] = to_text(features)
    tx.execute(db.cell_source.update().where(S.job == move.job).values(**values))
