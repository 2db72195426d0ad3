"""The table of what a pipeline measured, and how often each value occurs."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 200
"""Rows of a table on a page."""
BINS = 24
WIDTH, HEIGHT = 560, 150


@dataclass(frozen=True)
class Measurements:
    """A table. ``whole`` is false when the file was longer than what was read of it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    whole: bool = True

    @property
    def numeric(self) -> tuple[str, ...]:
        """Columns of which all values are numbers."""
        return tuple(name for name in self.columns if self.rows and len(self.values(name)) == len(self.rows))

    def values(self, column: str) -> list[float]:
        """The numbers in a column."""
        place = self.columns.index(column)
        found = [_number(row[place]) for row in self.rows if place < len(row)]
        return [value for value in found if value is not None]


def read(content: bytes, *, whole: bool) -> Measurements:
    """A CSV file with a line of names; of a part of one, the last line, which may be cut, is left out."""
    text = content.decode("utf-8-sig", "replace")
    lines = text.splitlines() if whole else text.splitlines()[:-1]
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    rows = [tuple(row) for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter) if row]
    return Measurements(rows[0], tuple(rows[1:]), whole) if rows else Measurements((), ())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in pixels of its drawing."""

    x: float
    y: float
    width: float
    height: float
    said: str


@dataclass(frozen=True)
class Histogram:
    """How often values of a column lie where."""

    column: str
    bars: tuple[Bar, ...]
    least: str
    most: str
    mean: str
    median: str
    highest: int


def histogram(column: str, values: Sequence[float]) -> Histogram | None:
    """None for no values at all."""
    if not values:
        return None
    least, most = min(values), max(values)
    span = (most - least) or 1.0
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value - least) / span * BINS))] += 1
    highest = max(counts)
    wide = WIDTH / BINS
    bars = tuple(
        Bar(
            round(n * wide + 1, 1),
            round(HEIGHT - count / highest * HEIGHT, 1),
            round(wide - 2, 1),
            round(count / highest * HEIGHT, 1),
            f"{shown(least + n * span / BINS)} … {shown(least + (n + 1) * span / BINS)}: {count}",
        )
        for n, count in enumerate(counts)
    )
    ordered, middle = sorted(values), len(values) // 2
    median = ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    mean = math.fsum(values) / len(values)
    return Histogram(column, bars, shown(least), shown(most), shown(mean), shown(median), highest)


def shown(value: float) -> str:
    """A number, short."""
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
