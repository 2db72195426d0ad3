"""Which files are wanted, and when a file is complete: decisions from what was observed, nothing else."""

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase, translate
from functools import cache

from edge.file_watcher.settings import WatchSettings

SHORTEST = 0.001
"""The shortest wait (s): a smaller number may vanish when it is added to the time."""


@dataclass(frozen=True)
class Look:
    """One observation of a file. ``at`` is monotonic time in seconds; None means that it cannot be told."""

    at: float
    signature: tuple[int, int, int]
    writer: bool | None
    complete: bool | None

    @property
    def size(self) -> int:
        return self.signature[0]


@dataclass(frozen=True)
class Track:
    """What is remembered of a file between looks. ``arrived``: closed or renamed into place since it changed."""

    signature: tuple[int, int, int]
    changed_at: float
    arrived: bool = False


@dataclass(frozen=True)
class Take:
    """The file is complete, or as complete as it will be."""


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds, or when something happens."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """The file cannot become a job as it is."""

    reason: str


Verdict = Take | Wait | Hold


def follow(track: Track | None, look: Look, *, arrived: bool) -> Track:
    """What to remember after a look; ``arrived`` says that the file was closed or renamed just before it.

    Only changes count, never a file's own times against a clock: those may be wrong or step.
    """
    if track is None or track.signature != look.signature:
        return Track(look.signature, look.at, arrived)
    if look.writer:
        return replace(track, changed_at=look.at, arrived=False)
    return replace(track, arrived=track.arrived or arrived)


def judge(track: Track, look: Look, settings: WatchSettings) -> Verdict:
    """Whether to take a file now. A file with a writer or with promised bytes missing is never taken, except
    one that has not changed for ``truncated_after_seconds``: its job is to fail with a clear reason."""
    if look.writer:
        return Wait(settings.recheck_seconds)
    quiet = look.at - track.changed_at
    if look.size == 0:
        missing = settings.empty_after_seconds - quiet
        return Wait(max(missing, SHORTEST)) if missing > 0 else Hold("empty")
    missing = _patience(track, look, settings) - quiet
    return Wait(min(max(missing, SHORTEST), settings.recheck_seconds)) if missing > 0 else Take()


def _patience(track: Track, look: Look, settings: WatchSettings) -> float:
    """How long the file has to stay the same, in seconds."""
    if look.complete is False:
        return settings.truncated_after_seconds
    if look.writer is None and not track.arrived:
        return settings.settle_seconds
    return 0.0 if look.complete else settings.quick_seconds


def wanted(name: str, settings: WatchSettings) -> bool:
    """Whether a file of this base name is to become a job."""
    if settings.skip_hidden and name.startswith("."):
        return False
    lower = name.lower()
    if _any_of(settings.temporary).match(lower):
        return False
    if settings.extensions and not lower.endswith(tuple(_dotted(ending) for ending in settings.extensions)):
        return False
    return not any(_excludes(part, name) for part in settings.exclude.replace(" ", "").split(",") if part)


def entered(name: str, settings: WatchSettings) -> bool:
    """Whether a sub-folder of this base name is searched."""
    return settings.watch_subfolders and not (settings.skip_hidden and name.startswith("."))


def decodable(name: str) -> bool:
    """Whether a name is valid Unicode, so that it means the same everywhere."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for many patterns: a rescan asks it a million times."""
    return re.compile("|".join(translate(pattern) for pattern in patterns) or "(?!)")


def _dotted(ending: str) -> str:
    return "." + ending.lower().lstrip(".")


def _excludes(part: str, name: str) -> bool:
    return fnmatchcase(name, part) if any(sign in part for sign in "*?[") else part in name
