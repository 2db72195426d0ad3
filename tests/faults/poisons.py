"""A pipeline that most files go through in a moment, and some break; installed for a test by ``offered``."""

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pipelines.plugin import Parameter, Result, Work

TAKES = 0.1
"""Seconds that a good file takes."""


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
                threading.Event().wait()
        time.sleep(TAKES)  # what its work takes; no processor, so that slots are what is scarce
        return Result(results="fine")


def offered(folder: Path) -> dict[str, str]:
    """The environment in which the pipeline is installed: a package's metadata in a folder on the path."""
    package = folder / "poisoned-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: poisoned\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[cytobus.pipelines]\n{Poisoned.topic} = {__name__}:Poisoned\n")
    here = str(Path(__file__).parents[2])
    return {"PYTHONPATH": os.pathsep.join([str(folder), here, *filter(None, [os.environ.get("PYTHONPATH")])])}
