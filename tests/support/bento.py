"""A real BentoML server with the nuclei service, in an environment of its own: it wants other versions of packages."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import httpx
import psutil

from tests.support.environments import made
from tests.support.redis_server import free_port

PACKAGES = ("bentoml>=1.4", "openvino>=2025.2", "numpy>=2.0")
SERVICE = "pipelines.nuclei.bento:Nuclei"
ROOT = Path(__file__).parents[2]


@cache
def environment() -> Path:
    """The environment's folder, made if need be. Raises ``LookupError`` with the reason where it cannot be had."""
    return made("bento", Path(sys.executable), PACKAGES)


class BentoServer:
    """Serves the nuclei models on a free port."""

    def __init__(self, what: str = SERVICE) -> None:
        """``what``: a service of this project's code, or the folder of a bento, which has all that it needs."""
        self._what, self._home = what, environment()
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="cytobus-bento-"))
        self.log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it is ready."""
        command = [
            str(self._home / "bin/bentoml"),
            "serve",
            self._what,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        environment = {
            "PATH": f"{self._home / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self._folder),
            "BENTOML_HOME": str(self._folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        if self._what == SERVICE:
            environment["PYTHONPATH"] = str(ROOT)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=self._folder, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self._ready():
            assert self._process.poll() is None, f"the BentoML server has ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"the BentoML server is not ready:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def address(self) -> str:
        """As a setting of ``pipelines.backends``."""
        return f"bentoml+http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """kill -9, with its workers."""
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(self._process.pid).children(recursive=True):  # in groups of their own
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it, and remove what it wrote."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
