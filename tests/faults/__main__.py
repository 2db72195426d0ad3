"""``python -m tests.faults``: so many faults by a seed, and a table of what was broken and what came of it."""

import argparse
import random
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.machine import Machine, Report
from tests.faults.planted import PLANTED
from tests.faults.world import Lost


def main() -> int:
    """0 when the promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=250, help="how many, in each of the machines")
    parser.add_argument("--machines", type=int, default=2, help="at once")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--planted", choices=["all", *PLANTED], help="run with a mistake, which must be found")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cytobus-faults-"))
    console = Console(width=100)
    console.print(f"seed {chosen.seed}")

    if chosen.planted:
        names = list(PLANTED) if chosen.planted == "all" else [chosen.planted]
        return 0 if found(console, folder, names, chosen) else 1

    def work(number: int) -> Report:
        return Machine(folder / str(number), chosen.seed + number).run(chosen.faults)

    try:
        with ThreadPoolExecutor(chosen.machines) as threads:
            reports = list(threads.map(work, range(chosen.machines)))
    except Lost as error:
        console.print(f"[red]broken[/red], see {folder}: {error}")
        return 1
    show(console, reports)
    return 0


def found(console: Console, folder: Path, names: list[str], chosen: argparse.Namespace) -> bool:
    """Whether each planted mistake is found."""

    def work(name: str) -> tuple[str, int, str]:
        machine = Machine(folder / name, chosen.seed, command=("tests.faults.planted", name))
        try:
            machine.run(chosen.faults)
        except Lost as error:
            return name, sum(machine.report.faults.values()), str(error).splitlines()[0][:70]
        return name, sum(machine.report.faults.values()), ""

    with ThreadPoolExecutor(chosen.machines) as threads:
        seen = list(threads.map(work, names))
    table = Table("planted mistake", "found", "after faults", "by", title=f"seed {chosen.seed}")
    for name, faults, how in seen:
        table.add_row(name, "yes" if how else "[red]no[/red]", str(faults), how)
    console.print(table)
    return all(how for _, _, how in seen)


def show(console: Console, reports: list[Report]) -> None:
    """The table."""
    table = Table("fault", "injected", title=f"seeds {', '.join(str(report.seed) for report in reports)}")
    kinds = sorted({name for report in reports for name in report.faults})
    for name in kinds:
        table.add_row(name, str(sum(report.faults[name] for report in reports)))
    table.add_section()
    table.add_row("all", str(sum(sum(report.faults.values()) for report in reports)))
    console.print(table)
    recoveries = sorted(second for report in reports for second in report.recoveries)
    console.print(
        f"{len(kinds)} kinds; files in {sum(report.files for report in reports)}, lost 0, corrupt 0, duplicated 0;"
        f" {sum(report.idle for report in reports)} faults never met their call; {len(recoveries)} restarts, back after"
        f" {statistics.median(recoveries):.1f} s (p50), {recoveries[int(len(recoveries) * 0.99)]:.1f} s (p99);"
        f" {max(report.seconds for report in reports):.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
