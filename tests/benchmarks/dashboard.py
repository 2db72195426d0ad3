"""How soon the first page can be used, how soon a change is on the screen, and what that costs.

``python -m tests.benchmarks.dashboard --seconds 60 --rate 50 --minutes 10``: a gateway and a dashboard in processes of
their own, so many jobs made and changed a second, looked at with two browsers' pages, then with ten. Needs Chromium.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.watching import Slope, at_rate, quantile, slope
from tests.support.chromium import Visit, chromium
from tests.support.fleet import free_offset
from tests.support.instance import Instance

GATEWAY = "serve job-repository task-launcher file-receiver-gateway file-sender-gateway"
# A row is on the screen with the frame after it has come into the page.
SEEN = """() => { window.seen = {}; const body = document.querySelector('#jobs tbody')
  new MutationObserver(() => requestAnimationFrame(() => {
    for (const row of body.rows) {
      if (row.dataset.id in window.seen) continue
      if (row.querySelector('.state').textContent === 'cancelled') window.seen[row.dataset.id] = Date.now()
    }})).observe(body, {childList: true}) }"""
console = Console(width=110)


@dataclass(frozen=True)
class Pair:
    """A gateway and its dashboard, each a process."""

    gateway: Instance
    dashboard: Instance

    def processes(self) -> tuple[psutil.Process, psutil.Process]:
        return psutil.Process(self.dashboard.pid), psutil.Process(self.gateway.pid)


@contextmanager
def pair() -> Iterator[Pair]:
    """Both up; nothing in them yet."""
    with tempfile.TemporaryDirectory(prefix="cytobus-bench-") as folder:
        offset = free_offset()
        found = Pair(
            Instance(Path(folder) / "gateway", side=GATEWAY, offset=offset),
            Instance(Path(folder) / "dashboard", side="serve dashboard", offset=offset),
        )
        try:
            found.gateway.start()
            found.dashboard.start()
            yield found
        finally:
            found.dashboard.close()
            found.gateway.close()


def first_pages(one: Pair, times: int) -> list[float]:
    """Seconds from the address to a page that answers, each in a browser that was never used before."""
    taken = []
    for _ in range(times):
        with chromium() as browser:
            visit = Visit(browser, one.dashboard.url("dashboard"))
            begun = time.perf_counter()
            visit.go("/").locator("html[data-ready]").wait_for()
            taken.append(time.perf_counter() - begun)
            visit.close()
    return taken


@dataclass(frozen=True)
class Seen:
    """What so many pages saw of what was changed."""

    pages: int
    per_second: float
    shown: float
    """Of all changes on all pages, how many were seen (0 to 1)"""
    delays: list[float]
    """ms"""
    dashboard: float
    gateway: float
    """Cores that the processes took"""
    complaints: list[str]


def changes(one: Pair, browser: Any, pages: int, rate: float, seconds: float) -> Seen:
    """Looks at the first page while jobs are made and changed."""
    visits = [Visit(browser, one.dashboard.url("dashboard")) for _ in range(pages)]
    for visit in visits:
        visit.go("/").locator("html[data-ready]").wait_for()
        visit.page.evaluate(SEEN)
    processes = one.processes()
    before = [sum(process.cpu_times()[:2]) for process in processes]
    begun = time.perf_counter()
    changed = at_rate(one.gateway.url("job-repository"), rate, seconds)
    lasted = time.perf_counter() - begun
    cores = [(sum(process.cpu_times()[:2]) - spent) / lasted for process, spent in zip(processes, before, strict=True)]
    visits[0].page.wait_for_timeout(2000)
    delays: list[float] = []
    for visit in visits:
        seen = visit.page.evaluate("window.seen")
        delays += [seen[job] - at for job, at in changed.items() if job in seen]
    complaints = [words for visit in visits for words in visit.complaints]
    for visit in visits:
        visit.close()
    share = len(delays) / max(1, len(changed) * pages)
    return Seen(pages, len(changed) / lasted, share, sorted(delays), *cores, complaints)


def memory(one: Pair, browser: Any, pages: int, rate: float, minutes: float) -> Slope:
    """MB of the dashboard over the time, while pages look on."""
    visits = [Visit(browser, one.dashboard.url("dashboard")) for _ in range(pages)]
    for visit in visits:
        visit.go("/").locator("html[data-ready]").wait_for()
    process, found = one.processes()[0], list[tuple[float, float]]()
    begun = time.perf_counter()

    def look() -> None:
        found.append(((time.perf_counter() - begun) / 60, process.memory_info().rss / 2**20))

    at_rate(one.gateway.url("job-repository"), rate, minutes * 60, meanwhile=look)
    for visit in visits:
        visit.close()
    return slope(found)


def table(title: str, *rows: tuple[str, str, str]) -> None:
    """One of the tables; goals beside what was measured, and what else the machine did."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    made = Table("figure", "value", "goal", title=f"{title} (load average {load}, {os.cpu_count()} cores)")
    for row in rows:
        made.add_row(*row)
    console.print(made)


def told(seen: Seen) -> None:
    """The table of one measurement of changes."""
    table(
        f"changes on {seen.pages} pages at {seen.per_second:.0f} jobs/s",
        ("until a change is on the screen, median", f"{quantile(seen.delays, 0.5):.0f} ms", ""),
        ("the same, p95", f"{quantile(seen.delays, 0.95):.0f} ms", "< 1000 ms"),
        ("the same, most", f"{quantile(seen.delays, 1.0):.0f} ms", ""),
        ("of all changes seen", f"{seen.shown:.1%} ({len(seen.delays)})", ""),
        ("processor time of the dashboard", f"{seen.dashboard:.2f} cores", ""),
        ("processor time of the gateway", f"{seen.gateway:.2f} cores", ""),
        ("complaints of the browsers", f"{seen.complaints or 'none'}", "none"),
    )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--browsers", type=int, nargs="*", default=[2, 10])
    parser.add_argument("--minutes", type=float, default=10, help="for which memory is watched; 0: not")
    asked = parser.parse_args()
    with pair() as one:
        first_pages(one, 1)
        taken = sorted(first_pages(one, 5))
        table(
            "first page in a browser that is new, five times",
            ("usable after, median", f"{quantile(taken, 0.5):.2f} s", "< 1.5 s"),
            ("most", f"{taken[-1]:.2f} s", "< 1.5 s"),
        )
        with chromium() as browser:
            for pages in asked.browsers:
                told(changes(one, browser, pages, asked.rate, asked.seconds))
            if asked.minutes:
                shown = memory(one, browser, 2, asked.rate, asked.minutes)
                table(
                    f"memory of the dashboard over {asked.minutes:g} min at {asked.rate:g} jobs/s, 2 pages",
                    ("after the first third", f"{shown.begun:.1f} MB", ""),
                    ("at the end", f"{shown.ended:.1f} MB", ""),
                    ("slope since then", f"{shown.per_hour:+.1f} ± {shown.doubt:.1f} MB an hour", "flat"),
                )


if __name__ == "__main__":
    main()
