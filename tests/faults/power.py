"""What is left on the disk after a power cut."""

import ctypes
import os
import random
import shutil
import struct
from pathlib import Path

WRITTEN_ANYWAY = 0.3
"""How likely a file is on the disk as it is now, though nobody synced it."""


def cut(root: Path, shadow: Path, rng: random.Random, keep: Path | None = None) -> int:
    """Turn ``root`` into what a power cut may leave of it; the number of files that went. What lies in the folder
    ``keep`` below it was put there by others, who have synced it.

    A file is what it was at its last sync, or, since a system may write at any time, what it is now. A folder
    has the names of its last sync. So a file whose folder was never synced is gone, whatever is in it.
    """
    many = sum(path.is_file() for path in root.rglob("*"))
    left = root.with_name(root.name + ".left")
    shutil.rmtree(left, ignore_errors=True)
    left.mkdir()
    _restore(_key(root), left, shadow, _by_key(root), rng)
    if keep is not None:
        shutil.copytree(root / keep, left / keep, dirs_exist_ok=True)
    shutil.rmtree(root)
    left.rename(root)
    shutil.rmtree(shadow)
    shadow.mkdir()
    return many - sum(path.is_file() for path in root.rglob("*"))


def _restore(folder: str, target: Path, shadow: Path, now: dict[str, Path], rng: random.Random) -> None:
    names = shadow / f"{folder}.names"
    if not names.is_file():
        return
    for line in filter(None, names.read_bytes().split(b"\0")):
        kind, key, name = line.decode(errors="surrogateescape").split(" ", 2)
        place = target / name
        if kind == "d":
            place.mkdir()
            _restore(key, place, shadow, now, rng)
            continue
        durable, current = shadow / f"{key}.data", now.get(key)
        if name.endswith("-shm"):
            continue  # memory that looks like a file
        if current is not None and rng.random() < WRITTEN_ANYWAY:
            shutil.copyfile(current, place)
        elif durable.is_file():
            shutil.copyfile(durable, place)
        else:
            place.touch()


def _by_key(root: Path) -> dict[str, Path]:
    return {_key(path): path for path in root.rglob("*") if path.is_file()}


def _key(path: Path) -> str:
    """As the shim calls a file: the number of its inode, and when that was made (statx(2); Python does not tell)."""
    here, symlink_nofollow, wanted = -100, 0x100, 0x900
    found = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).statx(here, os.fsencode(path), symlink_nofollow, wanted, found):
        raise OSError(ctypes.get_errno(), f"statx {path}")
    (inode,) = struct.unpack_from("@Q", found, 32)
    seconds, nanoseconds = struct.unpack_from("@qI", found, 80)
    return f"{inode}.{seconds}.{nanoseconds}"
