"""How the gateway is: figures and charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

WIDTH, HEIGHT = 560, 120


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
    """A line over the last hour."""

    key: str
    points: str
    """As SVG has them"""
    last: str
    most: str


def charts(samples: Sequence[Sample]) -> list[Chart]:
    """Throughput, mean time a job takes, jobs on their way. A restart of the gateway is no negative throughput."""
    pairs = list(pairwise(samples))
    rate = [max(0.0, b.ended - a.ended) / max(b.at - a.at, 1e-3) * 60 for a, b in pairs]
    latency = [max(0.0, b.spent - a.spent) / (b.timed - a.timed) if b.timed > a.timed else 0.0 for a, b in pairs]
    waiting = [one.unfinished for one in samples[1:]]
    times = [b.at for _, b in pairs]
    lines = {"throughput": rate, "latency": latency, "unfinished": waiting}
    return [_chart(key, times, values) for key, values in lines.items()]


def _chart(key: str, times: Sequence[float], values: Sequence[float]) -> Chart:
    if not values:
        return Chart(key, "", "", "")
    most = max(values)
    start, span = times[0], max(times[-1] - times[0], 1.0)
    points = " ".join(
        f"{(at - start) / span * WIDTH:.1f},{HEIGHT - 4 - value / (most or 1.0) * (HEIGHT - 8):.1f}"
        for at, value in zip(times, values, strict=True)
    )
    return Chart(key, points, f"{values[-1]:.3g}", f"{most:.3g}")
