"""More files than the system can take, for a while: does its memory grow, is the backlog visible, is anything lost?"""

import random
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.poisons import offered
from tests.faults.world import Lost, result_of, wait_for
from tests.support.instance import Instance

TIMES = 10
"""So many times what the system can keep up with is offered."""
BOUND = 400 * 2**20
"""Resident bytes of the main process at most, whatever waits."""
WORKERS = 2
EVERY = 1.0
"""Seconds between two looks."""


@dataclass
class Overload:
    """``rate``: files a second that the system can take; ``offered``: that came."""

    rate: float = 0.0
    offered: float = 0.0
    files: int = 0
    at: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """resident bytes of the main process"""
    ages: list[float] = field(default_factory=list)
    """of the oldest unfinished job, as ``/metrics`` tells (s)"""
    unanswered: int = 0
    catching_up: float = 0.0
    """seconds from the end of the overload to the last result"""

    @property
    def slope(self) -> float:
        """Growth of memory over the second half of the time (bytes a second)."""
        half = len(self.at) // 2
        if len(self.at) - half < 2:
            return 0.0
        return statistics.linear_regression(self.at[half:], self.memory[half:]).slope

    @property
    def highest(self) -> int:
        """The most memory there was (bytes)."""
        return max(self.memory)


def measured(
    folder: Path,
    *,
    seconds: float,
    topic: str = "only-file",
    probe: int = 200,
    times: float = TIMES,
    seed: int = 1,
    patience: float = 7200.0,
) -> Overload:
    """The rate by ``probe`` files at once, then ``times`` as many a second. Raises ``Lost``.

    Of ``topic`` depends what is scarce: the processor with ``only-file``, the workers with ``paced``."""
    found, rng = Overload(), random.Random(seed)
    environment = {"CYTOBUS_PIPELINES__TOPICS": f'["{topic}"]', "CYTOBUS_PIPELINES__WORKERS": str(WORKERS)}
    instance = Instance(folder / "data", **environment, **offered(folder / "package"))
    instance.start()
    try:
        instance.add_task(topic)
        _offer(instance, "warm-up", 20, rng)
        wait_for(lambda: _done(instance) >= 20, 120, lambda: "the warm-up did not end")
        begun = time.monotonic()
        _offer(instance, "probe", probe, rng)
        wait_for(lambda: _done(instance) >= 20 + probe, 600, lambda: "the probe did not end")
        found.rate = probe / (time.monotonic() - begun)
        total = 20 + probe + _overload(found, instance, seconds, found.rate * times, rng, patience)
        _account(instance, total)
    finally:
        instance.close()
    return found


def _offer(instance: Instance, name: str, many: int, rng: random.Random) -> None:
    for number in range(many):
        one = f"{name}-{number:06}.dat"
        instance.drop(one, f"{one} ".encode() + rng.randbytes(2000))


def _overload(
    found: Overload, instance: Instance, seconds: float, rate: float, rng: random.Random, patience: float
) -> int:
    """Offer so many files a second and let it catch up, and look at the system meanwhile; how many files it were."""
    stop, before = threading.Event(), _done(instance)
    watching = threading.Thread(target=_watch, args=(found, instance, stop))
    watching.start()
    try:
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            for number in range(found.files, int(passed * rate) + 1):
                one = f"flood-{number:06}.dat"
                instance.drop(one, f"{one} ".encode() + rng.randbytes(2000))
                found.files = number + 1
            stop.wait(0.01)
        ended = time.monotonic()
        found.offered = found.files / (ended - begun)
        total = before + found.files
        wait_for(lambda: _done(instance) >= total, patience, lambda: f"{instance.counts()} of {total}")
        found.catching_up = time.monotonic() - ended
    finally:
        stop.set()
        watching.join()
    return found.files


def _watch(found: Overload, instance: Instance, stop: threading.Event) -> None:
    begun = time.monotonic()
    while not stop.wait(EVERY):
        _look(found, instance, begun)


def _look(found: Overload, instance: Instance, begun: float) -> None:
    found.at.append(time.monotonic() - begun)
    found.memory.append(psutil.Process(instance.pid).memory_info().rss)
    try:
        text = httpx.get(f"{instance.url('job-repository')}/metrics", timeout=10).text
        found.ages += [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "cytobus_oldest_unfinished_job_age_seconds"
        ]
    except httpx.HTTPError:
        found.unanswered += 1


def _done(instance: Instance) -> int:
    try:
        return instance.counts().get("complete", 0)
    except httpx.HTTPError:
        return 0


def _account(instance: Instance, total: int) -> None:
    """Each file has one job and one result that is its copy. Raises ``Lost``."""
    names = Counter(job["InputFile"]["Name"] for job in instance.jobs())
    twice = [name for name, many in names.items() if many > 1]
    bad = [
        path.name
        for path in instance.input.iterdir()
        if not (copy := instance.output / result_of(path.name)).is_file() or copy.read_bytes() != path.read_bytes()
    ]
    if twice or bad or len(names) != total:
        raise Lost(f"{len(names)} jobs of {total} files; twice: {twice[:5]}; not as they were: {bad[:5]}")
