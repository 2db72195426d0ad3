"""The thread that turns what is in memory into segments, merges them, and looks for damage, while others search."""

import logging
import os
import shutil
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import AppError
from gateway.vectors import building
from gateway.vectors.building import Part
from gateway.vectors.exact import ExactIndex
from gateway.vectors.kinds import Kind, choose
from gateway.vectors.merging import Size, due
from gateway.vectors.port import Ids
from gateway.vectors.quantised import threads
from gateway.vectors.segment import Segment

if TYPE_CHECKING:
    from gateway.vectors.stored import StoredIndex

log = logging.getLogger(__name__)
NICE = 10
"""Searching comes first."""
AGAIN = 5.0
"""Seconds after which what failed (a full disk) is tried again."""


class Keeper:
    """One for each index. ``trouble`` says what it cannot do now."""

    def __init__(self, index: "StoredIndex") -> None:
        self._index = index
        self.trouble = ""
        self._idle = False
        self._everything = False
        self._thread = threading.Thread(target=self._run, name=f"keeper of {index.folder.name}", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for its end; what it was making is made at the next start."""
        self._thread.join()

    def settle(self) -> None:
        """Wait until there is nothing to do. Raises ``RuntimeError`` where it cannot be done."""
        with self._index.changing() as changed:
            changed.notify_all()
            self._idle = False
            changed.wait_for(lambda: self._idle or self.trouble or self._index.closed)
        if self.trouble:
            raise RuntimeError(self.trouble)

    def all_into_one(self) -> None:
        """Merge all, and wait."""
        with self._index.changing():
            self._everything = True
        self.settle()

    def _run(self) -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        examined: set[str] = set()
        while not self._index.closed:
            try:
                busy = self._flush() or self._merge() or self._examine(examined)
                self.trouble = ""
            except (AppError, OSError, MemoryError) as error:
                busy, self.trouble = False, f"{self._index.folder}: {error}"
                log.warning("vectors of %s are kept in the log only: %s", self._index.folder, error)
            except Exception as error:
                busy, self.trouble = False, f"{self._index.folder}: {error!r}; see the log of the cell index"
                log.exception("vectors of %s are kept in the log only", self._index.folder)
            if not busy:
                self._rest()

    def _rest(self) -> None:
        with self._index.changing() as changed:
            if self._index.closed or (self._waiting() and not self.trouble):
                return
            self._idle = not self.trouble
            changed.notify_all()
            changed.wait(AGAIN if self.trouble else None)

    def _waiting(self) -> bool:
        return len(self._index.view.fresh) > 1 or self._everything

    def _flush(self) -> bool:
        """The oldest part in memory that takes nothing new any more becomes a segment."""
        index, fresh = self._index, self._index.view.fresh
        if len(fresh) < 2 and not (self._everything and fresh[0].used):
            return False
        if len(fresh) < 2:
            with index.changing():
                index.turn()
        return self._flushed(index.view.fresh[0])

    def _flushed(self, part: ExactIndex) -> bool:
        index = self._index
        ids, vectors = part.everything()
        segment: Segment | None = None
        if len(ids):
            segment = self.made([(ids, vectors.astype(np.float16), np.ones(len(ids), np.bool_))])
        with index.changing() as changed:
            if segment is not None:
                segment.delete(_gone(ids, part))
            index.publish((*index.view.segments, *([segment] if segment is not None else [])), flushed=1)
            changed.notify_all()
        return True

    def _merge(self) -> bool:
        segments = self._index.view.segments
        sizes = [Size(one.card.count, one.dead, bool(one.worn), bool(one.trouble)) for one in segments]
        if self._everything:
            chosen = tuple(place for place, size in enumerate(sizes) if not size.fixed)
            self._everything = False
            if len(chosen) == 1 and not sizes[chosen[0]].dead and not sizes[chosen[0]].worn:
                return False
        else:
            chosen = due(sizes, self._index.plan.unit, self._index.plan.most)
        if chosen:
            self._merged([segments[place] for place in chosen])
        return bool(chosen)

    def _merged(self, old: list[Segment]) -> None:
        index = self._index
        for segment in old:
            segment.examine()
            if segment.trouble:
                log.error("%s", segment.trouble)
                return  # from now on it is left as it is
        parts = [one.part() for one in old]
        new = self.made(parts) if any(wanted.any() for _, _, wanted in parts) else None
        with index.changing() as changed:
            for segment, (ids, _, wanted) in zip(old, parts, strict=True):
                if new is not None:
                    new.delete(np.asarray(ids[wanted & ~segment.alive]))
            kept = [one for one in index.view.segments if one not in old]
            index.publish((*kept, *([new] if new is not None else [])), flushed=0)
            changed.notify_all()
        for segment in old:
            shutil.rmtree(index.folder / segment.card.name, ignore_errors=True)

    def made(self, parts: list[Part]) -> Segment:
        index, plan = self._index, self._index.plan
        threads(plan.threads)  # more that wait for each other are slow on a busy machine
        with index.changing():
            name = f"segment-{index.reserve():08}"
        count = sum(int(wanted.sum()) for _, _, wanted in parts)
        return index.opened(building.made(index.folder, name, parts, self._kind(count), plan.recall))

    def _kind(self, count: int) -> Kind:
        """By the memory that all vectors together may take."""
        plan, all_of_them = self._index.plan, max(self._index.count(), count)
        return choose(count, self._index.dimension, plan.memory_mb * 1e6 * count / all_of_them, plan.kind)

    def _examine(self, examined: set[str]) -> bool:
        """Look through the vectors of one segment, once after each start."""
        for segment in self._index.view.segments:
            if segment.card.name not in examined:
                examined.add(segment.card.name)
                segment.examine()
                if segment.trouble:
                    log.error("%s", segment.trouble)
                return True
        return False


def _gone(ids: Ids, part: ExactIndex) -> Ids:
    """Those that were deleted or replaced elsewhere while their segment was made."""
    _, known = part.get(ids)
    return ids[~known]
