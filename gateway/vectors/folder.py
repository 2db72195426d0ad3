"""The folder of an index: one process has it, and what a crash has left behind in it goes."""

import shutil
import sys
from pathlib import Path
from typing import IO

from contracts.errors import Conflict
from gateway.vectors.manifest import Manifest


def locked(folder: Path) -> IO[bytes]:
    """Keeps others out while it is open; the system opens it when the process ends, however it ends. Raises
    ``Conflict`` where another process has it."""
    file = (folder / "in-use").open("ab")
    if sys.platform == "win32":
        return file
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Conflict(
            f"{folder} is in use by another process: give each index of vectors a folder of its own"
        ) from None
    return file


def swept(folder: Path, manifest: Manifest) -> None:
    """Segments, parts of files and files of the log that the manifest does not need are removed."""
    named = {card.name for card in manifest.segments}
    for path in folder.iterdir():
        if path.name.endswith(".part") or (path.name.startswith("segment-") and path.name not in named):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.name.startswith("log-") and int(path.name[4:]) < manifest.log:
            path.unlink()
