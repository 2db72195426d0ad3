"""Where a result goes on the instrument, and what it is called when its name is taken."""

from collections.abc import Iterator
from pathlib import PurePosixPath


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
    path = PurePosixPath(name)
    yield name
    yield f"{path.stem}.{job_id[:8]}{path.suffix}"
    yield f"{path.stem}.{job_id}-{index}{path.suffix}"
    for number in range(2, 1000):
        yield f"{path.stem}.{job_id}-{index}-{number}{path.suffix}"
