"""``python -m tests.faults.figures``: what is promised by a number, measured; exit 1 where a goal is missed."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from contracts.transfer import CHUNK
from tests.faults import flips, overload, poison, recovery, resume, slow_writers
from tests.faults.world import Lost

MEBIBYTE = 2**20
RECOVERS = 10.0
"""Seconds in which 99 of 100 recoveries are over."""
COSTS = 0.05
"""The part of the good files' throughput that poison may cost beyond what it takes itself."""


@dataclass(frozen=True)
class Figure:
    """A figure, and whether it reaches its goal."""

    words: str
    kept: bool


def of_slow_writers(folder: Path, many: int, seed: int) -> Figure:
    """Four fifths of the writers where the system tells of writers, one fifth where it is polled."""
    polled = many // 5
    taken = slow_writers.measured(folder / "events", many - polled, seed=seed)
    taken += slow_writers.measured(folder / "poll", polled, poll=True, seed=seed)
    kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(taken.writers.items()))
    return Figure(
        f"{many} slow writers ({kinds}; {polled} of them polled): {len(taken.half)} half-written files taken;"
        f" every final content processed, {taken.jobs} jobs; {taken.overslept} pauses of the test came too long"
        f"{''.join(f'; {line}' for line in taken.half[:5])}",
        not taken.half,
    )


def of_flips(folder: Path, many: int, seed: int) -> Figure:
    """In transit so many, on the disks a twentieth of that and ten."""
    line = flips.in_transit(folder / "line", many, seed=seed)
    disk = flips.on_disk(folder / "disk", many // 20, seed=seed)
    results = flips.of_results(folder / "results", 10, seed=seed)
    return Figure(
        f"{line.done} bits turned in transit, {line.noticed} noticed, {line.accepted} wrong bodies accepted;"
        f" {disk} on the disks: all files whole; {results} in results that waited: made again, none delivered",
        line.done >= many and line.noticed == line.done and not line.accepted,
    )


def of_resume(folder: Path, many: int, seed: int) -> Figure:
    """So many files, each cut once each way."""
    cuts = resume.measured(folder, many, seed=seed)
    excess = cuts.excess()
    worst = {way: max(found) for way, found in excess.items()}
    return Figure(
        f"{cuts.cut} cuts in files of {resume.SIZE / MEBIBYTE:.0f} MiB at random places: sent twice at most"
        f" {worst['up'] / MEBIBYTE:.2f} MiB up, {worst['down'] / MEBIBYTE:.2f} MiB down, for a cut (one chunk:"
        f" {CHUNK / MEBIBYTE:.0f} MiB)",
        cuts.cut == 2 * many and max(worst.values()) <= CHUNK and min(map(min, excess.values())) >= 0,
    )


def of_recovery(folder: Path, many: int, seed: int) -> Figure:
    """So many kills of one process and its workers, and as many of services that are processes of their own."""
    one = recovery.of_one_process(folder / "one", many, seed=seed)
    services = recovery.of_services(folder / "services", max(1, many // 6), seed=seed)
    back = sorted(one.back + services.back)
    ready = sorted(one.ready + services.ready)
    p99 = back[int(len(back) * 0.99)]
    return Figure(
        f"{len(back)} times kill -9: ready after {ready[len(ready) // 2]:.1f} s (p50),"
        f" {ready[int(len(ready) * 0.99)]:.1f} s (p99); files back after {back[len(back) // 2]:.1f} s (p50),"
        f" {p99:.1f} s (p99)",
        p99 < RECOVERS,
    )


def of_poison(folder: Path, many: int, seed: int) -> Figure:
    """``many`` good files in each batch, a fiftieth of that of each kind of poison."""
    found = poison.measured(folder, good=many, bad=max(1, many // 50), rounds=3, seed=seed)
    return Figure(
        f"{found.good} good files among {3 * found.bad} that raise, crash or hang: {100 * found.loss:.1f} % of their"
        f" throughput lost beyond the slots that the poison takes; with those it is {found.ratio:.2f} of that without",
        found.loss < COSTS,
    )


def of_overload(folder: Path, seconds: int, seed: int, topic: str = "only-file") -> Figure:
    """So many seconds; of ``topic`` depends what is scarce."""
    found = overload.measured(folder, seconds=seconds, topic=topic, seed=seed)
    ages = found.ages
    return Figure(
        f"{found.rate:.0f} files/s sustained; {found.offered:.0f} files/s offered for {seconds} s ({found.files}):"
        f" memory at most {found.highest / MEBIBYTE:.0f} MiB (bound {overload.BOUND / MEBIBYTE:.0f}), growing by"
        f" {found.slope * 60 / MEBIBYTE:.1f} MiB a minute; age of the oldest job seen {len(ages)} times, at most"
        f" {max(ages, default=0):.0f} s; {found.unanswered} times no answer; lost 0; caught up"
        f" {found.catching_up:.0f} s later",
        found.highest < overload.BOUND and bool(ages) and max(ages) > 0,
    )


@dataclass(frozen=True)
class Suite:
    """How a figure is measured, and how many by default."""

    measure: Callable[[Path, int, int], Figure]
    many: int


SUITES = {
    "slow-writers": Suite(of_slow_writers, 1000),
    "flips": Suite(of_flips, 1000),
    "resume": Suite(of_resume, 40),
    "recovery": Suite(of_recovery, 36),
    "poison": Suite(of_poison, 200),
    "overload": Suite(of_overload, 30),
    "overload-paced": Suite(partial(of_overload, topic="paced"), 300),
}


def main() -> int:
    """0 when all goals are reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.figures", description=__doc__)
    parser.add_argument("suites", nargs="*", default=["all"], choices=["all", *SUITES])
    parser.add_argument("--many", type=int, help="files, flips, cuts or kills, instead of the suite's own number")
    parser.add_argument("--seconds", type=int, help="of overload")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args()
    folder, console = Path(tempfile.mkdtemp(prefix="cytobus-figures-")), Console(width=110, highlight=False)
    console.print(f"seed {chosen.seed}")
    missed = False
    for name in SUITES if "all" in chosen.suites else chosen.suites:
        many = (chosen.seconds if name.startswith("overload") else chosen.many) or SUITES[name].many
        begun = time.monotonic()
        try:
            figure = SUITES[name].measure(folder / name, many, chosen.seed)
        except (Lost, AssertionError) as error:
            figure = Figure(f"broken, see {folder}: {error}", kept=False)
        else:
            shutil.rmtree(folder / name, ignore_errors=True)
        word = "kept" if figure.kept else "MISSED"
        console.print(
            f"{name}: {word}. {figure.words} ({time.monotonic() - begun:.0f} s)", soft_wrap=True, markup=False
        )
        missed = missed or not figure.kept
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
