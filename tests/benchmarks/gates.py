"""What gates add to the stream: ``python -m tests.benchmarks.gates``.

The stream is a process of its own, the instrument and the gateway's map another, all on two cores. The shipped encoder
of ``cells`` may be too slow there for a thousand frames a second; so that the gates are seen at that rate, the network
is that of ``bloodcells``, and the places come from the map of ``cells`` all the same (of vectors that mean nothing).
Rounds without gates, with one and with five take turns within one run.
"""

import argparse
import asyncio
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from contracts.hosting import PORTS
from contracts.stream import PATH, Opening, Status
from contracts.stream_client import streaming
from pipelines.backends.tensors import Arrays
from pipelines.bloodcells.classifier import BloodCells
from pipelines.embedding.model import WIDTH
from pipelines.embedding.streamed import StreamedCells
from pipelines.stream.port import Findings
from tests.benchmarks.gates_alone import ARMS, alone, encoder
from tests.benchmarks.stream import Instrument, cells
from tests.support.cell_map import GatesAt, cell_map
from tests.support.instance import Instance
from tests.support.waiting import eventually

MOST_ADDED = 1.0
"""ms by which gates may make an answer later."""


class PlacedBloodCells(BloodCells):
    """The classifier of blood cells, with places by the map of ``cells``: the work of it, without its meaning."""

    measures, map_of = ("novelty",), "1"

    def warm(self) -> None:
        self._cells = StreamedCells()
        self._cells.warm()

    def read(self, outputs: Arrays) -> Findings:
        found = super().read(outputs)
        vectors = np.resize(outputs["probabilities"], (len(found.labels), WIDTH)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        like = self._cells.read({"probabilities": outputs["probabilities"], "vectors": vectors})
        return replace(found, places=partial(self._cells.places, vectors), features=like.features)


@dataclass
class Round:
    """What one round has shown; ms."""

    arm: str
    wanted: float
    rate: float
    p50: float
    p99: float
    served_p50: float
    served_p99: float
    decided_p50: float
    decided_p99: float
    decided_most: float
    batch: float
    lost: int
    undecided: int
    load: float


class Watching(Instrument):
    """Remembers how long gates took, too."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.decided: dict[int, float] = {}
        """Of each batch, by when it was made."""
        self.undecided = 0

    async def read(self) -> None:
        async for result in self._client:
            self.came[result.number] = time.perf_counter()
            self.served[result.number] = (result.sent - result.received) / 1e6
            self.batched.append(result.batched)
            self.statuses.append(result.status)
            if result.decided is not None and result.decided.at:
                self.decided[result.batched] = (result.decided.at - result.inferred) / 1e6
            else:
                self.undecided += 1


async def measured(url: str, arm: str, rate: float, seconds: float) -> Round:
    """One round at a rate; 0: as many frames as the window lets through."""
    count, load = int((rate or 3000) * seconds), os.getloadavg()[0]
    async with streaming(url, Opening(source="benchmark", gates=arm != "none")) as client:
        instrument, started = Watching(client, cells(1), rate, count), time.perf_counter()
        async with asyncio.TaskGroup() as both:
            both.create_task(instrument.send())
            both.create_task(instrument.read())
        took = time.perf_counter() - started
    latency, gates = (instrument.came - instrument.due) * 1e3, list(instrument.decided.values()) or [0.0]
    return Round(
        *(arm, rate, count / took),
        *(float(np.percentile(latency, at)) for at in (50, 99)),
        *(float(np.percentile(instrument.served, at)) for at in (50, 99)),
        *(float(np.percentile(gates, at)) for at in (50, 99, 100)),
        count / len(set(instrument.batched)),
        count - instrument.statuses.count(Status.CLASSIFIED),
        instrument.undecided,
        load,
    )


class Gateway:
    """Has the gates of one arm at a time."""

    def __init__(self, at: GatesAt, told: Callable[[], Any]) -> None:
        self._at, self._told = at, told
        self._made: list[str] = []

    async def hold(self, gates: dict[str, dict[str, Any]]) -> None:
        """Returns when the stream has heard of them, too."""
        for one in self._made:
            await self._at.drop(one)
        self._made = [await self._at.make(name, **rule) for name, rule in gates.items()]

        async def known() -> bool:
            return sorted(one["Name"] for one in (await asyncio.to_thread(self._told))["Gates"]) == sorted(gates)

        await eventually(known, every=0.05)


async def all_rounds(folder: Path, chosen: argparse.Namespace) -> list[Round]:
    """Of all arms in turns."""
    offset = free_offset()
    stream = Instance(
        folder / "stream",
        side="serve stream",
        offset=offset,
        CYTOBUS_LOG_LEVEL="warning",
        CYTOBUS_STREAM__MODEL="tests.benchmarks.gates:PlacedBloodCells",
        CYTOBUS_STREAM__GATES_SECONDS="1",
    )
    async with cell_map(folder / "gateway", port=PORTS["cell-index"] + offset) as at:
        try:
            await asyncio.to_thread(stream.start)
            ready = partial(stream.ask, "GET", "stream", "/api/v1/ready")
            await asyncio.to_thread(stream.wait_for, lambda: ready().status_code == 200, 60, "no model")
            gateway = Gateway(at, lambda: stream.ask("GET", "stream", "/api/v1/streams/gates").json())
            url = f"{stream.url('stream')}{PATH}".replace("http", "ws", 1)
            await measured(url, "none", 500, 2.0)
            rounds = []
            for rate in (chosen.rate, 0.0):
                for _ in range(chosen.rounds if rate else max(1, chosen.rounds // 3)):
                    for arm, gates in ARMS.items():
                        await gateway.hold(gates)
                        rounds.append(await measured(url, arm, rate, chosen.seconds))
            return rounds
        finally:
            await asyncio.to_thread(stream.close)


def free_offset() -> int:
    """By which the ports of the cell index and of the stream are free."""
    for offset in range(1000, 5000, 7):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", PORTS["cell-index"] + offset))
                other.bind(("127.0.0.1", PORTS["cell-index"] - 2 + offset))
            except OSError:
                continue
            return offset
    raise SystemExit("no free ports")


def shown(rounds: list[Round], console: Console) -> None:
    names = ("rate", "p50", "p99", "served_p50", "served_p99", "decided_p50", "decided_p99", "decided_most", "batch")
    table = Table(title="medians of rounds; ms; 'decided': what gates took of a batch, which each of its frames waits")
    for name in ("wanted/s", "gates", *names, "lost", "load"):
        table.add_column(name, justify="right")
    for rate in sorted({one.wanted for one in rounds}, reverse=True):
        for arm in ARMS:
            mine = [one for one in rounds if (one.arm, one.wanted) == (arm, rate)]
            figures = [f"{np.median([getattr(one, name) for one in mine]):.3f}" for name in names]
            load = f"{np.median([one.load for one in mine]):.1f}"
            table.add_row(f"{rate:.0f}" if rate else "all", arm, *figures, str(sum(one.lost for one in mine)), load)
    console.print(table)


def added(rounds: list[Round], arm: str, name: str) -> float:
    """ms by which an arm's figure is above that of no gates: the median of the differences within the rounds."""
    each = [[one for one in rounds if one.arm == which and one.wanted] for which in ("none", arm)]
    return float(np.median([getattr(b, name) - getattr(a, name) for a, b in zip(*each, strict=True)]))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    console, mine = Console(width=160), sorted(os.sched_getaffinity(0))[:2]
    psutil.Process().cpu_affinity(mine)  # the stream's process inherits it
    with tempfile.TemporaryDirectory() as folder:
        rounds = asyncio.run(all_rounds(Path(folder), chosen))
    shown(rounds, console)
    for arm in ("one", "five"):
        named = {name: round(added(rounds, arm, name), 3) for name in ("p50", "p99", "served_p50", "served_p99")}
        console.print(f"added by {arm}: {named} ms")
    lone = alone(0.5)
    for one in lone:
        figures = f"{one['cpu']:.3f} ({one['cpu a frame']:.4f} a frame); by the clock {one['clock']:.3f}, undisturbed"
        figures += f" {one['undisturbed']:.3f}"
        console.print(f"gates alone, batch {one['batch']}, {one['gates']}: ms of the processor {figures}")
    steps = encoder(min(chosen.seconds, 3.0))
    for step in steps:
        console.print("cells, one thread, ms a frame: " + ", ".join(f"{k} {v:.3g}" for k, v in step.items()))
    if chosen.json is not None:
        chosen.json.write_text(
            json.dumps({"rounds": [asdict(one) for one in rounds], "alone": lone, "encoder": steps}, indent=2)
        )
    late = [one.decided_p99 for one in rounds if one.wanted and one.arm != "none"]
    if np.median(late) > MOST_ADDED or any(one.lost for one in rounds):
        raise SystemExit(f"gates take more than {MOST_ADDED} ms of 1 % of the batches, or frames are lost")


if __name__ == "__main__":
    main()
