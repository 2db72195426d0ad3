"""A whole cytobus as a process of its own, started, asked, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

START_SECONDS = 90.0


class Instance:
    """``cytobus up`` (or another side, or ``serve`` with names) on a data folder and free ports. Its output goes to
    ``<data>.log``."""

    def __init__(
        self,
        data: Path,
        *,
        side: str = "up",
        offset: int = -1,
        module: Sequence[str] = ("compose",),
        **environment: str,
    ) -> None:
        """``module``: what Python is to run, and with which arguments before our own."""
        self.data, self._module = data, module
        self._side, self._offset = side, offset
        self.log = data.with_suffix(".log")
        self.environment = os.environ | {"CYTOBUS_LOG_LEVEL": "info"} | environment
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(timeout=30.0)

    @property
    def input(self) -> Path:
        return self.data / "edge" / "input"

    @property
    def output(self) -> Path:
        return self.data / "edge" / "output"

    def start(self) -> None:
        """Start and wait until the API answers."""
        self.launch()
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until the API of what was launched answers."""
        self.wait_for((self.data / "running.json").is_file, START_SECONDS, "it did not come up")

    def launch(self) -> None:
        """Start without waiting."""
        (self.data / "running.json").unlink(missing_ok=True)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        where = ["--data", str(self.data), "--port-offset", str(self._offset)]
        command = [sys.executable, "-m", *self._module, *self._side.split(), *where]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None
        return self._process.pid

    def ports(self) -> dict[str, int]:
        """Service -> port."""
        found: dict[str, int] = json.loads((self.data / "running.json").read_text())["ports"]
        return found

    def url(self, service: str) -> str:
        """The base URL of a service."""
        return f"http://127.0.0.1:{self.ports()[service]}"

    def ask(self, method: str, service: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return self._client.request(method, self.url(service) + path, **options)

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        answer: dict[str, int] = self.ask("GET", "job-repository", "/api/v1/counts").json()
        return answer

    def jobs(self, **query: str) -> list[dict[str, Any]]:
        """All jobs (that fit), page by page."""
        found: list[dict[str, Any]] = []
        path = "/api/v1/job?" + urlencode({"order": "asc"} | query)
        while path:
            response = self.ask("GET", "job-repository", path)
            found += response.json()
            following = urlsplit(response.links.get("next", {}).get("url", ""))
            path = f"{following.path}?{following.query}" if following.path else ""
        return found

    def add_task(self, pipeline: str, selector: str = "true", **parameters: str) -> str:
        """Register a task."""
        task = {
            "Description": f"test {pipeline}",
            "JobSelector": selector,
            "PipelineId": pipeline,
            "ResultFileFolder": "output",
            "ModelParameters": parameters,
        }
        response = self.ask("POST", "task-launcher", "/api/v1/task", json=task)
        assert response.status_code == 201, response.text
        return response.text

    def drop(self, name: str, content: bytes) -> None:
        """A file that appears whole in the watched folder."""
        hidden = self.input / f".{name}.part"
        hidden.write_bytes(content)
        hidden.rename(self.input / name)

    def kill(self) -> None:
        """kill -9 of the main process; what it started must go by itself."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def alive(self) -> bool:
        """Whether the main process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What the main process ended with; below zero: a signal. None while it runs."""
        return self._process.poll() if self._process is not None else None

    def freeze(self, seconds: float) -> None:
        """The main process stands still for a while."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)  # the fault's length
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def close(self) -> None:
        """End it whatever its state."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._client.close()

    def wait_for(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        """Poll until a condition holds. Fails with the end of the log."""
        deadline, pause = time.monotonic() + seconds, 0.02
        while not condition():
            dead = self._process is not None and self._process.poll() is not None
            if dead or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
                raise AssertionError(f"{complaint}{' (the process has ended)' if dead else ''}; its log ends:\n{tail}")
            time.sleep(pause)
            pause = min(pause * 1.25, 0.2)  # to ask is work for those who are asked
