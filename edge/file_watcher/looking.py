"""Looks at files and folders on the disk; everything here blocks and is run in a thread."""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from contracts.disk import PLAIN
from edge.file_watcher.headers import complete
from edge.file_watcher.rules import Look, decodable, entered, wanted
from edge.file_watcher.settings import WatchSettings
from edge.file_watcher.writers import has_writer
from edge.rows import Signature

CHUNK = 2000
"""So many entries of a folder are compared at once."""

Place = tuple[str, str, str]
"""root, folder below it (``/``-separated, empty for the root itself), base name"""


@dataclass(frozen=True)
class Entry:
    """A file in a listing."""

    name: str
    signature: Signature


@dataclass(frozen=True)
class Blocked:
    """A file that cannot be judged, and why; with ``retry`` time may help."""

    signature: Signature
    reason: str
    retry: bool = False


def signature_of(found: os.stat_result) -> Signature:
    """What tells one version of a file from the next."""
    return Signature(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def place_of(path: str, roots: tuple[str, ...]) -> Place | None:
    """The watched root, folder and name of a path; None where it lies in no watched folder."""
    for root in roots:
        if path.startswith(root.rstrip(os.sep) + os.sep):
            folder, _, name = path[len(root.rstrip(os.sep)) + 1 :].replace(os.sep, "/").rpartition("/")
            return root, folder, name
    return None


def wanted_place(place: Place, settings: WatchSettings) -> bool:
    """Whether the watcher would come upon this place by itself."""
    return wanted(place[2], settings) and searched(place[1], settings)


def searched(folder: str, settings: WatchSettings) -> bool:
    """Whether the watcher looks into this folder below a watched one."""
    return not folder or all(entered(part, settings) for part in folder.split("/"))


def look_at(place: Place, settings: WatchSettings, roots: tuple[str, ...]) -> Look | Blocked | None:
    """What can be seen of a file now; None for what is no file, gone, or taken elsewhere."""
    path = Path(*place)
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return _link(path, signature_of(found), roots)
        if not stat.S_ISREG(found.st_mode):
            return None
        if not (decodable(place[1]) and decodable(place[2])):
            return Blocked(signature_of(found), "undecodable name: it is not valid Unicode; rename the file")
        return _open_and_look(path, settings)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        with contextlib.suppress(OSError):
            return Blocked(signature_of(path.lstat()), f"unreadable: {error.strerror or error}", retry=True)
        return None


def _open_and_look(path: Path, settings: WatchSettings) -> Look:
    handle = os.open(path, PLAIN)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        # Looked at before the header, so that a writer who closes in between is seen by the next look.
        writer = has_writer(path, handle)
        if settings.poll and writer is False:
            # On a share a writer may sit at another computer.
            writer = None
        verdict = None if writer else complete(file, found.st_size, path.name)
        return Look(time.monotonic(), signature_of(found), writer, verdict)


def _link(path: Path, signature: Signature, roots: tuple[str, ...]) -> Blocked | None:
    target = os.path.realpath(path)
    if any(target == root or place_of(target, (root,)) for root in (*roots, *map(os.path.realpath, roots))):
        return None
    return Blocked(signature, "a link that leaves the watched folder; links are not followed")


def folders_below(root: str, folder: str, settings: WatchSettings) -> Iterator[tuple[str, Iterator[list[Entry]]]]:
    """Each folder from ``folder`` on, with its wanted files in chunks. Folders that vanish are left out."""
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        yield current, _chunks(root, current, settings, waiting)


def _chunks(root: str, folder: str, settings: WatchSettings, below: list[str]) -> Iterator[list[Entry]]:
    try:
        with os.scandir(Path(root, folder)) as listing:
            entries = _entries(listing, folder, settings, below)
            while chunk := list(islice(entries, CHUNK)):
                yield chunk
    except OSError:
        if not folder:
            raise


def _entries(
    listing: Iterator[os.DirEntry[str]], folder: str, settings: WatchSettings, below: list[str]
) -> Iterator[Entry]:
    for entry in listing:
        with contextlib.suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                if entered(entry.name, settings):
                    below.append(f"{folder}/{entry.name}" if folder else entry.name)
            elif wanted(entry.name, settings) and (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                # A listing's own figures are out of date on Windows.
                found = os.lstat(entry.path) if os.name == "nt" else entry.stat(follow_symlinks=False)
                yield Entry(entry.name, signature_of(found))
