"""The files that are waiting to be judged, and when each is to be looked at next."""

import heapq
from dataclasses import dataclass

from edge.file_watcher.looking import Place
from edge.file_watcher.rules import Track


@dataclass
class Waiting:
    """One file. ``due`` is monotonic time in seconds; None while somebody looks at it."""

    due: float | None
    arrived: bool
    track: Track | None = None


@dataclass(frozen=True)
class Due:
    """A file to look at now. ``arrived``: closed or renamed into place since the last look."""

    place: Place
    waiting: Waiting
    arrived: bool


class Pending:
    """A file stands here once, whatever is heard of it."""

    def __init__(self) -> None:
        self._files: dict[Place, Waiting] = {}
        self._heap: list[tuple[float, Place]] = []

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, place: Place) -> bool:
        return place in self._files

    def mark(self, place: Place, now: float, *, arrived: bool = False) -> None:
        """Something happened there: look now."""
        waiting = self._files.get(place)
        if waiting is None:
            waiting = self._files[place] = Waiting(now, arrived)
        waiting.due = now
        waiting.arrived = waiting.arrived or arrived
        heapq.heappush(self._heap, (now, place))

    def due(self, now: float, limit: int) -> list[Due]:
        """Files to look at now. They are in hand until ``again`` or ``done``."""
        taken: list[Due] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < limit:
            when, place = heapq.heappop(self._heap)
            waiting = self._files.get(place)
            if waiting is None or waiting.due is None or waiting.due > when:
                continue
            taken.append(Due(place, waiting, waiting.arrived))
            waiting.due, waiting.arrived = None, False
        return taken

    def disturbed(self, place: Place) -> bool:
        """Whether something happened while the file was looked at."""
        waiting = self._files.get(place)
        return waiting is not None and waiting.due is not None

    def again(self, place: Place, when: float) -> None:
        """Look again then, or at once if something happened meanwhile."""
        waiting = self._files.get(place)
        if waiting is not None and waiting.due is None:
            waiting.due = when
            heapq.heappush(self._heap, (when, place))

    def done(self, place: Place) -> None:
        """The file is dealt with, unless something happened meanwhile."""
        if not self.disturbed(place):
            self._files.pop(place, None)

    def next_due(self) -> float | None:
        """When the next file wants a look; None when there is none."""
        return self._heap[0][0] if self._heap else None
