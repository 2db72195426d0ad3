"""The index on the disk: a log, a part in memory that takes what is new, and segments that change no more.

What is added goes into the log, synced, then into memory, where it is found at once. When memory holds ``unit``
vectors it becomes a segment, and the log's file that it came from is removed; a thread of its own does this, and merges
segments, while others search and add. The manifest, replaced as a whole, says what counts.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.disk import keep_folder
from contracts.errors import Conflict, Unavailable
from gateway.vectors import manifest as written
from gateway.vectors.exact import ExactIndex
from gateway.vectors.folder import locked, swept
from gateway.vectors.kinds import Choice
from gateway.vectors.log import Log, Record, mended, replayed
from gateway.vectors.manifest import Card, Manifest
from gateway.vectors.port import Damaged, Found, Ids, IdSet, Mask, Vectors, best, nothing
from gateway.vectors.quantised import faiss, threads
from gateway.vectors.segment import Segment

log = logging.getLogger(__name__)
BACKLOG = 4
"""Parts that wait to become segments at most; then who adds has to wait."""
PATIENCE = 60.0
"""Seconds for which adding waits."""


@dataclass(frozen=True)
class Plan:
    """How an index is kept. ``recall`` among ten is what segments are tuned to."""

    unit: int = 8192
    """Vectors that are gathered in memory."""
    kind: Choice = "auto"
    memory_mb: float = 4096
    """For the codes of all segments; above it they are made coarser."""
    recall: float = 0.97
    most: int = 100_000_000
    """Vectors of a segment."""
    threads: int = 1
    """That work on one search."""


@dataclass(frozen=True)
class View:
    """What is searched: it never changes, another takes its place."""

    segments: tuple[Segment, ...]
    fresh: tuple[ExactIndex, ...]
    """Parts in memory, the oldest first; the last one takes what is new."""


class StoredIndex:
    """Implements ``VectorIndex`` in a folder that no other process may use meanwhile."""

    def __init__(self, folder: Path, dimension: int, plan: Plan = Plan()) -> None:
        """Opens what is there, up to what was answered last. Raises ``Damaged`` where that cannot be known,
        ``Conflict`` for a folder that is in use or holds vectors of another length."""
        faiss()
        keep_folder(folder)
        self._folder, self._dimension, self.plan = folder, dimension, plan
        self._guard = locked(folder)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._manifest: Manifest
        self.view: View
        self._logs: list[int]
        self._log: Log
        self._broken: dict[str, str] = {}
        self.closed = False
        try:
            self._open()
        except BaseException:
            self._guard.close()
            raise
        from gateway.vectors.keeping import Keeper

        self.keeper = Keeper(self)

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def manifest(self) -> Manifest:
        """As it was written last."""
        return self._manifest

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See ``VectorIndex``. Vectors are kept in half precision: each number to three decimal places at least."""
        if vectors.shape != (len(ids), self._dimension):
            raise ValueError(f"{len(ids)} ids and vectors of shape {vectors.shape}, not {(len(ids), self._dimension)}")
        if not len(ids):
            return
        kept = vectors.astype(np.float16).astype(np.float32)
        with self._changed:
            self._writable()
            self._log.append(Record(ids, kept))
            self._apply(Record(ids, kept))
            if self.view.fresh[-1].used >= self.plan.unit:
                self.turn()

    def delete(self, ids: Ids) -> int:
        """See ``VectorIndex``."""
        if not len(ids):
            return 0
        with self._changed:
            self._writable()
            self._log.append(Record(ids))
            return self._apply(Record(ids))

    def search(self, queries: Vectors, k: int, among: IdSet | None = None) -> Found:
        """See ``VectorIndex``."""
        threads(self.plan.threads)
        view, queries = self.view, np.ascontiguousarray(queries, np.float32)
        found: list[Found] = [one.search(queries, k, among) for one in view.segments]
        found += [one.search(queries, k, among) for one in view.fresh if one.used]
        return best(found, k) if found else nothing(len(queries), k)

    def get(self, ids: Ids) -> tuple[Vectors, Mask]:
        """See ``VectorIndex``."""
        view = self.view
        found, known = np.zeros((len(ids), self._dimension), np.float32), np.zeros(len(ids), np.bool_)
        for segment in view.segments:
            at, here = segment.places(ids)
            found[here], known[here] = segment.vectors[at[here]].astype(np.float32), True
        for part in view.fresh:
            vectors, here = part.get(ids)
            found[here], known[here] = vectors[here], True
        return found, known

    def count(self) -> int:
        view = self.view
        return sum(one.card.count - one.dead for one in view.segments) + sum(one.count() for one in view.fresh)

    def about(self) -> Mapping[str, Any]:
        """Statistics: segments with their kinds and recall, bytes on the disk and in memory, troubles."""
        view, cards = self.view, [one.card for one in self.view.segments]
        files = [file for card in cards for file in (card.ids, card.vectors, card.codes) if file is not None]
        memory = [(card.codes or card.vectors).size + card.ids.size + 2 * card.count for card in cards]
        fields = {"name", "count", "kind", "effort", "recall", "seconds"}
        segments = [one.card.model_dump(include=fields) | {"deleted": one.dead} for one in view.segments]
        return {
            "count": self.count(),
            "fresh": sum(one.count() for one in view.fresh),
            "segments": segments,
            "disk_bytes": sum(file.size for file in files),
            "memory_bytes": sum(memory),
            "troubles": self.troubles(),
        }

    def troubles(self) -> list[str]:
        """What is damaged or cannot be done now, each with its remedy."""
        found = [*self._broken.values(), *(one.trouble for one in self.view.segments), self.keeper.trouble]
        return [words for words in found if words]

    def optimise(self) -> None:
        """Make one segment of all, whatever it takes. Blocks until it is done."""
        self.keeper.all_into_one()

    def settle(self) -> None:
        """Wait until nothing is left to be written or merged."""
        self.keeper.settle()

    def close(self) -> None:
        """Stop; what was answered is on the disk anyway."""
        with self._changed:
            if self.closed:
                return
            self.closed = True
            self._changed.notify_all()
        self.keeper.join()
        self._log.close()
        self._guard.close()

    # What the keeper does with it, under its lock.

    @contextlib.contextmanager
    def changing(self) -> Iterator[threading.Condition]:
        """Nobody adds, deletes or replaces the view meanwhile."""
        with self._changed:
            yield self._changed

    def publish(self, segments: tuple[Segment, ...], flushed: int) -> None:
        """These segments count from now on, and the ``flushed`` oldest parts in memory are in them."""
        cards = []
        number = self._manifest.following
        for segment in segments:
            cards.append(segment.keep_deleted(number) if segment.dirty else segment.card)
            number += segment.dirty
        logs = self._logs[flushed:]
        broken = tuple(card for card in self._manifest.segments if card.name in self._broken)
        manifest = Manifest(dimension=self._dimension, segments=(*cards, *broken), log=logs[0], following=number)
        written.write(self._folder, manifest)
        gone = self._logs[:flushed]
        self._manifest, self._logs = manifest, logs
        self.view = View(segments, self.view.fresh[flushed:])
        for segment, card in zip(segments, cards, strict=True):
            segment.kept(card)
        for number in gone:
            self._log_path(number).unlink(missing_ok=True)

    def reserve(self) -> int:
        """A number that nothing else has."""
        number = self._manifest.following
        self._manifest = self._manifest.model_copy(update={"following": number + 1})
        return number

    def opened(self, card: Card) -> Segment:
        """A segment that was just made."""
        return Segment(self._folder, card, self._dimension)

    def _writable(self) -> None:
        if self.closed:
            raise Unavailable("the index of vectors is closed: it stops")
        ready = self._changed.wait_for(lambda: self.closed or len(self.view.fresh) <= BACKLOG, PATIENCE)
        if not ready or self.closed:
            raise Unavailable(f"vectors come faster than {self._folder} can keep them: add them again later")

    def _apply(self, record: Record) -> int:
        older, last = self.view.fresh[:-1], self.view.fresh[-1]
        if record.vectors is not None:
            last.add(record.ids, record.vectors)
        gone = last.delete(record.ids) if record.vectors is None else 0
        gone += sum(part.delete(record.ids) for part in older)
        return gone + sum(segment.delete(record.ids) for segment in self.view.segments)

    def turn(self) -> None:
        """What is in memory is to become a segment; what is new goes to another part and another file of the log."""
        number = self.reserve()
        fresh = Log(self._log_path(number), self._dimension)
        self._log.close()
        self._log = fresh
        self._logs.append(number)
        self.view = View(self.view.segments, (*self.view.fresh, self._memory()))
        self._changed.notify_all()

    def _memory(self) -> ExactIndex:
        return ExactIndex(self._dimension, self.plan.unit + 1024)

    def _log_path(self, number: int) -> Path:
        return self._folder / f"log-{number:08}"

    def _open(self) -> None:
        found = written.read(self._folder)
        if found is None:
            if any(self._folder.glob("segment-*")):
                raise Damaged(f"{self._folder} holds segments, but {written.NAME} is missing: put it back from a copy")
            found = Manifest(dimension=self._dimension)
            written.write(self._folder, found)
        if found.dimension != self._dimension:
            raise Conflict(f"{self._folder} holds vectors of {found.dimension} numbers, not of {self._dimension}")
        self._manifest = found
        swept(self._folder, found)
        segments = tuple(one for card in found.segments if (one := self._tried(card)) is not None)
        self._replay(segments)

    def _tried(self, card: Card) -> Segment | None:
        try:
            return self.opened(card)
        except Damaged as error:
            words = f"{error}: {card.count} vectors are not found any more; put the file back from a copy and restart, "
            self._broken[card.name] = words + "or remove the folder and embed the cells again"
            log.error("%s", self._broken[card.name])
            return None

    def _replay(self, segments: tuple[Segment, ...]) -> None:
        """The parts in memory, as they were, one for each file of the log."""
        numbers = sorted(int(path.name[4:]) for path in self._folder.glob("log-*")) or [self._manifest.log]
        following = max(self._manifest.following, numbers[-1] + 1)
        self._manifest = self._manifest.model_copy(update={"following": following})
        self._logs, self.view = [], View(segments, ())
        for number in numbers:
            self._logs.append(number)
            self.view = View(segments, (*self.view.fresh, self._memory()))
            path = self._log_path(number)
            if not path.exists():
                continue
            if torn := mended(path, self._dimension):
                log.warning("%s ended with %d bytes that were never answered: they are gone", path, torn)
            for record in replayed(path, self._dimension):
                self._apply(record)
        self._log = Log(self._log_path(numbers[-1]), self._dimension)
