"""Breaks the system at random, by a seed, and sees whether it keeps its word."""

import errno
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.control import CHANGES, Action, Call, Fault, Notices, Role
from tests.faults.world import Embedded

PATIENCE = 3.0
"""Seconds that a fault which was armed may wait for its turn."""
HOUR = 3600
ROUND = 10
"""Faults between two settlements of the accounts."""


@dataclass
class Report:
    """What was done, and what came of it."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    world: str = "embedded"
    missed: Counter[str] = field(default_factory=Counter)
    """faults that never met their call, or found nothing to happen to"""
    files: int = 0
    audit: dict[str, int] = field(default_factory=dict)
    """lost, corrupt and so on, by the last look at the accounts"""
    quarantined: int = 0
    """with a reason, as they must be"""
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """seconds until a process that was killed works again, by its name"""
    ended: int = 0
    """processes that ended otherwise than by a kill -9, and were started again"""
    seconds: float = 0.0


class Machine:
    """One world and a random number generator; the same seed makes the same choices."""

    def __init__(self, folder: Path, seed: int, command: tuple[str, ...] = ("compose",)) -> None:
        self.rng = random.Random(seed)
        self.report = Report(seed)
        self.world = Embedded(folder, self.rng, command)
        self._choices: list[tuple[str, Callable[[], bool], int]] = [
            ("kill -9 at a random moment", self._kill, 2),
            ("kill -9 before the n-th call", lambda: self._at_call(Action.KILL_BEFORE, CHANGES), 6),
            ("kill -9 after the n-th call", lambda: self._at_call(Action.KILL_AFTER, CHANGES), 6),
            ("write torn in half, kill -9", lambda: self._at_call(Action.TORN, (Call.WRITE,)), 3),
            ("power cut: un-synced data gone", self._power, 4),
            ("disk full (ENOSPC)", lambda: self._failing(errno.ENOSPC, (Call.WRITE, Call.CREATE, Call.MKDIR)), 3),
            ("disk error (EIO) on write", lambda: self._failing(errno.EIO, (Call.WRITE,)), 2),
            ("disk error (EIO) on sync", lambda: self._failing(errno.EIO, (Call.SYNC, Call.SYNC_FOLDER)), 2),
            ("disk error (EIO) on read", lambda: self._failing(errno.EIO, (Call.READ,)), 2),
            ("too many open files (EMFILE)", lambda: self._failing(errno.EMFILE, (Call.OPEN, Call.CREATE)), 2),
            ("no permission (EACCES)", lambda: self._failing(errno.EACCES, (Call.RENAME, Call.LINK, Call.UNLINK)), 2),
            ("worker killed at a call", lambda: self._worker(Action.KILL_BEFORE, 0), 2),
            ("worker's disk full", lambda: self._worker(Action.FAIL, errno.ENOSPC), 2),
            ("bit flipped in what arrives", self._flip, 2),
            ("frozen for a while (SIGSTOP)", self._freeze, 1),
            ("clock an hour ahead", lambda: self._clock(HOUR), 2),
            ("clock an hour behind", lambda: self._clock(-HOUR), 2),
            ("notifications lost", lambda: self._notices(Notices.DROPPED), 1),
            ("notifications doubled", lambda: self._notices(Notices.DOUBLED), 1),
            ("notifications overflowed", lambda: self._notices(Notices.OVERFLOWN), 1),
        ]

    def run(self, faults: int) -> Report:
        """Inject so many faults. Raises ``Lost`` when the promise is broken; the seed tells how to see it again."""
        begun = time.monotonic()
        self.world.start()
        try:
            while sum(self.report.faults.values()) < faults:
                for _ in range(ROUND):
                    self._one()
                self.world.settle()
        finally:
            self.report.files, self.report.recoveries = self.world.dropped, {"everything": self.world.recoveries}
            self.report.audit = self.world.audit
            self.report.seconds = time.monotonic() - begun
            self.world.close()
        self.world.remove()
        return self.report

    def _one(self) -> None:
        names, actions, weights = zip(*self._choices, strict=True)
        place = self.rng.choices(range(len(names)), weights)[0]
        if actions[place]():
            self.report.faults[names[place]] += 1
        else:
            self.report.missed[names[place]] += 1
        if not self.world.alive():
            self.world.revive()

    def _kill(self) -> bool:
        self.world.drop(self.rng.randint(1, 3))
        time.sleep(self.rng.random())  # the moment is the fault
        self.world.kill()
        return True

    def _power(self) -> bool:
        if self.rng.random() < 0.5:
            self._at_call(Action.KILL_AFTER, CHANGES)
        else:
            self.world.drop(self.rng.randint(1, 3))
            time.sleep(self.rng.random())  # the moment is the fault
        self.world.control.disarm()
        self.world.cut_power()
        return True

    def _freeze(self) -> bool:
        self.world.drop(2)
        self.world.instance.freeze(self.rng.random() * 2)
        return True

    def _clock(self, seconds: int) -> bool:
        """Until the accounts are settled, or it is set again."""
        self.world.control.step_clock(seconds)
        self.world.drop(self.rng.randint(1, 3))
        return True

    def _notices(self, notices: Notices) -> bool:
        control = self.world.control
        control.disturb(notices, self.rng.randint(1, 20))
        self.world.drop(3)
        deadline = time.monotonic() + PATIENCE
        while not control.disturbed and time.monotonic() < deadline:
            time.sleep(0.01)
        return control.disturbed > 0

    def _at_call(self, action: Action, kinds: tuple[Call, ...]) -> bool:
        """One kind half of the time, for there are many more writes than renames."""
        if self.rng.random() < 0.7:
            kinds = (self.rng.choice(kinds),)
        often = Call.WRITE in kinds or Call.READ in kinds
        return self._fault(Fault(action, kinds, turn=self.rng.randint(1, 250 if often else 12)))

    def _failing(self, error: int, kinds: tuple[Call, ...]) -> bool:
        often = Call.WRITE in kinds or Call.READ in kinds
        turn = self.rng.randint(1, 150 if often else 8)
        return self._fault(Fault(Action.FAIL, kinds, turn, error=error, times=self.rng.choice((1, 1, 2, 5, 20))))

    def _worker(self, action: Action, error: int) -> bool:
        kinds = (Call.CREATE, Call.WRITE, Call.SYNC, Call.SYNC_FOLDER, Call.LINK, Call.MKDIR)
        return self._fault(Fault(action, kinds, self.rng.randint(1, 6), (Role.WORKER,), error))

    def _flip(self) -> bool:
        return self._fault(Fault(Action.FLIP, (Call.WRITE,), self.rng.randint(1, 3), only="/gateway/input/"))

    def _fault(self, fault: Fault) -> bool:
        """Arm it, give it something to happen to, and wait until it has happened or all is done."""
        control = self.world.control
        control.arm(fault)
        self.world.drop(self.rng.randint(1, 3))
        deadline = time.monotonic() + PATIENCE
        while self.world.alive() and time.monotonic() < deadline:
            if control.fired >= fault.times or (self.world.finished() and not control.fired):
                break
            time.sleep(0.01)
        happened = control.fired > 0
        control.disarm()
        return happened
