"""How long it takes after a ``kill -9`` until all is ready again and a job that waited has come to its end."""

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.faults.world import result_of, wait_for
from tests.support import postgres
from tests.support.fleet import Fleet
from tests.support.instance import Instance
from tests.support.redis_server import RedisServer

BEFORE = 3
"""Files that are on their way when it happens."""


@dataclass
class Recoveries:
    """Seconds from the kill until it answers ready, and until the files that were on their way are back."""

    ready: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)


class _Files:
    """What goes in and has to come back."""

    def __init__(self, edge: Instance, seed: int) -> None:
        self._edge, self._rng, self._many = edge, random.Random(seed), 0
        self._waiting: dict[str, bytes] = {}

    def drop(self) -> None:
        for _ in range(BEFORE):
            self._many += 1
            name, content = f"file-{self._many:04}.dat", self._rng.randbytes(20_000)
            self._waiting[name] = content
            self._edge.drop(name, content)

    def back(self) -> bool:
        """Whether all are there, bit for bit."""
        there = [self._edge.output / result_of(name) for name in self._waiting]
        if not all(path.is_file() for path in there):
            return False
        assert [path.read_bytes() for path in there] == list(self._waiting.values()), "a result is not its file"
        return True

    def forget(self) -> None:
        self._waiting.clear()

    def moment(self) -> None:
        """A random one of a file's way."""
        time.sleep(self._rng.random() * 1.5)


def ready(instance: Instance) -> bool:
    """Whether every service of a process says so."""
    try:
        urls = [instance.url(service) for service in instance.ports()]
        return all(httpx.get(f"{url}/api/v1/ready", timeout=5).status_code == 200 for url in urls)
    except (httpx.HTTPError, OSError, ValueError):
        return False


def of_one_process(folder: Path, many: int, *, seed: int = 1, patience: float = 120.0) -> Recoveries:
    """Everything in one process: the main process is killed, every third time a worker of pipelines instead."""
    found = Recoveries()
    instance = Instance(folder, CYTOBUS_PIPELINES__TOPICS='["only-file"]')
    files = _Files(instance, seed)
    try:
        instance.start()
        instance.add_task("only-file")
        for number in range(many):
            files.drop()
            files.moment()
            if number % 3 == 1:
                begun = time.monotonic()
                _kill_a_worker(instance)
                found.killed.append("worker")
            else:
                begun = time.monotonic()
                instance.kill()
                instance.launch()
                found.killed.append("process")
            _measure(found, begun, [instance], files, patience)
    finally:
        instance.close()
    return found


def of_services(folder: Path, rounds: int, *, seed: int = 1, patience: float = 120.0) -> Recoveries:
    """Each service a process of its own, on Redis and PostgreSQL: each is killed once a round."""
    found = Recoveries()
    with _fleet(folder) as fleet:
        files = _Files(fleet.edge, seed)
        for _ in range(rounds):
            for name, instance in {**fleet.services, "edge": fleet.edge}.items():
                files.drop()
                files.moment()
                begun = time.monotonic()
                instance.kill()
                instance.launch()
                found.killed.append(name)
                _measure(found, begun, [instance], files, patience)
    return found


@contextlib.contextmanager
def _fleet(folder: Path) -> Iterator[Fleet]:
    redis = RedisServer()
    url = postgres.shared().database(template=postgres.migrated())
    fleet = Fleet(folder, bus_url=redis.url, database_url=url)
    try:
        fleet.start()
        fleet.launcher.add_task("only-file")
        yield fleet
    finally:
        fleet.close()
        redis.close()
        postgres.shared().drop(url)


def _measure(found: Recoveries, begun: float, instances: list[Instance], files: _Files, patience: float) -> None:
    wait_for(lambda: all(ready(one) for one in instances), patience, lambda: f"{found.killed[-1]} is not ready")
    found.ready.append(time.monotonic() - begun)
    wait_for(files.back, patience, lambda: f"after {found.killed[-1]} was killed, files did not come back")
    found.back.append(time.monotonic() - begun)
    files.forget()


def _kill_a_worker(instance: Instance) -> None:
    """One process that runs pipelines, as the out-of-memory killer would."""
    workers = [child for child in psutil.Process(instance.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert workers, "no worker process was found"
    workers[0].kill()
