"""A real file system of few megabytes, where the system lets us mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, kib: int) -> Iterator[Path]:
    """The folder is a file system of so many KiB. Skips the test without the right to mount."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs the right to mount a file system")
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
