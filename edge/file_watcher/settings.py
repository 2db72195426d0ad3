"""What the file watcher is told: where to look, what to leave alone, how patient to be."""

from dataclasses import dataclass
from pathlib import Path

TEMPORARY = (
    "~$*",
    "*~",
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.download",
    "*.filepart",
    "*.swp",
    "*.lock",
    "thumbs.db",
    "desktop.ini",
)
"""Names of files that are still on their way, or no data at all; compared without regard to case."""


@dataclass(frozen=True)
class WatchSettings:
    """Durations in seconds. ``exclude`` is the contract's comma list of parts of the base name (spaces removed,
    case-sensitive); what holds ``*``, ``?`` or ``[`` is a pattern for the whole base name."""

    folders: tuple[Path, ...]
    poll: bool = False
    poll_seconds: float = 5.0
    rescan_seconds: float = 30.0
    settle_seconds: float = 2.0
    quick_seconds: float = 0.5
    """how long a closed file of unknown format has to stay the same"""
    empty_after_seconds: float = 30.0
    truncated_after_seconds: float = 300.0
    recheck_seconds: float = 1.0
    """how often a file with a writer is looked at again, should its close go unnoticed"""
    extensions: tuple[str, ...] = ()
    exclude: str = ""
    watch_subfolders: bool = True
    skip_hidden: bool = True
    temporary: tuple[str, ...] = TEMPORARY
