"""The faults of the spread world: what is done to it, and how it is seen whether that touched something."""

import errno
import random
import time
from collections.abc import Callable

import httpx
import psutil
import psycopg

from tests.faults import rot
from tests.faults.control import CHANGES, Action, Call, Fault, Notices, Role
from tests.faults.lines import Damage, Line
from tests.faults.spread import LEASE, Spread
from tests.support.redis_server import RedisServer

HOUR = 3600
PATIENCE = 4.0
"""Seconds that a fault waits for the thing it is to happen to."""
DISKS = ("file-receiver-gateway", "file-sender-gateway", "pipelines", "edge")
"""Services that keep files; the others have the database."""
Met = Callable[[], bool]
"""Whether a fault touched something; asked when it is over."""
Inject = Callable[[random.Random], Met]


def at_once() -> bool:
    """A fault that cannot miss."""
    return True


def missed() -> bool:
    """A fault that found nothing to happen to."""
    return False


class Faults:
    """All that can befall a world: name, how to inject it, how often in comparison."""

    def __init__(self, world: Spread) -> None:
        self.world = world
        self.choices: list[tuple[str, Inject, float]] = [
            *((f"kill -9: {name}", self._killing(name), 1.2) for name in self.world.instances),
            ("kill -9: a worker process", self._kill_worker, 2),
            ("kill -9: the broker", lambda rng: self._broker(rng.random() / 2), 2),
            ("kill -9: a process of PostgreSQL", self._kill_backend, 1),
            ("kill -9 at a call", self._kill_at_call, 3),
            ("kill -9 as a result is put down", self._kill_at_result, 1),
            ("power cut: the edge", lambda rng: self._power(rng, "edge"), 1.5),
            ("power cut: all with the gateway's files", lambda rng: self._power(rng, "gateway"), 1.5),
            ("broker loses everything", self._broker_forgets, 2),
            ("broker away for seconds", lambda rng: self._broker(1 + 2 * rng.random()), 1),
            ("PostgreSQL stopped at once (immediate)", self._stop_base, 1.5),
            ("line cut: edge and gateway", lambda rng: self._cut(self._gateway_line(rng)), 2),
            ("line cut: bus", lambda _: self._cut(self.world.bus_line), 1),
            ("line cut: database", lambda _: self._cut(self.world.base_line), 1),
            ("line dark: edge and gateway", lambda rng: self._weather(rng, "dark", self._gateway_line(rng)), 2),
            ("line dark: bus", lambda rng: self._weather(rng, "dark", self.world.bus_line), 1),
            ("line dark: database", lambda rng: self._weather(rng, "dark", self.world.base_line), 1),
            ("line slow: edge and gateway", lambda rng: self._weather(rng, "slow", self._gateway_line(rng)), 2),
            ("requests said twice", lambda rng: self._weather(rng, "twice", self._gateway_line(rng)), 3),
            ("requests out of order", lambda rng: self._weather(rng, "late", self._gateway_line(rng)), 2),
            ("bit turned in an upload", lambda rng: self._damage(rng, "flip", upwards=True), 3),
            ("bit turned in a download", lambda rng: self._damage(rng, "flip", upwards=False), 3),
            ("bit turned anywhere in a message", self._flip_anywhere, 3),
            ("upload loses its end", lambda rng: self._damage(rng, "cut", upwards=True), 2),
            ("download loses its end", lambda rng: self._damage(rng, "cut", upwards=False), 2),
            ("bit turned on the gateway's disk", lambda rng: rot.of_input(self.world, rng, rot.flip), 2),
            ("file cut short on the gateway's disk", lambda rng: rot.of_input(self.world, rng, rot.shorten), 2),
            ("bit turned in a result that waits", lambda rng: rot.of_result(self.world, rng, rot.flip), 1),
            ("result that waits is cut short", lambda rng: rot.of_result(self.world, rng, rot.shorten), 1),
            ("disk full (ENOSPC)", lambda rng: self._disk(rng, errno.ENOSPC, WRITES), 2),
            ("disk error (EIO)", lambda rng: self._disk(rng, errno.EIO, (Call.READ, Call.WRITE, *SYNCS)), 2),
            ("too many open files (EMFILE)", lambda rng: self._disk(rng, errno.EMFILE, (Call.OPEN, Call.CREATE)), 1),
            ("no permission (EACCES)", lambda rng: self._disk(rng, errno.EACCES, NAMES), 2),
            ("worker's disk full", self._worker_disk, 1),
            ("clock an hour ahead", lambda rng: self._clock(rng, HOUR), 2),
            ("clock an hour behind", lambda rng: self._clock(rng, -HOUR), 2),
            ("file from the future", self._future, 1),
            ("notifications lost", lambda rng: self._notices(rng, Notices.DROPPED), 2),
            ("notifications doubled", lambda rng: self._notices(rng, Notices.DOUBLED), 1),
            ("notifications overflowed", lambda rng: self._notices(rng, Notices.OVERFLOWN), 1),
            ("service stands still (SIGSTOP)", self._freeze, 2),
            ("runner stands still beyond its lease", self._freeze_runner, 0.7),
            ("broker or database stands still (SIGSTOP)", self._freeze_server, 1),
            ("pipeline: poison", lambda rng: self._doomed(rng, "poison"), 0.6),
            ("pipeline: hangs", lambda rng: self._doomed(rng, "hangs"), 0.3),
            ("pipeline: crashes its interpreter", lambda rng: self._doomed(rng, "aborts"), 0.5),
            ("pipeline: takes all memory", lambda rng: self._doomed(rng, "hogs"), 0.5),
            ("model server down", self._no_model, 1),
        ]

    # -- processes

    def _killing(self, name: str) -> Callable[[random.Random], Met]:
        def kill(_rng: random.Random) -> Met:
            self.world.kill(name)
            return at_once

        return kill

    def _kill_worker(self, rng: random.Random) -> Met:
        runner = self.world.instances["pipelines"]
        if not runner.alive():
            return missed
        self.world.drop(rng, 2)
        try:
            workers = [child for child in psutil.Process(runner.pid).children() if "spawn_main" in str(child.cmdline())]
            rng.choice(workers).kill()
        except (IndexError, psutil.Error):
            return missed
        return at_once

    def _power(self, rng: random.Random, where: str) -> Met:
        self.world.drop(rng, 3)
        time.sleep(2 * rng.random())  # the moment is the fault
        self.world.cut_power(where, rng)
        return at_once

    def _freeze(self, rng: random.Random) -> Met:
        instance = self.world.instances[rng.choice(list(self.world.instances))]
        if not instance.alive():
            return missed
        self.world.freeze(instance.pid, 0.5 + 2 * rng.random())
        return at_once

    def _freeze_runner(self, rng: random.Random) -> Met:
        """As soon as another runs one of its jobs, it wakes, and believes that it is still its own."""
        runner = self.world.instances[rng.choice(("pipelines", "pipelines-2"))]
        if not runner.alive():
            return missed
        self.world.drop(rng, 4, "slow")
        time.sleep(0.7 + rng.random())  # till they are in hand
        self.world.freeze(runner.pid, 2 * LEASE)
        before = self._holders()
        deadline = time.monotonic() + 2 * LEASE
        while time.monotonic() < deadline:
            now = self._holders()
            if any(now.get(job, holder) != holder for job, holder in before.items()):
                self.world.wake(runner.pid)
                return at_once
            time.sleep(0.05)
        return missed

    def _holders(self) -> dict[str, str]:
        """Who runs which job, as far as the repository answers."""
        try:
            jobs = self.world.repository.jobs(state="running")
        except (httpx.HTTPError, OSError):
            return {}
        return {job["Id"]: job["LeaseHolder"] for job in jobs if job["LeaseHolder"]}

    def _freeze_server(self, rng: random.Random) -> Met:
        if self.world.away:
            return missed
        if rng.random() < 0.5:
            self.world.freeze(self.world.broker.pid, 0.5 + 2 * rng.random())
            return at_once
        try:
            pid = rng.choice(self.world.postgres.backends())
        except (IndexError, psycopg.Error):
            return missed
        self.world.freeze(pid, 0.5 + 2 * rng.random())
        return at_once

    def _broker(self, seconds: float, *, forgets: bool = False) -> Met:
        broker = self.world.broker

        def again() -> None:
            if forgets:
                broker.forget()
            broker.start()

        return at_once if self.world.take_away("broker", broker.kill, again, seconds) else missed

    def _broker_forgets(self, rng: random.Random) -> Met:
        broker = self.world.broker
        if isinstance(broker, RedisServer) and rng.random() < 0.5:
            if "broker" in self.world.away:
                return missed
            with broker.client() as client:
                client.flushall()
            return at_once
        return self._broker(rng.random() / 2, forgets=True)

    def _stop_base(self, rng: random.Random) -> Met:
        base = self.world.postgres
        return at_once if self.world.take_away("base", base.stop_at_once, base.start, rng.random()) else missed

    def _kill_backend(self, rng: random.Random) -> Met:
        if self.world.away:
            return missed
        try:
            psutil.Process(rng.choice(self.world.postgres.backends())).kill()
        except (IndexError, psycopg.Error, psutil.Error):
            return missed
        return at_once

    # -- lines

    def _gateway_line(self, rng: random.Random) -> Line:
        return rng.choice(list(self.world.gateway_lines.values()))

    def _cut(self, line: Line) -> Met:
        return at_once if self.world.lines.cut(line) else missed

    def _weather(self, rng: random.Random, what: str, line: Line) -> Met:
        before = line.met[what]
        line.for_seconds(what, 0.5 + 2.5 * rng.random())
        self.world.drop(rng, 2)
        return lambda: line.met[what] > before

    def _damage(self, rng: random.Random, kind: str, *, upwards: bool) -> Met:
        """To a file on its way; the second of several, too, so that what a retry brings is not always sound."""
        service, request = (
            ("file-receiver-gateway", "/api/v1/files") if upwards else ("file-sender-gateway", "/transmitFile/")
        )
        line = self.world.gateway_lines[service]
        damage = Damage(kind, upwards, rng.choice((0, rng.randrange(100), rng.randrange(20_000))), request)
        line.damages.append(damage)
        self.world.drop(rng, 2)
        return lambda: damage not in line.damages

    def _flip_anywhere(self, rng: random.Random) -> Met:
        """In heads, facts and answers, too."""
        line = self._gateway_line(rng)
        damage = Damage("flip", rng.random() < 0.5, rng.randrange(1500), heads=True)
        line.damages.append(damage)
        self.world.drop(rng, 2)
        return lambda: damage not in line.damages

    # -- disks

    def _disk(self, rng: random.Random, error: int, kinds: tuple[Call, ...]) -> Met:
        kinds = (rng.choice(kinds),)
        often = Call.WRITE in kinds or Call.READ in kinds
        fault = Fault(
            Action.FAIL, kinds, rng.randint(1, 60 if often else 5), error=error, times=rng.choice((1, 1, 2, 5))
        )
        return self._hit(rng, rng.choice(DISKS), fault)

    def _kill_at_call(self, rng: random.Random) -> Met:
        kinds = (rng.choice(CHANGES),)
        action = rng.choice((Action.KILL_BEFORE, Action.KILL_AFTER, Action.TORN))
        if action is Action.TORN:
            kinds = (Call.WRITE,)
        fault = Fault(action, kinds, rng.randint(1, 60 if Call.WRITE in kinds else 6))
        return self._hit(rng, rng.choice(DISKS), fault)

    def _kill_at_result(self, rng: random.Random) -> Met:
        """It lies in its place, but nobody was told."""
        kinds = (Call.LINK, Call.UNLINK, Call.SYNC_FOLDER)
        return self._hit(rng, "edge", Fault(Action.KILL_AFTER, kinds, rng.randint(1, 4), only="/edge/output/"))

    def _worker_disk(self, rng: random.Random) -> Met:
        fault = Fault(Action.FAIL, WRITES, rng.randint(1, 6), (Role.WORKER,), errno.ENOSPC)
        return self._hit(rng, "pipelines", fault)

    def _hit(self, rng: random.Random, name: str, fault: Fault) -> Met:
        """One fault at a time waits in a process, and not for long."""
        control = self.world.controls[name]
        control.arm(fault)
        self.world.drop(rng, 2)
        deadline = time.monotonic() + PATIENCE
        while not control.fired and time.monotonic() < deadline:
            time.sleep(0.02)
        return at_once if control.fired else missed

    # -- the rest

    def _clock(self, rng: random.Random, seconds: int) -> Met:
        """Of one service, of the instrument, or of the whole gateway."""
        names = list(self.world.instances)
        some = rng.choice((["edge"], [rng.choice(names)], [name for name in names if name != "edge"]))
        for name in some:
            self.world.controls[name].step_clock(seconds)
        self.world.drop(rng, 1)
        return at_once

    def _future(self, rng: random.Random) -> Met:
        self.world.drop(rng, 2, mtime=rng.choice((90, HOUR, 400 * 24 * HOUR)))
        return at_once

    def _notices(self, rng: random.Random, notices: Notices) -> Met:
        control = self.world.controls["edge"]
        control.disturb(notices, rng.randint(1, 30))
        self.world.drop(rng, 3)
        deadline = time.monotonic() + PATIENCE
        while not control.disturbed and time.monotonic() < deadline:
            time.sleep(0.02)
        return at_once if control.disturbed else missed

    def _doomed(self, rng: random.Random, kind: str) -> Met:
        self.world.drop(rng, 1, kind)
        return at_once

    def _no_model(self, rng: random.Random) -> Met:
        self.world.model.down()
        self.world.drop(rng, 2, "asks")
        self.world.supervisor.later(1 + 3 * rng.random(), self.world.model.up)
        return at_once


WRITES = (Call.WRITE, Call.CREATE, Call.MKDIR)
SYNCS = (Call.SYNC, Call.SYNC_FOLDER)
NAMES = (Call.RENAME, Call.LINK, Call.UNLINK)
