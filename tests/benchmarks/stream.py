"""How many frames a second the stream answers, and how soon: ``python -m tests.benchmarks.stream``.

The stream is a process of its own (``cytobus serve stream``), the instrument another, both on two cores. Latency is
measured by the instrument: from the moment when a frame was due to the arrival of its answer, so that an instrument
that falls behind does not hide it (coordinated omission; G. Tene, 2015).
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from contracts.stream import PATH, Opening, Status
from contracts.stream_client import StreamClient, streaming
from tests.support.instance import Instance

RATES = (100, 250, 500, 1000, 2000, 3000)
SIDE = 64


@dataclass
class Run:
    """What one run has shown. Times in ms, memory in MB."""

    wanted: float
    """Frames a second; 0: as many as the window lets through."""
    seconds: float = 0.0
    frames: int = 0
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    served_p99: float = 0.0
    """By the service's own stamps, from the arrival to the answer."""
    batch: float = 0.0
    lost: int = 0
    out_of_order: int = 0
    waits: int = 0
    memory_before: float = 0.0
    memory_after: float = 0.0
    cores: float = 0.0
    """Of the service's process, on average."""
    load: float = 0.0


def cells(channels: int) -> list[bytes]:
    """Frames that look like cells: a disc on a lit field, of many sizes; what is in them does not change the time."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    made = []
    for number in range(64):
        disc = (x * x + y * y < (12 + number / 4) ** 2)[..., None] * (40 + number)
        noise = np.random.default_rng(number).integers(0, 12, (SIDE, SIDE, channels))
        made.append((200 - disc + noise).astype(np.uint8).tobytes())
    return made


class Instrument:
    """Sends at a rate, reads, and remembers when each frame was due and when it was answered."""

    def __init__(self, client: StreamClient, frames: list[bytes], rate: float, count: int) -> None:
        self._client, self._frames, self._rate, self._count = client, frames, rate, count
        self.due = np.zeros(count)
        self.came = np.zeros(count)
        self.served = np.zeros(count)
        self.batched: list[int] = []
        self.numbers: list[int] = []
        self.statuses: list[Status] = []

    async def send(self) -> None:
        begun = time.perf_counter()
        for number in range(self._count):
            if self._rate:
                self.due[number] = begun + number / self._rate
                if (wait := self.due[number] - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
            else:
                await self._client.room()
                self.due[number] = time.perf_counter()
            await self._client.send(number, self._frames[number % len(self._frames)])
        await self._client.end()

    async def read(self) -> None:
        async for result in self._client:
            self.came[result.number] = time.perf_counter()
            self.served[result.number] = (result.sent - result.received) / 1e6
            self.batched.append(result.batched)
            self.numbers.append(result.number)
            self.statuses.append(result.status)


async def measured(url: str, process: psutil.Process, rate: float, seconds: float, channels: int) -> Run:
    """One run at a rate."""
    run = Run(rate, memory_before=memory(process), load=os.getloadavg()[0])
    count = int((rate or 4000) * seconds)
    async with streaming(url, Opening(channels=channels, source="benchmark")) as client:
        instrument = Instrument(client, cells(channels), rate, count)
        started, busy = time.perf_counter(), sum(process.cpu_times()[:2])
        async with asyncio.TaskGroup() as both:
            both.create_task(instrument.send())
            both.create_task(instrument.read())
        run.seconds = time.perf_counter() - started
        run.cores = (sum(process.cpu_times()[:2]) - busy) / run.seconds
        run.waits = client.waits
    latency = (instrument.came - instrument.due) * 1e3
    run.frames, run.rate = count, count / run.seconds
    run.p50, run.p99, run.worst = (float(np.percentile(latency, at)) for at in (50, 99, 100))
    run.served_p99 = float(np.percentile(instrument.served, 99))
    run.batch = count / len(set(instrument.batched))
    run.lost = count - instrument.statuses.count(Status.CLASSIFIED)
    run.out_of_order = sum(a > b for a, b in zip(instrument.numbers, instrument.numbers[1:], strict=False))
    run.memory_after = memory(process)
    return run


def memory(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


async def slow_reader(url: str, process: psutil.Process, seconds: float) -> dict[str, float]:
    """An instrument that sends as fast as it can and reads 50 answers a second: what becomes of the memory."""
    before, sent = memory(process), 0
    async with streaming(url, Opening(source="slow reader")) as client:
        frames = cells(1)

        async def send() -> None:
            nonlocal sent
            while True:
                await client.send(sent, frames[sent % 64])
                sent += 1

        sending = asyncio.create_task(send())
        answers, until = aiter(client), time.perf_counter() + seconds
        read = 0
        while time.perf_counter() < until:
            await anext(answers)
            read += 1
            await asyncio.sleep(0.02)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return {
            "sent": sent,
            "read": read,
            "most unanswered": client.welcome.window,
            "waits": client.waits,
            "memory grown MB": memory(process) - before,
        }


def shown(runs: list[Run], console: Console) -> None:
    table = Table(title="frames of 64x64, one instrument, its process and the stream's on the same cores")
    for name in ("wanted/s", "got/s", "s", "p50 ms", "p99 ms", "worst", "service p99", "batch", "lost", "disordered"):
        table.add_column(name, justify="right")
    for name in ("waits", "MB before", "MB after", "cores", "load"):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(
            *(f"{run.wanted:.0f}" if run.wanted else "all", f"{run.rate:.0f}", f"{run.seconds:.0f}"),
            *(f"{value:.1f}" for value in (run.p50, run.p99, run.worst, run.served_p99, run.batch)),
            *(str(run.lost), str(run.out_of_order), str(run.waits)),
            *(f"{value:.1f}" for value in (run.memory_before, run.memory_after, run.cores, run.load)),
        )
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES)
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    parser.add_argument("--model", default="bloodcells", help="or bloodcells-int8")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    console = Console(width=160)
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)  # the stream's process inherits it
    with tempfile.TemporaryDirectory() as folder:
        for result in _taken(Path(folder), chosen):
            runs: list[Run] = result["runs"]
            shown(runs, console)
            console.print(f"slow reader: {result['slow']}; on cores {cores}")
            if chosen.json is not None:
                chosen.json.write_text(json.dumps({**result, "runs": [asdict(run) for run in runs]}, indent=2))
            at_thousand = [run for run in runs if run.wanted == 1000]
            if any(run.p99 > 20 or run.lost or run.out_of_order for run in at_thousand):
                raise SystemExit("1000 frames a second: not all answered in order with p99 <= 20 ms")


def _taken(folder: Path, chosen: Any) -> Iterator[dict[str, Any]]:
    instance = Instance(
        folder / "stream", side="serve stream", CYTOBUS_LOG_LEVEL="warning", CYTOBUS_STREAM__MODEL=chosen.model
    )
    try:
        instance.start()
        instance.wait_for(lambda: instance.ask("GET", "stream", "/api/v1/ready").status_code == 200, 60, "no model")
        process = psutil.Process(instance.pid)
        url = f"{instance.url('stream')}{PATH}".replace("http", "ws", 1)

        async def all_runs() -> dict[str, Any]:
            await measured(url, process, 500, 2.0, chosen.channels)
            runs = [await measured(url, process, rate, chosen.seconds, chosen.channels) for rate in chosen.rates]
            runs.append(await measured(url, process, 0, min(chosen.seconds, 10.0), chosen.channels))
            return {"runs": runs, "slow": await slow_reader(url, process, min(chosen.seconds, 10.0))}

        import uvloop

        yield uvloop.run(all_runs())
    finally:
        instance.close()


if __name__ == "__main__":
    main()
