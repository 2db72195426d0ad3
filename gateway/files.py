"""Where the gateway keeps files, and which of them it may send."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from contracts.disk import bare_name, inside, is_file, keep_folder, sha256_of
from contracts.errors import AppError, BadRequest, Conflict, Unavailable
from contracts.models import InputFile, OutputFile, OutputStatus

CONTRACTS_ROOT = Path("/tmp/files")
"""Where AiCSD's containers have the gateway's files; its web page names result folders there."""


class Stray(BadRequest):
    """A pipeline has named a file as its job's output that is not the job's to name."""


@dataclass(frozen=True)
class GatewayFiles:
    """The gateway's folders: received images, pipelines' outputs, the archive, and what reviewers rejected."""

    root: Path

    @property
    def input(self) -> Path:
        return self.root / "input"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def reject(self) -> Path:
        return self.root / "reject"

    def results_folder(self, said: str) -> Path:
        """Where a task's ``ResultFileFolder`` is: below the root, whether it is said in full or counts from there. The
        contract's own place for files, ``/tmp/files``, stands for the root. Raises ``BadRequest`` for any other."""
        root = self.root.resolve()
        asked = root / said
        if not asked.is_relative_to(root) and asked.is_relative_to(CONTRACTS_ROOT):
            asked = root / asked.relative_to(CONTRACTS_ROOT)
        try:
            for level in asked.relative_to(root).parts:
                bare_name(level)
            return inside(root, asked)
        except (BadRequest, ValueError):
            raise BadRequest(
                f"the result folder {said[:200]!r} does not lie below the gateway's files ({self.root}): "
                "name one below it, such as 'output'"
            ) from None

    def input_path(self, file: InputFile) -> Path:
        """Where a received image lies. Raises ``BadRequest`` for a name that is a path, or a place outside."""
        return _within(Path(file.dir_name) / bare_name(file.name), (self.root,), file)

    def make(self) -> None:
        """Make the folders that are missing. Raises ``OSError``."""
        for folder in (self.input, self.output, self.archive, self.reject):
            keep_folder(folder)


def output_path(file: OutputFile, roots: tuple[Path, ...]) -> Path:
    """Where an output lies. Raises ``BadRequest`` for a name that is a path, or a place outside the roots;
    ``Unavailable`` where the system does not let us look."""
    return _within(Path(file.dir_name) / bare_name(file.name), roots, file)


def archived_path(file: InputFile | OutputFile, archive: Path) -> Path:
    """Where an archived file lies. Raises ``BadRequest`` for a place outside the archive, ``Unavailable`` as above."""
    return _within(Path(file.archive_name), (archive,), file)


def _within(path: Path, roots: tuple[Path, ...], file: InputFile | OutputFile) -> Path:
    try:
        path = path.resolve()
        path.is_file()  # only when it is asked for does the system say that a name is too long
        allowed = any(path.is_relative_to(root.resolve()) for root in roots)
    except OSError as error:
        kind = BadRequest if error.errno == errno.ENAMETOOLONG else Unavailable
        raise kind(f"{str(path)[:200]!r} cannot be looked at: {error.strerror or error}") from None
    except (ValueError, RuntimeError) as error:
        raise BadRequest(f"{str(path)[:200]!r} is not a path: {error}") from None
    if not allowed:
        raise Stray(
            f"file {file.name!r} lies in {str(path.parent)[:300]!r}, outside the gateway's files: "
            "name one that lies below them"
        )
    return path


def check_said(file: OutputFile, folder: str) -> None:
    """Raises ``Stray`` where an output is said to lie outside its job's own folder. Goes by the names alone, as far as
    it can: whoever takes a pipeline's report may not see the files. May block."""
    if file.dir_name and folder and _levels(file, folder) is None:
        raise _stray(file, folder, f"is said to lie in {file.dir_name[:300]!r}")


def own_place(file: OutputFile, folder: str, root: Path) -> Path:
    """Where an output lies, which must be in its job's own folder or in one that the pipeline has made there, and not
    behind a link. Raises as ``output_path``, and ``Stray``."""
    path = output_path(file, (root,))
    levels = _levels(file, folder)
    if levels is None:
        raise _stray(file, folder, f"is said to lie in {file.dir_name[:300]!r}")
    if path != Path(folder).resolve() / levels / file.name:
        raise _stray(file, folder, f"leads to {str(path)[:300]!r} by a link")
    if any(level.startswith(".") for level in levels.parts) or _ASIDE.fullmatch(file.name):
        raise _stray(file, folder, "lies where cytobus keeps what is unfinished")
    return path


def _levels(file: OutputFile, folder: str) -> Path | None:
    """The way from a job's folder to where its output is said to lie; None for what is not below it. The folder may be
    named as the pipeline was told it, or as it is called without the links that lead to it."""
    said = Path(os.path.normpath(file.dir_name))
    for home in (os.path.normpath, os.path.realpath):
        if said.is_relative_to(home(folder)):
            return said.relative_to(home(folder))
    return None


_ASIDE = re.compile(r"\..*\.damaged", re.DOTALL)
"""The name of an image that was put aside."""


def _stray(file: OutputFile, folder: str, why: str) -> Stray:
    return Stray(
        f"output {file.name[:200]!r} {why}, but outputs of this job must lie in {folder[:300]!r}, the OutputFileFolder"
        " that its pipeline was told: write it there, name that folder as its DirName, and report the job again"
    )


def belongs(place: str, owner: str) -> Conflict:
    """The refusal of a file that another job has."""
    return Conflict(
        f"{place[:300]!r} belongs to job {owner}: write this job's output under a name of its own, and report the job"
        " again"
    )


class Changed(Exception):
    """An output is no longer what its pipeline said that it is."""


def inspected(file: OutputFile, folder: str, root: Path) -> tuple[OutputFile, str]:
    """The output of a job with this folder, with its size and digest filled in, or marked invalid with the reason.
    Blocks (hashing). Raises ``Stray``, and ``Changed``; where size and digest are both known, the size alone is looked
    at: who fetches it sees the rest."""
    try:
        path = own_place(file, folder, root)
        if not is_file(path):
            return invalid(file), f"{file.name} (not found in {file.dir_name})"
        file, size = file.evolve(dir_name=str(path.parent)), path.stat().st_size
        if file.sha256 and file.size == size:
            return file, ""
        found = "" if file.sha256 and file.size is not None else sha256_of(path)
        if file.sha256 and found != file.sha256:
            raise Changed(f"the output {file.name} is not what its pipeline made: it has {size} bytes")
        return file.evolve(size=size, sha256=found), ""
    except Stray:
        raise
    except (AppError, OSError) as error:
        return invalid(file), f"{file.name} ({error})"


def invalid(file: OutputFile) -> OutputFile:
    """The output, marked as one that cannot be sent."""
    return file.evolve(status=str(OutputStatus.INVALID))
