"""A real PostgreSQL of the tests: one server a run, a database of its own for each test."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from functools import lru_cache
from pathlib import Path

import psycopg

from tests.support.redis_server import free_port

PASSWORD = "test"


def program(name: str) -> str:
    """Where a program of PostgreSQL lies; the newest version if there are several."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    if found is None:
        raise AssertionError(
            f"PostgreSQL's {name} is not installed: run make servers, or install your system's package"
        )
    return found


class PostgresServer:
    """Listens on this machine only. Syncs to disk as it does by default."""

    def __init__(self) -> None:
        self.port = free_port()
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.name == "posix" and os.getuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="cytobus-postgres-", dir="/tmp" if os.name == "posix" else None))
        if self._user:
            shutil.chown(self._folder, self._user)
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ["-U", "cytobus", "-A", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8", "--locale=C"]
        self._run(program("initdb"), "-D", str(self._data), *options)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, user=self._user, capture_output=True, text=True, cwd=self._folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://cytobus:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        place = ["-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("postgres"), *place, "-c", "max_connections=300"],
                user=self._user,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self._folder / "log").read_text()) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9 of the server; its children follow."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        # The next start needs the shared memory that children hold for a moment more.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def stop_at_once(self) -> None:
        """What ``pg_ctl stop -m immediate`` does: no shutdown, the next start recovers from the log."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def backends(self) -> list[int]:
        """The processes that serve our clients now."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'cytobus' ORDER BY pid"
            return [int(row[0]) for row in connection.execute(query)]

    def execute(self, statement: str) -> None:
        """One statement outside of any transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def database(self, template: str = "template1") -> str:
        """A new database; its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Away with a database and whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@lru_cache
def shared() -> PostgresServer:
    """The server that the tests of a run share."""
    server = PostgresServer()
    atexit.register(server.close)
    return server


@lru_cache
def migrated() -> str:
    """The name of a database with our tables, to make others of."""
    from gateway.database import migrate, open_engine

    shared().execute("CREATE DATABASE migrated")
    engine = open_engine(shared().url("migrated"))
    migrate(engine)
    engine.dispose()
    return "migrated"
