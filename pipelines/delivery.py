"""How a job's outputs come to lie where they are asked for: whole, durable, and never over another's."""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from contracts.disk import barred, make_folder, sync_folder


class Undeliverable(Exception):
    """A pipeline named an output that cannot be delivered."""


class Output(NamedTuple):
    """A delivered file."""

    name: str
    size: int
    sha256: str


def scratch_of(folder: Path, job: str, attempt: int) -> Path:
    """Where one run of a job makes its outputs: beside their destination, so that moving them is a rename. Each run
    has a place of its own: one that was taken for dead may still be writing."""
    return folder / f".{job}~{attempt}.part"


@contextlib.contextmanager
def scratch(folder: Path, job: str, attempt: int) -> Iterator[Path]:
    """The scratch of a job's run, empty even when a crash left rubbish in it.

    It is removed in the end, unless outputs were delivered from it: as second names of the same files it then
    proves whose they are, until whoever reports the job calls ``discard``. Should that never happen, the
    next run of the job takes its undelivered outputs back first. What a later run has delivered it leaves alone.
    """
    place = scratch_of(folder, job, attempt)
    for run in range(attempt + 1):
        abandon(folder, job, run)
    make_folder(folder)
    place.mkdir(exist_ok=True)
    try:
        yield place
    except BaseException:
        discard(place)
        raise
    if not any(_is_delivered(file, folder) for file in place.iterdir()):
        discard(place)


def abandon(folder: Path, job: str, attempt: int) -> None:
    """Nothing is left of a run that ended before anybody was told of it, not even an output already in its place."""
    place = scratch_of(folder, job, attempt)
    if place.exists():
        _take_back(place, folder)
        discard(place)


def _is_delivered(file: Path, folder: Path) -> bool:
    try:
        return (folder / file.name).samefile(file)
    except OSError:
        return False


def _take_back(place: Path, folder: Path) -> None:
    """Remove from ``folder`` what an earlier run put there and nobody was told of."""
    with contextlib.suppress(OSError):
        for file in place.iterdir():
            if _is_delivered(file, folder):
                (folder / file.name).unlink()


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

    When a file is in the way, it is another job's, whatever is in it: all outputs then go to the job's own
    subfolder, ``<folder>/<job>``; once that exists the job keeps using it and may replace what it put there.
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
    sync_folder(own)
    sync_folder(folder)
    return own, outputs


def _sealed(made: Path, name: str) -> Output:
    """The output, on the disk and hashed. It must be a plain file, by its bare name."""
    if reason := barred(name, windows=os.name == "nt"):
        raise Undeliverable(f"the pipeline named the output {name[:80]!r}: {reason}")
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
    """Place all outputs, or none and say so, when a file is in the way."""
    placed: list[Path] = []
    for output in outputs:
        target = folder / output.name
        try:
            _place(made / output.name, target)
            placed.append(target)
        except FileExistsError:
            for path in placed:
                path.unlink()
            return False
    if placed:
        sync_folder(folder)
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
        try:
            os.replace(source, target)
        except OSError:
            target.unlink()  # the name alone is no output
            raise
