"""Filters as sets of ids, kept at hand: asked again, only cells that came since are looked up."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.cells.rules import GONE
from gateway.cells.store import Block, CellStore, Wanted
from gateway.vectors.port import IdSet

KEPT = 64
"""Filters that are remembered."""


@dataclass(frozen=True)
class _Known:
    """The ids below ``until`` of a filter."""

    ids: IdSet
    until: int


class Filters:
    """Made of the database. Ids are given in order and never twice, so that what was found once stays true."""

    def __init__(self, store: CellStore) -> None:
        self._store = store
        self._kept: OrderedDict[Wanted, _Known] = OrderedDict()
        self._generation = 0

    def changed(self) -> None:
        """Something else is said of known cells now."""
        self._generation += 1
        self._kept.clear()

    async def among(self, wanted: Wanted) -> IdSet | None:
        """The ids of cells that are wanted, some of which may be deleted; None: all of the model."""
        if not wanted.narrows:
            return None
        before = self._kept.get(wanted) or _Known(IdSet(np.zeros(0, np.uint8)), 0)
        generation = self._generation
        blocks = await self._store.blocks(wanted, before.until)
        codes = await self._store.codes(wanted.classes) if wanted.classes else []
        known = await asyncio.to_thread(_grown, before, blocks, codes)
        if generation == self._generation:
            self._kept[wanted] = known
            self._kept.move_to_end(wanted)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return known.ids


def _grown(before: _Known, blocks: Sequence[Block], codes: Sequence[int]) -> _Known:
    if not blocks:
        return before
    until = blocks[-1].first + blocks[-1].many
    inside = np.zeros(until, np.bool_)
    inside[: min(until, 8 * len(before.ids.bits))] = np.unpackbits(before.ids.bits, count=until, bitorder="little")[
        : 8 * len(before.ids.bits)
    ]
    for block in blocks:
        here = slice(block.first, block.first + block.many)
        if block.cells is None:
            inside[here] = True
        else:
            inside[here] = np.isin(block.cells["code"], codes) & (block.cells["number"] != GONE)
    return _Known(IdSet.of_mask(inside), until)
