"""The second composition under faults: an edge, two gateways on one database, a broker; every service a process."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from contracts.hosting import PORTS
from contracts.models import FINAL, State
from tests.faults.audit import audit
from tests.faults.control import Control
from tests.faults.lines import Line, Lines
from tests.faults.model_server import ModelServer
from tests.faults.outage import Site
from tests.faults.supervisor import Supervisor
from tests.faults.trials import MODEL, install
from tests.faults.world import INPUT, Lost, wait_for
from tests.support.fleet import free_offset
from tests.support.instance import Instance
from tests.support.mosquitto import Mosquitto
from tests.support.postgres import PostgresServer
from tests.support.redis_server import RedisServer

FIRST = ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway", "pipelines")
SECOND = ("job-repository", "task-launcher", "pipelines")
"""What the second gateway has of its own; it shares database, bus and files with the first."""
WITH_FILES = (
    "file-receiver-gateway", "file-sender-gateway", "pipelines", "pipelines-2", "task-launcher", "task-launcher-2",
)  # fmt: skip
"""Who uses the gateway's files."""
BACK = 90.0
"""Seconds after which everything must have come to its end once nothing is broken any more."""
ACCEPTED = 1
"""A reviewer's verdict."""
LEASE = 5
"""Seconds that a runner of pipelines holds a job without a sign of life."""
HERE = Path(__file__).parents[2]


