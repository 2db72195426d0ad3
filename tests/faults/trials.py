"""The pipeline of the fault machine: it turns a file round, and misbehaves with files whose names say so."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pipelines.plugin import Parameter, Result, Work

MODEL = "TRIALS_MODEL_PORT"
"""Where the model server listens, for files that need one."""
ENTRY_POINTS = "[cytobus.pipelines]\ntrial = tests.faults.trials:Trial\n"
DOOMED = ("poison", "hangs", "aborts", "hogs")
"""Files that no number of tries helps."""
ASKS = "asks"
"""Files that need the model server."""


def turned(content: bytes) -> bytes:
    """What the pipeline makes of a file: the same each time."""
    return bytes(content[::-1].translate(bytes(byte ^ 0x55 for byte in range(256))))


def expected(name: str, content: bytes) -> dict[str, bytes]:
    """The outputs of a file, by name."""
    stem, suffix = Path(name).stem, Path(name).suffix
    return {f"{stem}-turned{suffix}": turned(content), f"{stem}-sum.txt": hashlib.sha256(content).hexdigest().encode()}


class Trial:
    """Deterministic, except where it is to fail."""

    topic = "trial"
    name = "Trial"
    description = "for the fault machine"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        misbehave(work.image.name)
        content = work.image.read_bytes()
        made = expected(work.image.name, content)
        for name, output in made.items():
            (work.folder / name).write_bytes(output)
        return Result(tuple(made), results=str(len(content)), qc_flags="passed")


def misbehave(name: str) -> None:
    """As the first part of a file's name says."""
    match name.split("-")[0]:
        case "poison":
            raise ValueError("this file is poison")
        case "slow":
            time.sleep(1.0)
        case "hangs":
            threading.Event().wait()
        case "aborts":
            os.abort()
        case "hogs":
            bytearray(4 << 30)
        case "asks":
            with socket.create_connection(("127.0.0.1", int(os.environ[MODEL])), timeout=2) as line:
                if line.recv(5) != b"model":
                    raise ConnectionError("the model server says nothing")


def install(folder: Path) -> None:
    """Make ``folder``, once it is on the path of Python, look like an installed package with this pipeline."""
    about = folder / "trials-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: trials\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
