"""``python -m tests.benchmarks.batches``: what batches, threads and several requests at once make of the nuclei model.

In one process, each way taken in turns; what matters is their ratio.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
from rich.console import Console
from rich.table import Table

from pipelines.nuclei.model import shipped

ROUNDS = 5
SIDES = {256: 32, 512: 8}
"""Sides of pictures, and how many are taken at a time."""


def compiled(batch: int, side: int, hint: str, threads: int) -> Any:
    folder, core = shipped(), ov.Core()
    network = core.read_model(folder.read("fp32/model.xml"), folder.read("fp32/model.bin"))
    network.reshape([batch, 1, side, side])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    return core.compile_model(network, "CPU", settings)


def one_after_the_other(network: Any, pictures: np.ndarray, many: int) -> Callable[[], None]:
    request = network.create_infer_request()

    def run() -> None:
        for _ in range(many):
            request.infer([pictures], share_inputs=True)

    return run


def several_at_once(network: Any, pictures: np.ndarray, many: int) -> Callable[[], None]:
    queue = ov.AsyncInferQueue(network)

    def run() -> None:
        for _ in range(many):
            queue.start_async([pictures], share_inputs=True)
        queue.wait_all()

    return run


def ways(side: int, pictures: int) -> dict[str, Callable[[], None]]:
    """By what is done."""
    found = {}
    for threads in (1, 2):
        for batch in (1, 4, 8):
            given = np.random.default_rng(1).random((batch, 1, side, side), np.float32)
            network = compiled(batch, side, "LATENCY", threads)
            found[f"{threads} threads, batches of {batch}"] = one_after_the_other(network, given, pictures // batch)
    given = np.random.default_rng(1).random((1, 1, side, side), np.float32)
    found["2 threads, several at once"] = several_at_once(compiled(1, side, "THROUGHPUT", 2), given, pictures)
    return found


def main() -> None:
    """The command."""
    table = Table("side", "", "pictures/s", "to the first", "range of it")
    for side, pictures in SIDES.items():
        taken: dict[str, list[float]] = {}
        runs = ways(side, pictures)
        for number in range(ROUNDS + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                if number:  # the first is to warm up
                    taken.setdefault(name, []).append(pictures / (time.perf_counter() - started))
        first = next(iter(taken.values()))
        for name, rates in taken.items():
            ratios = [one / other for one, other in zip(rates, first, strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            table.add_row(
                str(side), name, f"{statistics.median(rates):.1f}", f"{statistics.median(ratios):.2f}", spread
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