class Spread:
    """One edge, two gateways, pipelines, broker, PostgreSQL, and a line between any two of them that can be harmed."""

    def __init__(self, folder: Path, bus: str = "redis", command: tuple[str, ...] = ("compose",)) -> None:
        """``bus``: ``redis`` or ``mqtt``."""
        self.folder, self._command = folder, command
        self.files, self.content = folder / "files", dict[str, bytes]()
        folder.mkdir(parents=True)
        install(folder / "plugins")
        self.lines, self.model = Lines(), ModelServer()
        self.broker: RedisServer | Mosquitto = RedisServer() if bus == "redis" else Mosquitto()
        self.postgres = PostgresServer()
        self.bus_line = self.lines.open(self.broker.port)
        self.base_line = self.lines.open(self.postgres.port)
        self._bus_url = self.broker.url.replace(str(self.broker.port), str(self.bus_line.port))
        self.controls: dict[str, Control] = {}
        self.sites = {
            "edge": Site(folder / "edge", folder / "durable-edge", ("edge",), INPUT),
            "gateway": Site(self.files, folder / "durable-files", WITH_FILES),
        }
        self.instances = self._instances()
        self.supervisor = Supervisor(self.instances)
        self.patience, self._frozen = BACK, set[int]()
        self.quarantined: set[str] = set()
        self.audit: dict[str, int] = {}
        """What the last look at the accounts has found, by kind."""
        self.unreviewed: list[str] = []
        self.accepted: set[str] = set()
        """Jobs whose acceptance was answered."""
        self._client = httpx.Client(timeout=1)
        self.away: set[str] = set()
        """Servers that are stopped now."""

    def _instances(self) -> dict[str, Instance]:
        url = self.postgres.url(self.postgres.database().rpartition("/")[2])
        first, second, near = free_offset(), free_offset(), free_offset()
        gateway = {
            "CYTOBUS_GATEWAY__DATABASE_URL": url.replace(str(self.postgres.port), str(self.base_line.port)),
            "CYTOBUS_GATEWAY__FILES": str(self.files),
            "CYTOBUS_PIPELINES__TOPICS": '["trial"]',
            "CYTOBUS_PIPELINES__WORKERS": "1",
            "CYTOBUS_PIPELINES__LEASE_SECONDS": str(LEASE),
            "CYTOBUS_PIPELINES__TIMEOUT_SECONDS": "2",
            "CYTOBUS_PIPELINES__MEMORY_MB": "1500",
            MODEL: str(self.model.port),
        }
        edge = {"CYTOBUS_EDGE__SETTLE_SECONDS": "0.5", "CYTOBUS_EDGE__RESCAN_SECONDS": "3"}
        self.gateway_lines: dict[str, Line] = {
            name: self.lines.open(PORTS[name] + first, PORTS[name] + near, framed=True) for name in FIRST[:4]
        }
        made = {name: self._instance(name, f"serve {name}", first, gateway) for name in FIRST}
        made |= {f"{name}-2": self._instance(f"{name}-2", f"serve {name}", second, gateway) for name in SECOND}
        return made | {"edge": self._instance("edge", "edge", near, edge)}

    def _instance(self, name: str, side: str, offset: int, settings: dict[str, str]) -> Instance:
        control = self.controls[name] = Control(self.folder / f"{name}.control")
        sites = [site for site in self.sites.values() if name in site.services]
        watched = sites[0].environment(control) if sites else control.environment(self.folder)
        path = os.pathsep.join([str(self.folder / "plugins"), str(HERE)])
        more = {"CYTOBUS_BUS_URL": self._bus_url, "PYTHONPATH": path} | settings
        return Instance(
            self.folder / name,
            side=side,
            offset=offset,
            module=self._command,
            **more | watched,
        )

    @property
    def edge(self) -> Instance:
        return self.instances["edge"]

    @property
    def repository(self) -> Instance:
        return self.instances["job-repository"]

    @property
    def dropped(self) -> int:
        return len(self.content)

    def start(self) -> None:
        """For the first time."""
        for site in self.sites.values():
            site.begin(self.controls[site.services[0]])
        for instance in self.instances.values():
            instance.launch()
        for instance in self.instances.values():
            instance.wait_until_up()
        self.instances["task-launcher"].add_task("trial")
        self.supervisor.start()

    def close(self) -> None:
        self.supervisor.close()
        self._client.close()
        self.thaw()
        for instance in self.instances.values():
            instance.close()
        self.lines.close()
        self.broker.close()
        self.postgres.close()
        self.model.close()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- doing

    def drop(self, rng: random.Random, count: int = 1, kind: str = "file", mtime: float = 0.0) -> list[str]:
        """New files, each with a content of its own; their names. ``mtime``: seconds from now."""
        names = []
        for _ in range(count):
            name = f"{kind}-{self.dropped + 1:05}.dat"
            content = f"{name} {rng.random()} ".encode() * rng.choice((1, 40, 40, 400, 4000, 20000))
            self.content[name] = content
            hidden = self.edge.input / f".{name}.part"
            hidden.write_bytes(content)
            if mtime:
                os.utime(hidden, (time.time() + mtime,) * 2)
            hidden.rename(self.edge.input / name)
            names.append(name)
        return names

    def accept(self, rng: random.Random) -> None:
        """As a reviewer does, at either gateway: what is answered must not be forgotten, whatever happens next."""
        if not self.unreviewed:
            return
        job_id = self.unreviewed.pop(rng.randrange(len(self.unreviewed)))
        gateway = self.instances[rng.choice(("job-repository", "job-repository-2"))]
        try:
            answer = self._client.put(
                gateway.url("job-repository") + f"/api/v1/job/{job_id}", json={"Verification": ACCEPTED}
            )
        except (httpx.HTTPError, OSError):
            return
        if answer.status_code == 200:
            self.accepted.add(job_id)

    def kill(self, name: str) -> None:
        """kill -9 of a service; the supervisor starts it again."""
        if self.instances[name].alive():
            self.instances[name].kill()

    def cut_power(self, where: str, rng: random.Random) -> None:
        """Of the edge, or of all that use the gateway's files; the databases have power of their own."""
        self.thaw()
        site = self.sites[where]
        site.cut(self.instances, self.controls[site.services[0]], self.supervisor, rng)

    def freeze(self, pid: int, seconds: float) -> None:
        """A process stands still for a while."""
        os.kill(pid, signal.SIGSTOP)
        self._frozen.add(pid)
        self.supervisor.later(seconds, lambda: self.wake(pid))

    def wake(self, pid: int) -> None:
        """What stands still goes on."""
        self._frozen.discard(pid)
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return  # it was killed meanwhile

    def take_away(self, what: str, stop: Callable[[], None], start: Callable[[], None], seconds: float) -> bool:
        """A server ends, and comes back after a while. False where it is away already."""
        if what in self.away:
            return False
        self.thaw()
        self.away.add(what)
        stop()

        def back() -> None:
            start()
            self.away.discard(what)

        self.supervisor.later(seconds, back)
        return True

    def thaw(self) -> None:
        """Everything that stands still goes on."""
        for pid in list(self._frozen):
            self.wake(pid)

    # -- the accounts

    def settle(self) -> None:
        """Nothing is broken any more: all must come to its end by itself. Raises ``Lost``."""
        for control in self.controls.values():
            control.disarm()
            control.step_clock(0)
        self.lines.mend()
        self.thaw()
        self.supervisor.hurry()
        self.model.up()
        wait_for(lambda: self.supervisor.all_up() and self._ended(), self.patience, self._story)
        if bad := self.faulty():
            raise Lost(f"{bad}\n{self._story()}")

    def _ended(self) -> bool:
        """Whether every file that went in has come to its end, as far as the repository and the folder tell."""
        if self.supervisor.trouble:
            raise self.supervisor.trouble[0]
        try:
            counts = self.repository.counts()
        except httpx.HTTPError:
            return False
        if set(counts) - FINAL or sum(counts.values()) < self.dropped:
            time.sleep(0.2)
            return False
        return True

    def faulty(self) -> dict[str, list[str]]:
        """What is lost, corrupt, unknown, or there more than once. Empty when every account is even."""
        jobs = self.repository.jobs()
        self.quarantined = {job["InputFile"]["Name"] for job in jobs if job["State"] == State.QUARANTINED}
        self.unreviewed = [job["Id"] for job in jobs if job["State"] == State.COMPLETE and not job["Verification"]]
        found = audit(self.content, jobs, self.edge.output)
        found["answered and forgotten"] = sorted(self.accepted & set(self.unreviewed))
        self.audit = {what: len(names) for what, names in found.items()}
        return {what: names for what, names in found.items() if names}

    def _story(self) -> str:
        try:
            open_ones = [
                (job["InputFile"]["Name"], job["State"], job.get("Reason", ""), job.get("LeaseHolder", ""))
                for job in self.repository.jobs()
                if job["State"] not in ("complete", "quarantined")
            ]
            told: Any = {"unfinished": open_ones, "counts": self.repository.counts(), "dropped": self.dropped}
        except (httpx.HTTPError, OSError) as error:
            told = f"the repository does not answer: {error}"
        down = [name for name, instance in self.instances.items() if not instance.alive()]
        logs = {name: _end_of(instance.log) for name, instance in self.instances.items()}
        return json.dumps({"jobs": told, "down": down}, indent=1) + "".join(
            f"\n--- {name}\n{text}" for name, text in logs.items()
        )


def _end_of(log: Path) -> str:
    return "\n".join(line[:300] for line in log.read_text(errors="replace").splitlines()[-8:])
