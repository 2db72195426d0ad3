"""How fast variants are, measured in one run: turn by turn, so that what else the machine does befalls all of them."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pipelines.build.variants import Batch, Run, Variant


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long."""

    side: int = 256
    """Height and width of the picture, pixels."""
    threads: int = 2
    streams: int = 2
    """Requests at once, when throughput is measured."""
    rounds: int = 9
    requests: int = 12
    """In each round: one after the other for the latency, and so many for each stream for the throughput."""


@dataclass(frozen=True)
class Speed:
    """Figures of a variant; ratios are those of the median round, each to the base in the same round."""

    latency_p50_ms: float
    latency_p99_ms: float
    """Of one picture at a time, with all threads."""
    images_per_second: float
    ratio: float
    """Of the throughput to that of the base."""
    latency_ratio: float
    """Of the base's latency to this one."""


def measured(variants: Sequence[Variant], plan: Plan, base: str) -> dict[str, Speed]:
    """Latency and throughput of each, by name, beside the ``base``."""
    batch = np.random.default_rng(1).random((1, 1, plan.side, plan.side), np.float32)
    places = {one.name: _Place(one, plan, batch) for one in variants}
    latencies: dict[str, list[list[float]]] = {name: [] for name in places}
    rates: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(plan.rounds):
        for name, place in places.items():
            latencies[name].append(place.latencies())
        for name, place in places.items():
            rates[name].append(place.rate())
    every = {name: [one for some in rounds for one in some] for name, rounds in latencies.items()}
    return {
        name: Speed(
            latency_p50_ms=1e3 * statistics.median(every[name]),
            latency_p99_ms=1e3 * float(np.quantile(every[name], 0.99)),
            images_per_second=statistics.median(rates[name]),
            ratio=statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True)),
            latency_ratio=statistics.median(
                statistics.median(b) / statistics.median(a)
                for a, b in zip(latencies[name], latencies[base], strict=True)
            ),
        )
        for name in places
    }


class _Place:
    """A variant, opened for both ways of measuring and warmed up."""

    def __init__(self, variant: Variant, plan: Plan, batch: Batch) -> None:
        self._batch, self._requests = batch, plan.requests
        (self._alone,) = variant.opened(plan.threads, 1)
        self._streams = list(variant.opened(plan.threads, plan.streams))
        for run in (self._alone, *self._streams):
            for _ in range(2):
                run(batch)

    def latencies(self) -> list[float]:
        """Seconds of requests one after the other; the first, which finds cold caches, is not counted."""
        return [_seconds(self._alone, self._batch) for _ in range(self._requests + 1)][1:]

    def rate(self) -> float:
        """Pictures a second with all streams at work."""
        with ThreadPoolExecutor(len(self._streams)) as pool:
            begun = time.perf_counter()
            for done in [pool.submit(self._many, run) for run in self._streams]:
                done.result()
            return len(self._streams) * self._requests / (time.perf_counter() - begun)

    def _many(self, run: Run) -> None:
        for _ in range(self._requests):
            run(self._batch)


def _seconds(run: Run, batch: Batch) -> float:
    begun = time.perf_counter()
    run(batch)
    return time.perf_counter() - begun
