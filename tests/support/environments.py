"""Environments of Python for servers that cannot live in that of the tests, made once and kept."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("CYTOBUS_TEST_CACHE") or Path(__file__).parents[2] / ".cache")
"""Git ignores it."""


def made(name: str, python: Path, packages: Sequence[str], more: Callable[[Path], None] = lambda folder: None) -> Path:
    """The folder of an environment with these packages. Raises ``LookupError`` with the reason if it cannot be had."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / name
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(name, "uv", "venv", "--quiet", "--python", str(python), str(folder))
            _run(name, "uv", "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *packages)
            more(folder)
            (folder / "made").touch()
    return folder


def _run(name: str, *command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise LookupError(f"the environment {name} cannot be made: {said.strip()[-300:]}") from error
