"""Pipelines for tests, installed by ``offered``: one that some files break, one that takes its time."""

import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pipelines.plugin import Parameter, Result, Work

TAKES = 0.1
"""Seconds that a good file takes."""
HANGING = "POISONED_HANGING"
"""Names the file in which each hanging run says when it began (s of the monotonic clock)."""
PACE = 0.4
"""Seconds that a file takes of a pipeline with a model."""


class Poisoned:
    topic = "poisoned"
    name = "Poisoned"
    description = "For tests: what it does depends on the file's name"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        """``raise-…`` raises, ``crash-…`` ends the interpreter, ``hang-…`` never returns; others take ``TAKES``."""
        match work.image.name.partition("-")[0]:
            case "raise":
                raise RuntimeError("this file is poison")
            case "crash":
                os._exit(3)
            case "hang":
                with Path(os.environ[HANGING]).open("a") as told:
                    told.write(f"{time.monotonic()}\n")  # one clock for all processes of a machine
                threading.Event().wait()
        time.sleep(TAKES)  # what its work takes; no processor, so that slots are what is scarce
        return Result(results="fine")


class Paced:
    topic = "paced"
    name = "Paced"
    description = "For tests: a copy of the file, after the time that a model would take"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        time.sleep(PACE)  # what its work takes
        copy = work.folder / f"{work.image.stem}-sim{work.image.suffix}"
        shutil.copyfile(work.image, copy)
        return Result(outputs=(copy.name,), qc_flags="passed")


def offered(folder: Path) -> dict[str, str]:
    """The environment in which the pipeline is installed: a package's metadata in a folder on the path."""
    package = folder / "poisoned-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: poisoned\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        f"[cytobus.pipelines]\n{Poisoned.topic} = {__name__}:Poisoned\n{Paced.topic} = {__name__}:Paced\n"
    )
    hanging = folder / "hanging.txt"
    hanging.touch()
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join([str(folder), here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, HANGING: str(hanging)}
