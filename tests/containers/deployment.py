"""A deployment in containers, as a user's: the compose files, a .env, folders; and what may befall it."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

HERE = Path(__file__).parents[2]
EXAMPLE = HERE / "compose" / ".env.example"


def engine_is_missing() -> str:
    """Why containers cannot be tested here; empty if they can."""
    if shutil.which("docker") is None:
        return "the docker command is not installed"
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True)
    return "" if answer.returncode == 0 else f"no docker engine answers: {answer.stderr.strip()[-200:]}"


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def settings(folder: Path, **changes: str) -> Path:
    """A .env: the example with some lines changed."""
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        name = line.partition("=")[0]
        lines.append(f"{name}={changes.pop(name)}" if name in changes else line)
    assert not changes, f"the example has no {changes}"
    path = folder / ".env"
    path.write_text("\n".join(lines) + "\n")
    return path


class Deployment:
    """One compose project."""

    def __init__(self, folder: Path, file: str, project: str, **changes: str) -> None:
        self.images, self.results = folder / "images", folder / "results"
        self.images.mkdir(parents=True, exist_ok=True)
        self.results.mkdir(exist_ok=True)
        ports = ("FILE_RECEIVER", "JOB_REPOSITORY", "TASK_LAUNCHER", "FILE_SENDER", "CELL_INDEX", "DASHBOARD", "MQTT")
        self.address = changes.get("BIND_ADDRESS", "127.0.0.1")
        self.ports = {name: free_port(self.address) for name in ports}
        self.word, self.authority = "", ""
        mine = {f"{name}_PORT": str(port) for name, port in self.ports.items()} | {
            "IMAGES_FOLDER": str(self.images),
            "RESULTS_FOLDER": str(self.results),
            "PUID": str(os.getuid()),
            "PGID": str(os.getgid()),
            "SETTLE_SECONDS": "0.5",
        }
        env = settings(folder, **(mine | changes))
        self.project = project
        self._compose = ["docker", "compose", "-p", project, "-f", str(HERE / "compose" / file), "--env-file", str(env)]

    def compose(self, *arguments: str, check: bool = True) -> str:
        """``docker compose …``; its output. Fails with what it said."""
        done = subprocess.run([*self._compose, *arguments], capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout + done.stderr

    def up(self, seconds: float = 120) -> None:
        """Start everything and wait until every service is healthy."""
        self.compose("up", "-d", "--no-build")
        wait_for(lambda: not self.unwell(), seconds, lambda: f"{self.unwell()}\n{self.compose('logs', '--tail', '20')}")

    def down(self) -> None:
        self.compose("down", "-v", "-t", "5", "--remove-orphans", check=False)

    def unwell(self) -> list[str]:
        """Services that are not, or not yet, as they should be."""
        found = [
            json.loads(line) for line in self.compose("ps", "-a", "--format", "json").splitlines() if line[:1] == "{"
        ]
        bad = []
        for one in found:
            once = one["Service"].startswith(("prepare", "first", "certificates"))
            fine = one["State"] == "exited" and one["ExitCode"] == 0 if once else one["State"] == "running"
            if not fine or one["Health"] not in ("healthy", ""):
                bad.append(f"{one['Service']}: {one['State']} {one['Health']}")
        return bad if found else ["nothing is there"]

    def services(self) -> list[str]:
        """Those that run for ever."""
        return sorted(self.compose("ps", "--services", "--status", "running").split())

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).split()[0]

    def kill(self, service: str) -> None:
        """kill -9 of a service's process; Docker starts it again by the restart policy."""
        pid = docker("inspect", "-f", "{{.State.Pid}}", self.container(service)).strip()
        subprocess.run(["kill", "-9", pid], check=True)

    def ask(self, method: str, port: str, path: str, **options: object) -> httpx.Response:
        where = f"{self.address}:{self.ports[port]}{path}"
        if not self.word:
            return httpx.request(method, f"http://{where}", timeout=30, **options)
        headers = {"Authorization": f"Bearer {self.word}"}
        return httpx.request(method, f"https://{where}", headers=headers, verify=self.trust(), timeout=30, **options)

    def trust(self) -> ssl.SSLContext:
        """The gateway's own authority."""
        return ssl.create_default_context(cadata=self.authority)

    def admit(self) -> None:
        """Make an administrator, by whose word everything is asked from now on."""
        inside = ("exec", "-T", "-e", "CYTOBUS_PASSWORD=a long password", "-e", "COLUMNS=400", "job-repository")
        self.compose(*inside, "cytobus", "users", "add", "anna", "--role", "admin")
        self.word = self.compose(*inside, "cytobus", "users", "token", "anna").split()[-1]
        self.authority = self.compose(*inside, "cat", "/tls/authority.pem")

    def add_task(self, pipeline: str, contains: str) -> None:
        task = {
            "Description": f"test {pipeline}",
            "JobSelector": json.dumps({"in": [contains, {"var": "InputFile.Name"}]}),
            "PipelineId": pipeline,
            "ResultFileFolder": "output",
            "ModelParameters": {},
        }
        response = self.ask("POST", "TASK_LAUNCHER", "/api/v1/task", json=task)
        assert response.status_code == 201, response.text

    def drop(self, name: str, content: bytes) -> None:
        """A file that appears whole in the watched folder."""
        hidden = self.images / f".{name}.part"
        hidden.write_bytes(content)
        hidden.rename(self.images / name)


def docker(*arguments: str) -> str:
    """``docker …``; its output. Fails with what it said."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def wait_for(condition: Callable[[], object], seconds: float, complaint: Callable[[], str]) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(0.2)
