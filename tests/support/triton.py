"""A real Triton Inference Server on this machine's processor: the one in the package nvidia-pytriton.

It brings Triton 2.51 with the Python backend alone. It lives in an environment of its own, made once of Debian's
Python 3.11, whose shared library the server's stub is linked to, with the numpy before 2 that this stub needs: about
500 MB on disk, a download of 200 MB, and then seconds.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import httpx

from tests.support.environments import made
from tests.support.redis_server import free_port

PYTHON = Path("/usr/bin/python3.11")
PACKAGES = ("nvidia-pytriton==0.7.0", "numpy==1.26.4", "openvino>=2025.2")


@cache
def environment() -> Path:
    """The environment's folder, made if need be. Raises ``LookupError`` with the reason where it cannot be had."""
    if not PYTHON.exists():
        raise LookupError(f"no {PYTHON}, whose shared library the server's Python backend is linked to")
    return made("triton", PYTHON, PACKAGES, _link_backend)


def _packed(folder: Path) -> Path:
    return folder / "lib/python3.11/site-packages/pytriton/tritonserver"


def _link_backend(folder: Path) -> None:
    """The Python backend as the server looks for it. Links, because it finds its libraries beside the originals."""
    there, backend = _packed(folder), folder / "backends" / "python"
    backend.mkdir(parents=True)
    for path in (
        *(there / "backends/python").iterdir(),
        there / "python_backend_stubs/3.11/triton_python_backend_stub",
    ):
        (backend / path.name).symlink_to(path.resolve())


class TritonServer:
    """Serves a repository on free ports, its models loaded and unloaded on demand."""

    def __init__(self, repository: Path, models: Sequence[str] = ("*",)) -> None:
        self._home = environment()
        self.repository, self.models = repository, tuple(models)
        self.http, self.grpc, self.metrics_port = free_port(), free_port(), free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="cytobus-triton-"))
        self.log = self._folder / "log"
        self._shared = self._folder.name
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it is ready."""
        command = [
            str(_packed(self._home) / "bin/tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={self._home / 'backends'}",
            *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc")),
            f"--http-port={self.http}",
            f"--grpc-port={self.grpc}",
            f"--metrics-port={self.metrics_port}",
            f"--backend-config=python,shm-region-prefix-name={self._shared}",
            "--allow-gpu-metrics=false",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self.models),
            "--exit-timeout-secs=5",
        ]
        path = f"{self._home / 'bin'}:/usr/bin:/bin"  # by it the stub finds its packages
        environment = {"PATH": path, "HOME": str(self._folder), "LANG": "C.UTF-8"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self._ready():
            assert self._process.poll() is None, f"the Triton server has ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"the Triton server is not ready:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Of its HTTP port."""
        return f"http://127.0.0.1:{self.http}"

    def address(self, kind: str) -> str:
        """As a setting of ``pipelines.backends``: kind is grpc or http."""
        return f"kserve+{kind}://127.0.0.1:{self.grpc if kind == 'grpc' else self.http}"

    def figure(self, name: str, model: str) -> float:
        """The sum of a figure of ``/metrics`` over the versions of a model."""
        lines = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text.splitlines()
        return sum(float(x.split()[-1]) for x in lines if x.startswith(f'{name}{{model="{model}",'))

    def kill(self) -> None:
        """kill -9, with the stubs that run its models."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stand_still(self) -> None:
        """Stop it without a word."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def close(self) -> None:
        """End it, and remove what it wrote."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        for region in Path("/dev/shm").glob(f"{self._shared}*"):  # what kill -9 has left
            region.unlink(missing_ok=True)
