"""What came of a build, for people and for programs: accuracy, size and speed of each variant beside FP32."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import openvino as ov  # type: ignore[import-untyped]
from rich.table import Table

from pipelines.build.accuracy import Figures
from pipelines.build.measure import Plan, Speed

BEGIN, END = "<!-- build: begin -->", "<!-- build: end -->"
"""Between these lines of a model's card stands the last report."""
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx_vnni": "VNNI", "amx_int8": "AMX"}


@dataclass(frozen=True)
class Row:
    """A variant. ``loss`` is that of accuracy to FP32, as a share, the largest of all figures."""

    name: str
    size: int
    figures: Figures
    loss: float
    speed: Speed | None = None
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All variants, on which pictures and on which machine."""

    pipeline: str
    split: str
    images: int
    limit: float
    plan: Plan
    base: str
    rows: Sequence[Row]
    absent: Mapping[str, str] = field(default_factory=dict)
    """Variants that could not be measured, and why."""
    machine: str = field(default_factory=lambda: machine())

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def table(self) -> Table:
        """For a terminal."""
        result = Table(title=self._title(), caption=self._caption())
        for name in self._headings():
            result.add_column(name, justify="left" if name in ("variant", "note") else "right")
        for row in self._cells():
            result.add_row(*row)
        return result

    def markdown(self) -> str:
        """For a model's card."""
        headings = self._headings()
        lines = [
            f"{self._title()}. {self._caption()}",
            "",
            "| " + " | ".join(headings) + " |",
            "|---|" + "---:|" * (len(headings) - 2) + "---|",
            *("| " + " | ".join(cells) + " |" for cells in self._cells()),
        ]
        lines += ["", *(f"- {name} was not measured: {why}" for name, why in self.absent.items())]
        return "\n".join(lines).rstrip() + "\n"

    def _title(self) -> str:
        return f"{self.pipeline}: split {self.split}, {self.images} images"

    def _caption(self) -> str:
        return (
            f"F1 by group, loss as a share of FP32's (the largest of them; limit {100 * self.limit:g} %); "
            f"{self.plan.side} x {self.plan.side} pixels, {self.plan.threads} threads, throughput with "
            f"{self.plan.streams} requests at once, in turns within one run; ratios to {self.base}; {self.machine}."
        )

    def _headings(self) -> list[str]:
        groups = list(self.rows[0].figures)
        return ["variant", "MB", *(f"F1 {g}" for g in groups), "loss", "p50 ms", "p99 ms", "images/s", "ratio", "note"]

    def _cells(self) -> list[list[str]]:
        return [
            [
                row.name,
                f"{row.size / 1e6:.2f}",
                *(f"{value:.4f}" for value in row.figures.values()),
                f"{100 * row.loss:+.2f} %",
                *_speed(row.speed),
                row.note,
            ]
            for row in self.rows
        ]


def _speed(speed: Speed | None) -> list[str]:
    if speed is None:
        return ["", "", "", ""]
    return [
        f"{speed.latency_p50_ms:.1f}",
        f"{speed.latency_p99_ms:.1f}",
        f"{speed.images_per_second:.0f}",
        f"{speed.ratio:.2f}",
    ]


def machine() -> str:
    """The processor, and which of the instructions it has that networks gain by."""
    name: str = ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    flags = _flags()
    has = sorted({word for flag, word in INSTRUCTIONS.items() if flag in flags})
    lacks = sorted({*INSTRUCTIONS.values()} - {*has})
    if not flags:
        return f"{name}, {platform.machine()}"
    return f"{name}, with {', '.join(has) or 'none of AVX2 and later'}" + (
        f", without {', '.join(lacks)}" if lacks else ""
    )


def _flags() -> set[str]:
    """Of the processor, where the system tells them (Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def written(card: Path, report: Report) -> None:
    """Put the report into a card, in the place of the last one, or at its end."""
    text = card.read_text(encoding="utf-8") if card.exists() else f"# {report.pipeline}\n"
    section = f"{BEGIN}\n## Variants\n\n{report.markdown()}{END}\n"
    before, found, rest = text.partition(BEGIN)
    after = rest.partition(END)[2].lstrip("\n") if found else ""
    card.write_text(before.rstrip() + "\n\n" + section + (f"\n{after}" if after else ""), encoding="utf-8")
