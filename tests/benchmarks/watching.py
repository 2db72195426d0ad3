"""What makes changes at a rate, and what is made of figures that were watched."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx
import numpy as np

CLIENTS = 8
"""Who make jobs at the same time: one alone waits for its answers."""
EVERY = 5.0
"""Seconds between two looks at something."""


class _Client(threading.Thread):
    """Makes ``rate`` jobs a second; each is cancelled at once, which is its change."""

    def __init__(self, url: str, rate: float, seconds: float) -> None:
        super().__init__(daemon=True)
        self._url, self._rate, self._seconds = url, rate, seconds
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


def at_rate(url: str, rate: float, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Makes and changes jobs; when each was asked to change (ms since the epoch)."""
    clients = [_Client(url, rate / CLIENTS, seconds) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        meanwhile()
        clients[0].join(EVERY)
        if not clients[0].is_alive():
            for client in clients:
                client.join()
    return {job: at for client in clients for job, at in client.changed.items()}


def quantile(values: Sequence[float], part: float) -> float:
    """Of sorted values; NaN of none."""
    return values[min(int(len(values) * part), len(values) - 1)] if values else float("nan")


@dataclass(frozen=True)
class Slope:
    """A line through what was watched, without the first third of the time, in which caches fill."""

    begun: float
    ended: float
    per_hour: float
    doubt: float
    """Two standard errors of the slope, as of values that know nothing of each other; they do, so it is more"""


def slope(found: Sequence[tuple[float, float]]) -> Slope:
    """Of values by time (min)."""
    rest = [(at, value) for at, value in found if at >= found[-1][0] / 3]
    at, values = (np.array(column) for column in zip(*rest, strict=True))
    (rise, start), *_ = np.polyfit(at, values, 1, full=True)
    spread = float(np.sqrt(((values - rise * at - start) ** 2).sum() / max(1, len(at) - 2)))
    error = spread / max(float(np.sqrt(((at - at.mean()) ** 2).sum())), 1e-9)
    return Slope(float(values[0]), float(values[-1]), float(rise) * 60, 2 * error * 60)
