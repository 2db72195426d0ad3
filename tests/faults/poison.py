"""What files that break their pipeline cost the others.

A poison file legitimately takes the slots of workers in which its runs are made: so long as they last (a hanging one:
until its time limit), as often as it is tried, and until a process that it has ended is replaced. What is lost beyond
that is the fault of the system:

    expected = seconds of the good files alone + slot seconds of the poison / number of workers
    loss     = 1 - expected / seconds of the good files among the poison
"""

import random
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.poisons import HANGING, Poisoned, offered
from tests.faults.world import wait_for
from tests.support.instance import Instance

WORKERS = 2
LIMIT = 2
"""Seconds after which a hanging file is stopped."""


@dataclass
class Poison:
    """Rounds: seconds that the good files took alone and among poison, and slot seconds of the poison meanwhile."""

    good: int
    bad: int
    alone: list[float] = field(default_factory=list)
    among: list[float] = field(default_factory=list)
    slots: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Throughput of the good files among poison over that without, whatever the poison takes."""
        return statistics.median(a / b for a, b in zip(self.alone, self.among, strict=True))

    @property
    def loss(self) -> float:
        """The part of the throughput that is lost beyond what the poison takes."""
        rounds = zip(self.alone, self.among, self.slots, strict=True)
        return statistics.median(1 - (alone + slots / WORKERS) / among for alone, among, slots in rounds)


def measured(folder: Path, *, good: int, bad: int, rounds: int, seed: int = 1, patience: float = 300.0) -> Poison:
    """``rounds`` times ``good`` files alone and then among ``bad`` files of each kind.

    Raises ``Lost`` unless every good file completes and every poison file ends in quarantine.
    """
    found, rng = Poison(good, bad), random.Random(seed)
    instance = Instance(
        folder / "data",
        CYTOBUS_PIPELINES__TOPICS=f'["{Poisoned.topic}"]',
        CYTOBUS_PIPELINES__WORKERS=str(WORKERS),
        CYTOBUS_PIPELINES__TIMEOUT_SECONDS=str(LIMIT),
        **offered(folder / "package"),
    )
    instance.start()
    try:
        instance.add_task(Poisoned.topic)
        batch = _Batches(instance, rng, patience)
        batch.run("warm-up", WORKERS * 2, 0)
        for number in range(rounds):
            found.alone.append(batch.run(f"alone{number}", good, 0)[0])
            seconds, slots = batch.run(f"among{number}", good, bad)
            found.among.append(seconds)
            found.slots.append(slots)
    finally:
        instance.close()
    return found


class _Batches:
    """Batches of files, one after the other."""

    def __init__(self, instance: Instance, rng: random.Random, patience: float) -> None:
        self._instance, self._rng, self._patience = instance, rng, patience
        self._completed = self._poisoned = 0

    def run(self, name: str, good: int, bad: int) -> tuple[float, float]:
        """Seconds until the last good file was complete, and slot seconds of the poison until then."""
        names = [f"good-{name}-{number}.dat" for number in range(good)]
        poison = [f"{kind}-{name}-{number}.dat" for number in range(bad) for kind in ("raise", "crash", "hang")]
        # Poison comes early: it takes its slots while the good files want them.
        mixed = self._rng.sample(names[: good // 2] + poison, good // 2 + len(poison)) + names[good // 2 :]
        before, begun = slot_seconds(self._instance), time.monotonic()
        for one in mixed:
            self._instance.drop(one, one.encode())
        self._completed += good
        self._poisoned += len(poison)
        self._wait("complete", self._completed)
        seconds, slots = time.monotonic() - begun, slot_seconds(self._instance) - before
        self._wait("quarantined", self._poisoned)
        return seconds, slots

    def _wait(self, state: str, many: int) -> None:
        wait_for(
            lambda: self._counts().get(state, 0) >= many,
            self._patience,
            lambda: f"{many} were to be {state}, but {self._counts()}",
        )

    def _counts(self) -> dict[str, int]:
        try:
            return self._instance.counts()
        except httpx.HTTPError:
            return {}


def slot_seconds(instance: Instance) -> float:
    """What poison has taken of the workers' time up to now: its hanging runs, each to its limit at most, and the
    replacement of processes. What raises or ends its process does so at once."""
    now = time.monotonic()
    begun = [float(line) for line in Path(instance.environment[HANGING]).read_text().splitlines()]
    text = instance.ask("GET", "pipeline-sim", "/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    replaced = sum(sample.value for sample in samples if sample.name == "cytobus_worker_replacement_seconds_sum")
    return sum(min(now - start, LIMIT) for start in begun) + replaced
