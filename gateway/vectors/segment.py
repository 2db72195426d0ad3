"""A part of an index that changes no more, but for what is deleted: files that are mapped into memory."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from contracts.disk import place, room_at
from gateway.vectors.building import Part, rows_of
from gateway.vectors.checked import bad_blocks, described, whole
from gateway.vectors.exact import nearest
from gateway.vectors.kinds import FLAT, Kind
from gateway.vectors.manifest import Card
from gateway.vectors.port import NOBODY, Damaged, Found, Ids, IdSet, Mask, Vectors, nothing
from gateway.vectors.quantised import Quantised, mapped

log = logging.getLogger(__name__)
FEW = 4096
"""So many vectors are compared one by one sooner than an index with a filter finds the best of them."""
WIDER = 16
"""A filter makes the search go to so many times as many lists at most."""


class Segment:
    """Vectors by ascending ids. Deleting is called by one thread at a time; searching by any."""

    def __init__(self, folder: Path, card: Card, dimension: int) -> None:
        """Looks through the files but for the vectors, of which a look later tells (``examine``). Codes that are
        damaged are done without: then each vector is looked at. Raises ``Damaged`` where ids or vectors are missing."""
        self._folder, self.card, self._dimension = folder / card.name, card, dimension
        whole(self._folder / "ids", card.ids)
        ids: Ids = np.memmap(self._folder / "ids", np.dtype("<i8"), "r", shape=(card.count,))
        self.ids: Ids = ids.view(np.ndarray)  # NumPy takes 5 us more for each look into what it knows to be a file
        self.vectors = mapped(self._folder / "vectors", card.count, dimension)
        self.worn = ""
        """Why its codes have to be made anew; empty when they are well."""
        self.lost = np.zeros(card.count, np.bool_)
        """Vectors that were found to be damaged."""
        self.lossy = False
        self._selector: tuple[int, Any] = (-1, None)
        self.kind, self._index = self._opened()
        self.alive = ~self._deleted()
        self.dirty = False
        """Something was deleted since the manifest was written."""
        self.dead = card.count - int(self.alive.sum())

    def _opened(self) -> tuple[Kind, Quantised]:
        codes = self._folder / "codes"
        if self.card.codes is not None:
            try:
                whole(codes, self.card.codes)
                kind = self.card.form
                return kind, Quantised(kind, self.card.count, self._folder / "vectors", codes)
            except Damaged as error:
                self.worn = str(error)
                log.warning("%s; its vectors are looked at one by one until the codes are made anew", error)
        return Kind(FLAT), Quantised(Kind(FLAT), self.card.count, self._folder / "vectors", None)

    def _deleted(self) -> Mask:
        if self.card.deleted is None:
            return np.zeros(self.card.count, np.bool_)
        path = self._folder / self.card.deleted.name
        whole(path, self.card.deleted)
        return np.unpackbits(np.fromfile(path, np.uint8), count=self.card.count, bitorder="little").astype(np.bool_)

    def places(self, ids: Ids) -> tuple[Ids, Mask]:
        """Where ids are, and which of them are here and alive."""
        at = np.searchsorted(self.ids, ids)
        at[at == self.card.count] = 0
        here: Mask = (self.ids[at] == ids) & self.alive[at]
        return at, here

    def delete(self, ids: Ids) -> int:
        """Forget these; how many were here."""
        if not len(ids) or ids.max() < self.ids[0] or ids.min() > self.ids[-1]:
            return 0
        at, here = self.places(ids)
        count = int(here.sum())
        if count:
            self.alive[at[here]] = False
            self.dead += count
            self.dirty = True
        return count

    def search(self, queries: Vectors, k: int, among: IdSet | None) -> Found:
        """The nearest here."""
        if among is not None:
            wanted = among.mask(self.ids) & self._sound()
            count = int(np.count_nonzero(wanted))
            if count <= FEW:
                return self._one_by_one(queries, k, np.nonzero(wanted)[0])
            numbers, scores = self._index.search(queries, k, self._widened(count), self._index.only(wanted))
        else:
            numbers, scores = self._index.search(queries, k, self.card.effort, self._living())
        ids: Ids = self.ids.take(numbers, mode="wrap")  # -1: nothing was found
        if (numbers < 0).any():
            ids[numbers < 0], scores[numbers < 0] = NOBODY, 0
        return Found(ids, scores)

    def _sound(self) -> Mask:
        return self.alive & ~self.lost if self.lossy else self.alive

    def _living(self) -> Any:
        """A selector of what is neither deleted nor damaged, made anew when that has changed; None: all are well."""
        if not self.dead and not self.lossy:
            return None
        kept, selector = self._selector
        if kept != self.dead:
            kept, selector = self.dead, self._index.only(self._sound())
            self._selector = kept, selector
        return selector

    def _widened(self, count: int) -> int:
        """Where few of a list are wanted, more lists are gone to."""
        return max(1, round(self.card.effort * min(WIDER, self.card.count / count)))

    def _one_by_one(self, queries: Vectors, k: int, places: Ids) -> Found:
        found = nothing(len(queries), k)
        if len(places):
            vectors = self.vectors[places].astype(np.float32)
            nearest(queries @ vectors.T, np.asarray(self.ids[places]), found)
        return found

    def examine(self) -> None:
        """Look through the vectors. Those in damaged blocks are no longer found."""
        file = self.card.vectors
        for block in bad_blocks(self._folder / "vectors", file):
            self.lost[rows_of(block, file.block, self.card.count, self._dimension)] = True
        self._selector, self.lossy = (-1, None), bool(self.lost.any())

    @property
    def trouble(self) -> str:
        """What is damaged, and what to do; empty when nothing is known to be."""
        lost = np.nonzero(self.lost & self.alive)[0]
        if not len(lost):
            return ""
        where = f"{self._folder / 'vectors'} is damaged: {len(lost)} vectors between the ids {self.ids[lost[0]]} and"
        return f"{where} {self.ids[lost[-1]]} are not found any more; embed their cells again"

    def keep_deleted(self, number: int) -> Card:
        """Write what was deleted to a new file; the card that names it."""
        path, temporary = self._folder / f"deleted-{number:08}", self._folder / f".deleted-{number:08}.part"
        with room_at(path):
            np.packbits(~self.alive, bitorder="little").tofile(temporary)
        place(temporary, path)
        return self.card.model_copy(update={"deleted": described(path)})

    def kept(self, card: Card) -> None:
        """The manifest holds this card now."""
        before, self.card, self.dirty = self.card.deleted, card, False
        if before is not None and card.deleted != before:
            (self._folder / before.name).unlink(missing_ok=True)

    def part(self) -> Part:
        """What a merge takes of it."""
        return self.ids, self.vectors, self.alive.copy()
