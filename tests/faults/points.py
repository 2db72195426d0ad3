"""``python -m tests.faults.points``: every point of a file's way at which a crash can come, one after the other.

The calls that change something on the disk are counted, and the process is killed before (and after) the first,
the second, the third …, until a whole way goes by without meeting the n-th. (The idea is SQLite's: its tests let the
n-th call fail in the same manner.)
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.control import CHANGES, Action, Fault, Role
from tests.faults.way import Way, plain
from tests.faults.world import Lost

ENDLESS = 5000
"""No way has so many calls."""


@dataclass(frozen=True)
class Stretch:
    """Calls that are counted together: of one kind of process, on paths that contain ``only``."""

    name: str
    only: str = ""
    role: Role = Role.MAIN
    starting: bool = False
    step: int = 1
    """Every so many calls, unless it is said: what is alike at each of hundreds of calls is tried at some of them."""


STRETCHES = {
    stretch.name: stretch
    for stretch in (
        Stretch("gateway-files", "/gateway/"),
        Stretch("edge-files", "/edge/"),
        Stretch("worker", "", Role.WORKER),
        Stretch("edge-journal", "/edge.db", step=4),
        Stretch("gateway-database", "/gateway.db", step=25),
        Stretch("start", starting=True, step=9),
    )
}
ACTIONS = {"before": Action.KILL_BEFORE, "after": Action.KILL_AFTER}


@dataclass
class Survived:
    """Crash points by name, and what they took."""

    points: Counter[tuple[str, str]] = field(default_factory=Counter)
    """stretch, and call with place -> how many"""
    seconds: float = 0.0
    ways: int = 0

    @property
    def many(self) -> int:
        return sum(self.points.values())

    def add(self, other: "Survived") -> None:
        self.points += other.points
        self.ways += other.ways


class Enumeration:
    """One stretch from its first call on, every ``step``-th (0: as the stretch says), at most ``most`` of them."""

    def __init__(
        self,
        folder: Path,
        stretch: Stretch,
        action: Action,
        *,
        seed: int = 1,
        step: int = 0,
        most: int = ENDLESS,
        powerless: bool = False,
        patience: float = 120.0,
    ) -> None:
        self._folder, self._stretch, self._action = folder, stretch, action
        step = step or stretch.step
        self._turns: Iterator[int] = iter(range(1 + random.Random(seed).randrange(step), ENDLESS, step))
        self._most = most
        self._way = Way(folder, seed=seed, powerless=powerless, patience=patience)

    def run(self) -> Survived:
        """Raises ``Lost``, with the point's name."""
        survived, begun = Survived(), time.monotonic()
        try:
            self._way.start()
            while survived.many < self._most and self._next(survived):
                pass
        finally:
            self._way.close()
        shutil.rmtree(self._folder)
        survived.seconds, survived.ways = time.monotonic() - begun, self._way.files
        return survived

    def _next(self, survived: Survived) -> bool:
        """Whether there was an n-th call."""
        turn = next(self._turns)
        try:
            met = self._way.one(
                Fault(self._action, CHANGES, turn, (self._stretch.role,), only=self._stretch.only),
                starting=self._stretch.starting,
            )
        except (Lost, AssertionError) as error:
            raise Lost(f"{self._stretch.name}, {self._action.name} call {turn}, {self._point()}: {error}") from error
        if met:
            survived.points[self._stretch.name, self._point()] += 1
        return met

    def _point(self) -> str:
        control, data = self._way.control, self._way.data
        if not control.fired:
            return "not met"
        place = plain(control.where.removeprefix(f"{data}/"), f"way-{self._way.files:05}")
        return f"{control.kind.name.lower().replace('_', ' ')} {place}"


def main() -> int:
    """0 when every point was survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.points", description=__doc__)
    parser.add_argument("--machines", type=int, default=2, help="at once")
    parser.add_argument("--stretches", nargs="+", choices=list(STRETCHES), default=list(STRETCHES))
    parser.add_argument("--when", nargs="+", choices=list(ACTIONS), default=list(ACTIONS))
    parser.add_argument("--step", type=int, default=0, help="every so many calls only; 1: at each call")
    parser.add_argument("--most", type=int, default=ENDLESS, help="points of a stretch")
    parser.add_argument("--power", action="store_true", help="what was not synced is gone, too")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args()
    folder, console = Path(tempfile.mkdtemp(prefix="cytobus-points-")), Console(width=110)
    console.print(f"seed {chosen.seed}")
    begun, all_of_them = time.monotonic(), Survived()

    def work(what: tuple[str, str]) -> tuple[tuple[str, str], Survived]:
        return what, Enumeration(
            folder / "-".join(what),
            STRETCHES[what[0]],
            ACTIONS[what[1]],
            seed=chosen.seed,
            step=chosen.step,
            most=chosen.most,
            powerless=chosen.power,
        ).run()

    try:
        with ThreadPoolExecutor(chosen.machines) as threads:
            for what, survived in threads.map(
                work, [(name, when) for name in chosen.stretches for when in chosen.when]
            ):
                console.print(f"{' '.join(what)}: {survived.many} points survived, {survived.seconds:.0f} s")
                all_of_them.add(survived)
    except Lost as error:
        console.print(f"[red]broken[/red], see {folder}: {error}", soft_wrap=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    show(console, all_of_them, time.monotonic() - begun, power=chosen.power)
    return 0


def show(console: Console, survived: Survived, seconds: float, *, power: bool) -> None:
    """The table of points."""
    table = Table("counted", "call and place", "crash points")
    for (stretch, point), many in sorted(survived.points.items()):
        table.add_row(stretch, point, str(many))
    console.print(table)
    console.print(
        f"{survived.many} crash points{' with the power cut' if power else ''}, {survived.many} survived;"
        f" {survived.ways} files, lost 0, corrupt 0, twice 0, nothing left behind; {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
