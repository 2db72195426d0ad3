"""Files whose every block bears a checksum."""

import zlib
from collections.abc import Callable
from pathlib import Path

from gateway.vectors.manifest import File
from gateway.vectors.port import Damaged

BLOCK = 2**22


def described(path: Path, block: int = BLOCK) -> File:
    """A file as it is now, block by block."""
    checks = []
    with path.open("rb") as file:
        while piece := file.read(block):
            checks.append(zlib.crc32(piece))
    return File(name=path.name, size=path.stat().st_size, block=block, checks=tuple(checks))


def bad_blocks(path: Path, file: File, stop: Callable[[], bool] = lambda: False) -> list[int]:
    """Blocks that are not as they were written, all of them if the file is missing or has another length. ``stop`` is
    asked before each block: when it says so, the rest is not looked at."""
    every = list(range(len(file.checks)))
    try:
        if path.stat().st_size != file.size:
            return every
        with path.open("rb") as opened:
            bad = []
            for number, check in enumerate(file.checks):
                if stop():
                    break
                if zlib.crc32(opened.read(file.block)) != check:
                    bad.append(number)
            return bad
    except OSError:
        return every


def whole(path: Path, file: File) -> None:
    """Raises ``Damaged`` unless it is as it was written."""
    if bad := bad_blocks(path, file):
        where = f"{len(bad)} of its {len(file.checks)} blocks"
        raise Damaged(f"{path} is damaged or missing ({where} are not as they were written)")
