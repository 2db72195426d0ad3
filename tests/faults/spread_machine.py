"""Breaks the spread world at random, by a seed, several things at a time, and sees whether it keeps its word."""

import random
import time
from pathlib import Path

from tests.faults.machine import Report
from tests.faults.spread import Spread
from tests.faults.spread_faults import Faults, Met

ROUND = 16
"""Faults between two settlements of the accounts."""


class SpreadMachine:
    """One world and a seed; the n-th fault of a seed is always the same one."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        bus: str = "redis",
        command: tuple[str, ...] = ("compose",),
        aimed: tuple[str, ...] = ("",),
        round_of: int = ROUND,
    ) -> None:
        """``aimed``: only faults whose names begin so; ``round_of``: so many between two settlements."""
        self._round = round_of
        self.report = Report(seed, world=f"spread, {bus}")
        self.world = Spread(folder, bus, command)
        self._running: list[tuple[str, Met]] = []
        """What was broken in this round, until it is known whether it touched something."""
        faults = Faults(self.world).choices
        self._choices = [choice for choice in faults if choice[0].startswith(aimed)]

    def run(self, faults: int) -> Report:
        """Inject so many faults. Raises ``Lost`` when the promise is broken; the seed tells which faults they were."""
        begun, number = time.monotonic(), 0
        try:
            self.world.start()
            while sum(self.report.faults.values()) < faults:
                for _ in range(min(self._round, max(4, faults - sum(self.report.faults.values())))):
                    number += 1
                    self._one(random.Random(f"{self.report.seed}/{number}"))
                self._count()
                self.world.settle()
        finally:
            self.report.files, self.report.recoveries = self.world.dropped, self.world.supervisor.recoveries
            self.report.audit = self.world.audit
            self.report.ended = self.world.supervisor.ended.total()
            self.report.quarantined = len(self.world.quarantined)
            self.report.seconds = time.monotonic() - begun
            self.world.close()
        self.world.remove()
        return self.report

    def _one(self, rng: random.Random) -> None:
        names, actions, weights = zip(*self._choices, strict=True)
        place = rng.choices(range(len(names)), weights)[0]
        self.world.drop(rng, rng.randint(0, 2))
        self.world.accept(random.Random(rng.random()))
        time.sleep(rng.random() * 0.3)  # the moment is the fault
        self._running.append((names[place], actions[place](rng)))

    def _count(self) -> None:
        for name, met in self._running:
            if met():
                self.report.faults[name] += 1
            else:
                self.report.missed[name] += 1
        self._running.clear()
