"""Starts again what has ended, as systemd or a container engine would, and takes the time that this takes."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.support.instance import Instance

LOOK = 0.05
"""Seconds between two looks at the processes."""
PAUSE = 0.5
"""Seconds before a process that ended while it started is started again."""


class Supervisor:
    """Watches processes while the context is open."""

    def __init__(self, instances: Mapping[str, Instance]) -> None:
        self._instances = instances
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._errands = ThreadPoolExecutor(4, "errand")
        self._pending: list[tuple[float, Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._down: dict[str, float] = {}
        self._held: set[str] = set()
        self._looks = 0
        self._client = httpx.Client(timeout=0.5)
        self.recoveries: dict[str, list[float]] = {}
        """Seconds from the end of a process to its ``/ready``, by service."""
        self.ended: Counter[tuple[str, int]] = Counter()
        """How often a service ended with an exit code that is not ours (``kill -9``)."""
        self.trouble: list[Exception] = []

    def start(self) -> None:
        self._thread.start()

    def later(self, seconds: float, errand: Callable[[], None]) -> None:
        """Do something in a while, without anybody waiting for it."""
        with self._lock:
            self._pending.append((time.monotonic() + seconds, errand))

    def hold(self, *names: str) -> None:
        """Do not start these until they are let go: their machine is without power. None is being started any more
        when this returns."""
        with self._lock:
            self._held |= set(names)
        seen = self._looks
        while self._looks < seen + 2 and self._thread.is_alive():
            time.sleep(LOOK)

    def let_go(self) -> None:
        with self._lock:
            self._held.clear()

    def hurry(self) -> None:
        """Do now what was to be done later, and wait for it."""
        with self._lock:
            due, self._pending = self._pending, []
        for errand in [self._errands.submit(errand) for _, errand in due]:
            errand.result()

    def all_up(self) -> bool:
        """Whether every process runs and is ready."""
        return not self._down and all(instance.alive() for instance in self._instances.values())

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._errands.shutdown()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            try:
                self._look()
            except Exception as error:  # told by whoever settles the accounts
                self.trouble.append(error)
            self._looks += 1

    def _look(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [errand for at, errand in self._pending if at <= now]
            self._pending = [(at, errand) for at, errand in self._pending if at > now]
        for errand in due:
            self._errands.submit(errand)
        for name, instance in self._instances.items():
            if instance.alive():
                if name in self._down and self._is_ready(name, instance):
                    self.recoveries.setdefault(name, []).append(time.monotonic() - self._down.pop(name))
            elif name not in self._held:
                self._restart(name, instance)

    def _restart(self, name: str, instance: Instance) -> None:
        code = instance.exit_code
        if code != -9:
            self.ended[name, code or 0] += 1
            time.sleep(PAUSE)  # as supervisors do
        self._down.setdefault(name, time.monotonic())
        instance.launch()

    def _is_ready(self, name: str, instance: Instance) -> bool:
        if not (instance.data / "running.json").is_file():
            return False
        service = next(iter(instance.ports()))
        try:
            return self._client.get(instance.url(service) + "/api/v1/ready").status_code == 200
        except httpx.HTTPError:
            return False
