"""How soon a change is on the screen, how long the first page takes, and what memory that needs.

``python -m tests.benchmarks.dashboard --seconds 60 --rate 50 --browsers 2``: makes and changes so many jobs a second in
a gateway of its own, and looks at it with so many browsers' pages. Needs Chromium.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from tests.support.chromium import Visit, chromium
from tests.support.instance import Instance

SEEN = """() => { window.seen = {}; new MutationObserver(() => {
  for (const row of document.querySelectorAll('#jobs tbody tr')) {
    const key = row.dataset.id + (row.innerText.includes('cancelled') ? ' cancelled' : '')
    if (!(key in window.seen)) window.seen[key] = Date.now()
  }}).observe(document.querySelector('#jobs tbody'), {childList: true, subtree: true}) }"""


CLIENTS = 8
"""Who make jobs at the same time: one alone waits for its answers."""


class Load(threading.Thread):
    """Makes ``rate`` jobs a second; each is cancelled at once, which is its change."""

    def __init__(self, instance: Instance, rate: float, seconds: float) -> None:
        super().__init__(daemon=True)
        self._url, self._rate, self._seconds = instance.url("job-repository"), rate, seconds
        self.changed: dict[str, float] = {}

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            begun, number = time.monotonic(), 0
            while time.monotonic() - begun < self._seconds:
                file = {"Hostname": "oem", "DirName": "/in/", "Name": f"{self.name}-{number}.tif", "Extension": ".tif"}
                job = client.post("/api/v1/job", json={"InputFile": file}).text
                self.changed[job] = time.time() * 1000
                client.post(f"/api/v1/job/{job}/cancel", json={})
                number += 1
                time.sleep(max(0.0, begun + number / self._rate - time.monotonic()))  # the load's rate


def resident(pid: int) -> float:
    """MB of a process."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--browsers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        gateway = Instance(Path(folder) / "gateway", side="gateway --no-with-pipelines")
        gateway.start()
        try:
            measure(gateway, browser, asked)
        finally:
            gateway.close()


def measure(gateway: Instance, browser: object, asked: argparse.Namespace) -> None:
    """One gateway with its dashboard, looked at while it works."""
    visits, loads = [Visit(browser, gateway.url("dashboard")) for _ in range(asked.browsers)], []
    for visit in visits:
        begun = time.monotonic()
        visit.go("/").locator("html[data-ready]").wait_for()
        loads.append(time.monotonic() - begun)
        visit.page.evaluate(SEEN)
    before = resident(gateway.pid)
    clients = [Load(gateway, asked.rate / CLIENTS, asked.seconds) for _ in range(CLIENTS)]
    begun = time.monotonic()
    for client in clients:
        client.start()
    memory = []
    for sixth in range(1, 7):
        time.sleep(max(0.0, begun + sixth * asked.seconds / 6 - time.monotonic()))  # the measurement's length
        memory.append(resident(gateway.pid))
    for client in clients:
        client.join()
    changed = {job: at for client in clients for job, at in client.changed.items()}
    visits[0].page.wait_for_timeout(2000)
    delays: list[float] = []
    for visit in visits:
        seen = visit.page.evaluate("window.seen")
        delays += [seen[f"{job} cancelled"] - at for job, at in changed.items() if f"{job} cancelled" in seen]
    told(asked, loads, sorted(delays), len(changed), [before, *memory])
    print(f"complaints: {[words for one in visits for words in one.complaints]}")  # noqa: T201


def told(asked: argparse.Namespace, loads: list[float], delays: list[float], jobs: int, memory: list[float]) -> None:
    """Says what was measured."""
    print(f"first page usable: {', '.join(f'{one:.2f}' for one in loads)} s")  # noqa: T201
    middle, nearly = statistics.median(delays), delays[int(len(delays) * 0.95)]
    rate, pages = jobs / asked.seconds, asked.browsers
    print(f"{rate:.0f} jobs/s; {len(delays)} changes seen on {pages} pages")  # noqa: T201
    print(f"until seen: median {middle:.0f} ms, p95 {nearly:.0f} ms, most {delays[-1]:.0f} ms")  # noqa: T201
    print(f"memory of gateway and dashboard: {' '.join(f'{one:.0f}' for one in memory)} MB")  # noqa: T201


if __name__ == "__main__":
    main()
