"""Where the gateway keeps files, and which of them it may send."""

import errno
from dataclasses import dataclass
from pathlib import Path

from contracts.disk import bare_name, inside, is_file, keep_folder, sha256_of
from contracts.errors import AppError, BadRequest, Unavailable
from contracts.models import InputFile, OutputFile, OutputStatus

CONTRACTS_ROOT = Path("/tmp/files")
"""Where AiCSD's containers have the gateway's files; its web page names result folders there."""


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
        raise BadRequest(
            f"file {file.name!r} lies in {str(path.parent)[:300]!r}, outside the gateway's files: "
            "name one that lies below them"
        )
    return path


class Changed(Exception):
    """An output is no longer what its pipeline said that it is."""


def inspected(file: OutputFile, roots: tuple[Path, ...]) -> tuple[OutputFile, str]:
    """The output with its size and digest filled in, or marked invalid with the reason. Blocks (hashing). Raises
    ``Changed``; where size and digest are both known, the size alone is looked at: who fetches it sees the rest."""
    try:
        path = output_path(file, roots)
        if not is_file(path):
            return _invalid(file), f"{file.name} (not found in {file.dir_name})"
        size = path.stat().st_size
        if file.sha256 and file.size == size:
            return file, ""
        found = "" if file.sha256 and file.size is not None else sha256_of(path)
        if file.sha256 and found != file.sha256:
            raise Changed(f"the output {file.name} is not what its pipeline made: it has {size} bytes")
        return file.evolve(size=size, sha256=found), ""
    except (AppError, OSError) as error:
        return _invalid(file), f"{file.name} ({error})"


def _invalid(file: OutputFile) -> OutputFile:
    return file.evolve(status=str(OutputStatus.INVALID))
