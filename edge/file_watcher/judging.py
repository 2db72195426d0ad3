"""Looks at pending files until each can be taken, held or dropped, and writes that down."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge.file_watcher.looking import Blocked, Place, look_at
from edge.file_watcher.pending import Due, Pending
from edge.file_watcher.rules import Hold, Look, Take, Wait, follow, judge
from edge.file_watcher.settings import WatchSettings
from edge.journal import Journal
from edge.rows import Sighting, Signature

log = logging.getLogger(__name__)

BATCH = 200
"""So many files are looked at in one go."""


@dataclass
class _Found:
    """What a round of looks has come to."""

    sightings: list[Sighting] = field(default_factory=list)
    vanished: list[Place] = field(default_factory=list)


class Judging:
    """What is pending here comes into the journal, or stays pending."""

    def __init__(self, settings: WatchSettings, journal: Journal, roots: tuple[str, ...]) -> None:
        self._settings, self._journal, self._roots = settings, journal, roots
        self.pending = Pending()

    async def judge_due(self) -> int:
        """Look at what is due; the number of files looked at. What the journal cannot take now stays pending."""
        due = self.pending.due(time.monotonic(), BATCH)
        if not due:
            return 0
        found = _Found()
        try:
            looks = await asyncio.to_thread(self._looks, [one.place for one in due])
            for one, look in zip(due, looks, strict=True):
                self._sort(one, look, found)
            await self._write_down(found)
        except Exception:
            for one in due:
                self.pending.again(one.place, time.monotonic() + 1)
            raise
        return len(due)

    async def _write_down(self, found: _Found) -> None:
        if found.sightings:
            await self._journal.sight(found.sightings)
        if found.vanished:
            await self._journal.gone(found.vanished)
        for place in [*found.vanished, *((one.root, one.folder, one.name) for one in found.sightings)]:
            self.pending.done(place)

    def _looks(self, places: Sequence[Place]) -> list[Look | Blocked | None]:
        return [self._look(place) for place in places]

    def _look(self, place: Place) -> Look | Blocked | None:
        try:
            return look_at(place, self._settings, self._roots)
        except Exception as error:
            # One odd file must not stop the others.
            log.exception("cannot look at %s", place)
            return Blocked(Signature(0, 0, 0), f"it cannot be looked at: {type(error).__name__}: {error}", retry=True)

    def _sort(self, one: Due, look: Look | Blocked | None, found: _Found) -> None:
        if look is None:
            found.vanished.append(one.place)
        elif isinstance(look, Blocked):
            found.sightings.append(Sighting(*one.place, look.signature, look.reason, look.retry))
        elif self.pending.disturbed(one.place):
            # It may have changed after it was looked at: what was heard counts for the next look.
            one.waiting.arrived = one.waiting.arrived or one.arrived
        else:
            self._judge(one, look, found)

    def _judge(self, one: Due, look: Look, found: _Found) -> None:
        one.waiting.track = follow(one.waiting.track, look, arrived=one.arrived)
        signature = Signature(*look.signature)
        match judge(one.waiting.track, look, self._settings):
            case Take():
                found.sightings.append(Sighting(*one.place, signature))
            case Hold(reason):
                found.sightings.append(Sighting(*one.place, signature, reason))
            case Wait(seconds):
                self.pending.again(one.place, time.monotonic() + seconds)
