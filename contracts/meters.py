"""What services count, in Prometheus' form. Nothing is registered anywhere: who serves a service collects from it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which nobody asks for

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
"""Upper bounds of histograms of durations (s)."""


class Collector(Protocol):
    """Something that can be asked for its figures."""

    def collect(self) -> Iterable[Metric]: ...


def counter(name: str, words: str, labels: Sequence[str] = ()) -> Counter:
    """Counts up; its name ends with ``_total`` on the wire."""
    return Counter(name, words, labels, registry=None)


def gauge(name: str, words: str, labels: Sequence[str] = ()) -> Gauge:
    """Goes up and down."""
    return Gauge(name, words, labels, registry=None)


def histogram(name: str, words: str, labels: Sequence[str] = ()) -> Histogram:
    """Of durations in seconds."""
    return Histogram(name, words, labels, registry=None, buckets=SECONDS)


class Tallies:
    """Counters that are kept elsewhere, read when it is asked for: name -> (words, how to read)."""

    def __init__(self, tallies: Mapping[str, tuple[str, Callable[[], int]]]) -> None:
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        for name, (words, read) in self._tallies.items():
            yield CounterMetricFamily(name, words, value=read())


class DeskFigures:
    """What the desks of a service have in hand, read when it is asked for: the work itself pays nothing."""

    def __init__(self, desks: Iterable[Any]) -> None:
        self._desks = list(desks)

    def collect(self) -> Iterator[Metric]:
        hand = GaugeMetricFamily("cytobus_desk_in_hand", "Things that a desk works on now", labels=["desk"])
        queue = GaugeMetricFamily("cytobus_desk_queue", "Things that lie on a desk and wait", labels=["desk"])
        trouble = GaugeMetricFamily("cytobus_desk_trouble", "1 while a desk cannot do its work", labels=["desk"])
        handled = CounterMetricFamily("cytobus_desk_handled", "Things that a desk has dealt with", labels=["desk"])
        failed = CounterMetricFamily(
            "cytobus_desk_retries", "Times that a desk must try a thing again", labels=["desk"]
        )
        for desk in self._desks:
            trouble.add_metric([desk.name], float(bool(desk.trouble)))
            if hasattr(desk, "in_hand"):
                hand.add_metric([desk.name], desk.in_hand)
                queue.add_metric([desk.name], desk.queued)
                handled.add_metric([desk.name], desk.handled)
                failed.add_metric([desk.name], desk.failed)
        yield from (hand, queue, trouble, handled, failed)


class BusFigures:
    """What a bus has carried for this process."""

    name = "bus"

    def __init__(self, bus: Any) -> None:
        self._bus = bus

    @property
    def trouble(self) -> str:
        """Why it cannot be reached; empty when it can."""
        return str(self._bus.trouble)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily("cytobus_bus_messages", "Messages by what became of them", labels=["event"])
        for event, number in self._bus.counts.items():
            family.add_metric([event], number)
        yield family
        words = "1 while the bus cannot be reached"
        yield GaugeMetricFamily("cytobus_bus_trouble", words, value=float(bool(self._bus.trouble)))


def process_figures() -> list[Collector]:
    """Memory, processor time and files of this process, as far as the system tells."""
    return [ProcessCollector(registry=None), PlatformCollector(registry=None)]


def text_of(collectors: Iterable[Collector]) -> bytes:
    """All figures as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)
