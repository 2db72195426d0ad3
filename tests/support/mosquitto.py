"""A real Mosquitto of the tests, on a free port of this machine."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.redis_server import free_port

SETTINGS = """
listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 1000
set_tcp_nodelay true
max_queued_messages 100000
persistence {persistence}
persistence_location {folder}/
autosave_interval 2
user root
{more}
"""


class Mosquitto:
    """Writes what it has to disk every two seconds, so that a restart finds it; ``keeps=False`` forgets all."""

    def __init__(self, *, keeps: bool = True, more: str = "") -> None:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        self._program = shutil.which("mosquitto", path=path)
        if self._program is None:
            raise AssertionError("mosquitto is not installed: run make servers, or install your system's package")
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._folder = Path(tempfile.mkdtemp(prefix="cytobus-mosquitto-"))
        self._settings = self._folder / "mosquitto.conf"
        persistence = "true" if keeps else "false"
        text = SETTINGS.format(port=self.port, folder=self._folder, persistence=persistence, more=more)
        if os.name != "posix" or os.getuid() != 0:
            text = text.replace("user root\n", "")
        self._settings.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        assert self._program is not None
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._settings)], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "mosquitto has ended"
                assert time.monotonic() < deadline, "mosquitto does not listen"
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def forget(self) -> None:
        """Away with what it has on disk."""
        (self._folder / "mosquitto.db").unlink(missing_ok=True)

    def restart(self) -> None:
        """kill -9 and a new start."""
        self.kill()
        self.start()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
