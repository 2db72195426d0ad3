"""``python -m tests.faults``: so many faults by a seed, and tables of what was broken and what came of it."""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults import planted, planted_spread
from tests.faults.machine import Machine, Report
from tests.faults.spread_machine import SpreadMachine
from tests.faults.world import Lost

MODULES = (planted, planted_spread)
PLANTED = {name: module.__name__ for module in MODULES for name in module.PLANTED}
"""Mistake -> the module that runs cytobus with it."""


def main() -> int:
    """0 when the promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--world", choices=["embedded", "spread"], default="embedded")
    parser.add_argument(
        "--bus", action="append", choices=["redis", "mqtt"], help="of the spread world; may be repeated"
    )
    parser.add_argument("--faults", type=int, default=250, help="how many, in each of the machines")
    parser.add_argument("--machines", type=int, default=2, help="at once")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--planted", choices=["all", *PLANTED], help="run with a mistake, which must be found")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cytobus-faults-"))
    console = Console(width=110)
    console.print(f"seed {chosen.seed}")

    if chosen.planted:
        names = list(PLANTED) if chosen.planted == "all" else [chosen.planted]
        return 0 if found(console, folder, names, chosen) else 1

    try:
        with ThreadPoolExecutor(chosen.machines) as threads:
            reports = list(threads.map(lambda make: make().run(chosen.faults), machines(folder, chosen)))
    except Lost as error:
        console.print(f"[red]broken[/red], see {folder}:")
        console.print(str(error), markup=False)
        return 1
    show(console, reports)
    return 0


def machines(folder: Path, chosen: argparse.Namespace) -> list[Callable[[], Machine | SpreadMachine]]:
    """How each of them is made."""
    if chosen.world == "spread":
        buses = chosen.bus or ["redis", "mqtt"]
        return [partial(SpreadMachine, folder / bus, chosen.seed, bus) for bus in buses]
    numbers = range(chosen.machines)
    return [partial(Machine, folder / str(number), chosen.seed + number) for number in numbers]


def found(console: Console, folder: Path, names: list[str], chosen: argparse.Namespace) -> bool:
    """Whether each planted mistake is found."""

    def work(name: str) -> tuple[str, int, str]:
        command = (PLANTED[name], name)
        machine: Machine | SpreadMachine
        if name in planted_spread.PLANTED:
            machine = SpreadMachine(
                folder / name, chosen.seed, command=command, aimed=planted_spread.AIMED[name], round_of=6
            )
            for instance in machine.world.instances.values():
                instance.environment |= planted_spread.SETTINGS.get(name, {})
            machine.world.patience = 45
        else:
            machine = Machine(folder / name, chosen.seed, command)
        try:
            machine.run(chosen.faults)
        except Lost as error:
            return name, sum(machine.report.faults.values()), str(error).splitlines()[0][:70]
        except AssertionError as error:  # the mistake does not let it start: that finds nothing
            console.print(f"{name}: {error}", markup=False)
        return name, sum(machine.report.faults.values()), ""

    with ThreadPoolExecutor(chosen.machines) as threads:
        seen = list(threads.map(work, names))
    table = Table("planted mistake", "found", "after faults", "by", title=f"seed {chosen.seed}")
    for name, faults, how in seen:
        table.add_row(name, "yes" if how else "[red]no[/red]", str(faults), how)
    console.print(table)
    return all(how for _, _, how in seen)


def show(console: Console, reports: list[Report]) -> None:
    """What was broken, what came of it, and how long it took to get back to work."""
    heads = [f"{report.world}\nseed {report.seed}" for report in reports]
    table = Table("fault, times injected", *heads)
    for name in sorted({name for report in reports for name in report.faults}):
        table.add_row(name, *(str(report.faults[name] or "") for report in reports))
    table.add_section()
    table.add_row("all", *(str(sum(report.faults.values())) for report in reports))
    table.add_row("kinds", *(str(len(report.faults)) for report in reports))
    table.add_row("missed their call (not counted)", *(str(sum(report.missed.values())) for report in reports))
    table.add_section()
    table.add_row("files in", *(str(report.files) for report in reports))
    table.add_row("returned", *(str(report.files - report.quarantined) for report in reports))
    table.add_row("in quarantine, with a reason", *(str(report.quarantined) for report in reports))
    for what in dict.fromkeys(what for report in reports for what in report.audit):
        table.add_row(what, *(str(report.audit.get(what, "")) for report in reports))
    table.add_row("processes that ended by themselves", *(str(report.ended) for report in reports))
    table.add_row("seconds", *(f"{report.seconds:.0f}" for report in reports))
    console.print(table)
    console.print(recovered(reports))


def recovered(reports: list[Report]) -> Table:
    """By process: how often it was killed or died, and when it was ready again."""
    table = Table("process", "restarts", "ready again after (p50)", "(p99)")
    times: dict[str, list[float]] = {}
    for report in reports:
        for name, seconds in report.recoveries.items():
            times.setdefault(f"{report.world.split(',')[0]}: {name}", []).extend(seconds)
    for name, seconds in sorted(times.items()):
        ordered = sorted(seconds)
        if ordered:
            p50, p99 = (ordered[int((len(ordered) - 1) * part)] for part in (0.5, 0.99))
            table.add_row(name, str(len(ordered)), f"{p50:.1f} s", f"{p99:.1f} s")
    return table


if __name__ == "__main__":
    sys.exit(main())
