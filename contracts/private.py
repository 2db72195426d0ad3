"""Files that only their owner may read, whole and on disk (on Windows: as their folder allows)."""

import contextlib
import os
import uuid
from pathlib import Path

from contracts.disk import keep_folder, place, sync_folder


def keep(path: Path, content: bytes, mode: int = 0o600) -> None:
    """A file that only its owner may read (or who the mode says), whole and on disk."""
    temporary = _written(path, content)
    try:
        temporary.chmod(mode)
        place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def keep_new(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Like ``keep``, but what is there already stays: of two that begin at once, both use the first's."""
    keep_folder(path.parent)
    temporary = _written(path, content)
    temporary.chmod(mode)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    except OSError:  # a file system without hard links
        if not path.exists():
            place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _written(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
