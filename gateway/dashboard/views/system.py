"""How the gateway is: figures and charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

WIDTH, HEIGHT = 560, 120
MOST_POINTS = 360


@dataclass(frozen=True)
class Sample:
    """The figures at one time (s since the epoch). ``ended``, ``spent`` (s) and ``timed`` only grow."""

    at: float
    ended: float
    spent: float
    timed: float
    unfinished: float
    oldest: float
    """Age of the oldest job on its way (s)"""


FINAL = ("complete", "unmatched", "failed", "quarantined", "cancelled")


def sample(text: str, at: float) -> Sample:
    """Of the job repository's ``/metrics``. Raises ``ValueError`` for text that is none."""
    found: dict[str, float] = {"ended": 0.0, "spent": 0.0, "timed": 0.0, "unfinished": 0.0, "oldest": 0.0}
    names = {
        "cytobus_jobs_ended_total": "ended",
        "cytobus_job_seconds_sum": "spent",
        "cytobus_job_seconds_count": "timed",
        "cytobus_oldest_unfinished_job_age_seconds": "oldest",
    }
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name in names:
                found[names[one.name]] += one.value
            elif one.name == "cytobus_jobs" and one.labels.get("state") not in FINAL:
                found["unfinished"] += one.value
    return Sample(at=at, **found)


@dataclass(frozen=True)
class Chart:
    """A line over time. ``levels``: the figures at its grid lines, highest first; times in ns since the epoch."""

    key: str
    points: str
    """As SVG has them"""
    last: str
    most: str
    levels: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


def charts(samples: Sequence[Sample], hours: int = 1) -> list[Chart]:
    """Throughput, mean time a job takes, jobs on their way. A restart of the gateway is no negative throughput."""
    samples = thinned(samples, hours)
    pairs = list(pairwise(samples))
    rate = [max(0.0, b.ended - a.ended) / max(b.at - a.at, 1e-3) * 60 for a, b in pairs]
    latency = [max(0.0, b.spent - a.spent) / (b.timed - a.timed) if b.timed > a.timed else 0.0 for a, b in pairs]
    waiting = [one.unfinished for one in samples[1:]]
    times = [b.at for _, b in pairs]
    lines = {"throughput": rate, "latency": latency, "unfinished": waiting}
    return [_chart(key, times, values) for key, values in lines.items()]


def thinned(samples: Sequence[Sample], hours: int) -> list[Sample]:
    """Those of the last hours, so few that a line can show them; the first and the last always."""
    if not samples:
        return []
    kept = [one for one in samples if one.at >= samples[-1].at - hours * 3600]
    step = -(-len(kept) // MOST_POINTS)
    return kept[(len(kept) - 1) % step :: step]


def _chart(key: str, times: Sequence[float], values: Sequence[float]) -> Chart:
    if len(values) < 2:  # one point is no line
        return Chart(key, "", "", "")
    most = max(values)
    top = most or 1.0
    start, span = times[0], max(times[-1] - times[0], 1.0)
    points = " ".join(
        f"{(at - start) / span * WIDTH:.1f},{HEIGHT - value / top * HEIGHT:.1f}"
        for at, value in zip(times, values, strict=True)
    )
    levels = tuple(f"{top * part:.3g}" for part in (1, 0.5, 0))
    ends = int(times[0] * 1e9), int(times[-1] * 1e9)
    return Chart(key, points, f"{values[-1]:.3g}", f"{most:.3g}", levels, *ends)


@dataclass
class Queue:
    """A desk of a service: what lies on it, what is worked on, how often something had to be tried again."""

    service: str
    name: str
    waiting: int = 0
    in_hand: int = 0
    retries: int = 0
    trouble: bool = False


@dataclass
class Place:
    """A disk that must have room (bytes)."""

    name: str
    free: int = 0
    least: int = 0

    @property
    def tone(self) -> str:
        return "bad" if self.free < self.least else "waiting" if self.free < 2 * self.least else "good"


@dataclass
class Figures:
    """What services say of their work."""

    queues: list[Queue]
    places: list[Place]
    outbox: int = 0
    """Messages that wait for the bus."""
    bus_away: bool = False


QUEUES = {
    "cytobus_desk_in_hand": "in_hand",
    "cytobus_desk_queue": "waiting",
    "cytobus_desk_retries_total": "retries",
    "cytobus_desk_trouble": "trouble",
}
PLACES = {"cytobus_disk_free_bytes": "free", "cytobus_disk_least_bytes": "least"}


def figures(texts: Mapping[str, str]) -> Figures:
    """Of the services' ``/metrics``, by service. Raises ``ValueError`` for text that is none."""
    queues: dict[tuple[str, str], Queue] = {}
    places: dict[str, Place] = {}
    found = Figures([], [])
    for service, text in texts.items():
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                if one.name in QUEUES:
                    queue = queues.setdefault((service, one.labels["desk"]), Queue(service, one.labels["desk"]))
                    setattr(queue, QUEUES[one.name], int(one.value))
                elif one.name in PLACES:
                    place = places.setdefault(one.labels["place"], Place(one.labels["place"]))
                    setattr(place, PLACES[one.name], int(one.value))
                elif one.name == "cytobus_outbox_messages":
                    found.outbox = int(one.value)
                elif one.name == "cytobus_bus_trouble":
                    found.bus_away |= bool(one.value)
    found.queues, found.places = list(queues.values()), sorted(places.values(), key=lambda place: place.name)
    return found
