"""When segments are merged, as pure functions.

Small ones are gathered until there are ``FAN`` of about a size, which then become one: each vector is written again
only a few times (as often as there are sizes), and a search has few segments to ask (O'Neil et al., "The log-structured
merge-tree", 1996).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

FAN = 4
DEAD = 0.25
"""A segment of which so much was deleted is written again."""


@dataclass(frozen=True)
class Size:
    """A segment: how many vectors, how many of them deleted, and whether it has to be made anew anyway."""

    count: int
    dead: int = 0
    worn: bool = False
    fixed: bool = False
    """It is left as it is."""

    @property
    def alive(self) -> int:
        return self.count - self.dead


def due(sizes: Sequence[Size], unit: int, most: int) -> tuple[int, ...]:
    """The segments, by their place, that should become one now; none: all is well. ``unit``: the smallest usual size;
    ``most``: none is made larger than this."""
    free = [place for place, size in enumerate(sizes) if not size.fixed]
    for place in free:
        if sizes[place].worn or sizes[place].dead > DEAD * sizes[place].count:
            return (place,)
    by_level: dict[int, list[int]] = {}
    for place in free:
        by_level.setdefault(_level(sizes[place].alive, unit), []).append(place)
    for level in sorted(by_level):
        if len(by_level[level]) >= FAN:
            chosen = tuple(by_level[level][:FAN])
            if sum(sizes[place].alive for place in chosen) <= most:
                return chosen
    return ()


def _level(count: int, unit: int) -> int:
    return max(0, round(log(max(count, 1) / unit, FAN)))
