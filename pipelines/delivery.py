"""How a job's outputs come to lie where they are asked for: whole, durable, and never over another's."""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Undeliverable(Exception):
    """A pipeline named an output that cannot be delivered."""


class Output(NamedTuple):
    """A delivered file."""

    name: str
    size: int
    sha256: str


def scratch_of(folder: Path, job: str) -> Path:
    """Where a job's outputs are made: beside their destination, so that moving them is a rename."""
    return folder / f".{job}.part"


@contextlib.contextmanager
def scratch(folder: Path, job: str) -> Iterator[Path]:
    """The job's scratch, empty even when a crash left rubbish in it; removed in the end."""
    place = scratch_of(folder, job)
    try:
        place.mkdir(parents=True)
    except FileExistsError:
        discard(place)
        place.mkdir()
    try:
        yield place
    finally:
        discard(place)


def discard(place: Path) -> None:
    """Remove a scratch and all in it; what resists stays until the job's next run."""
    try:
        place.rmdir()  # mostly it is empty, and this much faster
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(place, ignore_errors=True)


def deliver(made: Path, names: Sequence[str], folder: Path, job: str) -> tuple[Path, tuple[Output, ...]]:
    """Bring outputs from the scratch into ``folder``, all of them or none; where they are and what.

    An existing file of the same content is reused. When one of another content is in the way, all outputs go
    to the job's own subfolder, ``<folder>/<job>``; once that exists the job keeps using it and may replace
    what it put there. So repeating a job leads to the same place, and leaves two versions at most.
    """
    outputs = tuple(_sealed(made, name) for name in names)
    if len(set(names)) != len(names):
        raise Undeliverable(f"the pipeline named an output twice: {', '.join(names)}")
    own = folder / job
    if not outputs or (not own.exists() and _place_all(made, outputs, folder)):
        return folder, outputs
    own.mkdir(exist_ok=True)
    for output in outputs:
        os.replace(made / output.name, own / output.name)
    _sync_folder(own)
    _sync_folder(folder)
    return own, outputs


def _sealed(made: Path, name: str) -> Output:
    """The output, on the disk and hashed. It must be a plain file, by its bare name."""
    if name in ("", ".", "..") or any(sign in name for sign in "/\\:\0"):
        raise Undeliverable(f"the pipeline named the output {name!r}, which is not a bare file name")
    try:
        plain = stat.S_ISREG((made / name).lstat().st_mode)
    except OSError:
        raise Undeliverable(f"the pipeline named the output {name!r}, but did not write it") from None
    if not plain:
        raise Undeliverable(f"the pipeline's output {name!r} is not a plain file")
    with (made / name).open("rb+") as file:
        os.fsync(file.fileno())
        return Output(name, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _place_all(made: Path, outputs: Sequence[Output], folder: Path) -> bool:
    """Place all outputs, or none and say so, when a file of another content is in the way."""
    placed: list[Path] = []
    for output in outputs:
        target = folder / output.name
        try:
            _place(made / output.name, target)
            placed.append(target)
        except FileExistsError:
            if not _holds(target, output):
                for path in placed:
                    path.unlink()
                return False
    if placed:
        _sync_folder(folder)
    return True


def _place(source: Path, target: Path) -> None:
    """Make ``target`` appear, whole, at once; ``FileExistsError`` when there is one. ``source`` may stay."""
    if os.name == "nt":
        os.rename(source, target)  # refuses to overwrite there
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: claim the name, then take it
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(source, target)


def _holds(target: Path, output: Output) -> bool:
    try:
        with target.open("rb") as file:
            if os.fstat(file.fileno()).st_size != output.size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == output.sha256
    except OSError:  # a folder, or gone meanwhile
        return False


def _sync_folder(folder: Path) -> None:
    """Make renames last through a power cut, where the system lets a folder be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
