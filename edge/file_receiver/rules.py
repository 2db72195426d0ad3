"""Where a result goes on the instrument, and what it is called when its name is taken."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from contracts.disk import LONGEST, bare_name
from contracts.errors import BadRequest

PARTS = ".parts"
"""The folder of unfinished outputs, below the folder for results."""
LONGEST_SUFFIX = 40
"""Bytes; what is longer behind a name's last dot is no extension."""


def sub_folder_of(origin_dir: str) -> str:
    """The folder below the outputs for a job whose file is not in our journal (contract 4.4).

    A Linux folder counts from behind its last ``/input/``, a Windows one from behind ``\\oem-files\\``;
    any other counts whole. Steps that lead out are left out.
    """
    if ":\\" in origin_dir:
        _, _, rest = origin_dir.rpartition("\\oem-files\\")
        parts = rest.replace("\\", "/").split("/")
    else:
        tidy = origin_dir if origin_dir.endswith("/") else origin_dir + "/"
        _, _, rest = tidy.rpartition("/input/")
        parts = rest.split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..") and ":" not in part)


def names_for(name: str, job_id: str, index: int) -> Iterator[str]:
    """The names to try for output number ``index`` of a job, the plain one first."""
    yield name
    yield _marked(name, f".{job_id[:8]}")
    yield _marked(name, f".{job_id}-{index}")
    for number in range(2, 1000):
        yield _marked(name, f".{job_id}-{index}-{number}")


def _marked(name: str, mark: str) -> str:
    """The name with a mark before its extension; the stem gives way where that would be too long."""
    path = PurePosixPath(name)
    stem, suffix = (path.stem, path.suffix) if len(path.suffix.encode()) <= LONGEST_SUFFIX else (name, "")
    room = max(LONGEST - len((mark + suffix).encode()), 1)
    return stem.encode()[:room].decode(errors="ignore") + mark + suffix


def safe_folder(folder: str, *, windows: bool) -> str:
    """The sub-folder, if files can lie in it here. Raises ``BadRequest`` with the reason otherwise."""
    for level in filter(None, folder.split("/")):
        bare_name(level, windows=windows)
    if folder.partition("/")[0].casefold() == PARTS:
        raise BadRequest(f"the folder {PARTS} of the results is for what is not whole yet: rename the image's folder")
    return folder
