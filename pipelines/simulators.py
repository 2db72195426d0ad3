"""The four simulators of the contract: what a pipeline gives back, without any science."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pipelines.plugin import Parameter, Result, Work

COPIES = 5
"""Files that ``multi-file`` makes of one."""


class OnlyFile:
    """One output and no results."""

    topic = "only-file"
    name = "OnlyFile"
    description = "Simulator: returns a copy of the file"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        return Result(outputs=(_copy(work, "-sim"),), qc_flags="passed")


class MultiFile:
    """Several outputs and no results."""

    topic = "multi-file"
    name = "MultiFile"
    description = "Simulator: returns five copies of the file"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        return Result(outputs=tuple(_copy(work, f"-sim{n}") for n in range(COPIES)), qc_flags="none")


class OnlyResults:
    """Results and no output."""

    topic = "only-results"
    name = "OnlyResults"
    description = "Simulator: returns a count and no file"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        with work.image.open("rb"):  # a file that cannot be read has no results either
            return Result(results="CellCount, 598", qc_flags="none")


class FileAndResults:
    """One output and results."""

    topic = "file-and-results"
    name = "FileAndResults"
    description = "Simulator: returns a copy of the file and a count"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        return Result(outputs=(_copy(work, "-sim"),), results="CellCount, 101", qc_flags="passed")


def simulated(name: str, suffix: str) -> str:
    """``well.a.tiff`` and ``-sim`` make ``well.a-sim.tiff``."""
    path = Path(name)
    return f"{path.stem}{suffix}{path.suffix}"


def _copy(work: Work, suffix: str) -> str:
    """Copied inside the kernel where the system can (``shutil.copyfile``: sendfile, CopyFile2)."""
    name = simulated(work.image.name, suffix)
    shutil.copyfile(work.image, work.folder / name)
    return name
