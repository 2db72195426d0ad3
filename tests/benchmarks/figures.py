"""Figures for this machine: ``make bench``. Ratios are of things measured in the same run, side by side."""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.bus import buses, jobs_per_second
from tests.benchmarks.listings import listings
from tests.benchmarks.variants import variants
from tests.support.instance import Instance

console = Console()
BESIDE = Path(__file__).parents[2].parent / "shared" / "data"


def no_op_jobs(folder: Path, count: int) -> dict[str, float]:
    """Jobs per second end to end, from the first file dropped to the last job complete, with a pipeline that
    does nothing; and once more with one that copies the file, whose output comes back."""
    figures = {}
    for topic in ("only-results", "only-file"):
        instance = Instance(folder / topic, CYTOBUS_PIPELINES__TOPICS=json.dumps([topic]))
        try:
            instance.start()
            instance.add_task(topic)
            started = time.perf_counter()
            for number in range(count):
                instance.drop(f"image-{number}.dat", b"%d" % number * 64)
            instance.wait_for(lambda: instance.counts().get("complete", 0) == count, 600, "not all came back")  # noqa: B023
            figures[f"{topic} jobs/s"] = count / (time.perf_counter() - started)
        finally:
            instance.close()
    return figures


def latency(folder: Path, count: int) -> dict[str, float]:
    """From a file's close to its output on the instrument, less the pipeline's own time, one file at a time (ms)."""
    instance = Instance(folder / "latency", CYTOBUS_PIPELINES__TOPICS='["only-file"]')
    taken = []
    try:
        instance.start()
        instance.add_task("only-file")
        for number in range(count):
            output = instance.output / f"image-{number}-sim.tif"
            content = tiny_tiff(number)
            started = time.perf_counter()
            (instance.input / f"image-{number}.tif").write_bytes(content)
            while not output.exists():
                time.sleep(0.0005)
            taken.append((time.perf_counter() - started) * 1e3)
    finally:
        instance.close()
    own = copy_seconds(folder) * 1e3
    taken = sorted(value - own for value in taken[1:])
    return {"p50 ms": statistics.median(taken), "p99 ms": taken[int(len(taken) * 0.99) - 1], "pipeline's own ms": own}


def tiny_tiff(number: int) -> bytes:
    """A whole TIFF of 16 x 16 pixels."""
    import io

    import numpy as np
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.full((16, 16), number % 65536, np.uint16))
    return buffer.getvalue()


def copy_seconds(folder: Path) -> float:
    """What the only-file pipeline itself takes here."""
    from pipelines.plugin import Work
    from pipelines.simulators import OnlyFile

    source = folder / "copied.tif"
    source.write_bytes(tiny_tiff(0))
    taken = []
    for number in range(20):
        place = folder / f"copy-{number}"
        place.mkdir()
        started = time.perf_counter()
        OnlyFile().run(Work(source, place))
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def nuclei_ratio(folder: Path, count: int, side: int) -> dict[str, float]:
    """Images per second of ``nuclei`` through the whole system, over those of a bare loop of the same function
    on the same files: in one process, and in as many processes as the system has workers."""
    images = rendered(folder / "images", count, side)
    alone = bare_loop(folder, images, 1)
    parallel = bare_loop(folder, images, os.cpu_count() or 1)
    instance = Instance(folder / "nuclei", CYTOBUS_PIPELINES__TOPICS='["nuclei"]')
    try:
        instance.start()
        instance.add_task("nuclei")
        contents = [(image.name, image.read_bytes()) for image in images]
        started = time.perf_counter()
        for name, content in contents:
            instance.drop(name, content)
        instance.wait_for(
            lambda: len(list(instance.output.glob("*_cells.csv"))) == count, 900, "not all images came back"
        )
        system = count / (time.perf_counter() - started)
    finally:
        instance.close()
    return {
        "bare loop, 1 process: images/s": alone,
        "bare loop, a process a core: images/s": parallel,
        "whole system: images/s": system,
        "ratio to 1 process": system / alone,
        "ratio to a process a core": system / parallel,
    }


def rendered(folder: Path, count: int, side: int) -> list[Path]:
    """Rendered fluorescence fields, 8-bit TIFF."""
    from pipelines.images import write_tiff
    from pipelines.samples import render_field

    folder.mkdir(parents=True)
    made = []
    for number in range(count):
        pixels, _ = render_field(number, shape=(side, side), bits=8, nuclei=side * side // 4000)
        made.append(folder / f"field-{number}.tif")
        write_tiff(made[-1], pixels)
    return made


def bare_loop(folder: Path, images: list[Path], processes: int) -> float:
    """Images per second of the plug-in's own function."""
    import multiprocessing

    parts = [images[start::processes] for start in range(processes)]
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(processes + 1), context.Barrier(processes + 1)
    outputs = folder / f"bare-{processes}"
    running = [
        context.Process(target=loop, args=(part, outputs / str(number), ready, go)) for number, part in enumerate(parts)
    ]
    for process in running:
        process.start()
    ready.wait()
    started = time.perf_counter()
    go.wait()
    for process in running:
        process.join()
    return len(images) / (time.perf_counter() - started)


def loop(images: list[Path], outputs: Path, ready: Any, go: Any) -> None:
    """Run the plug-in on each image in turn, once warmed up."""
    from pipelines.nuclei.pipeline import Nuclei
    from pipelines.plugin import Work

    nuclei = Nuclei()
    for number, image in enumerate([images[0], *images]):
        if number == 1:
            ready.wait()
            go.wait()
        place = outputs / str(number)
        place.mkdir(parents=True)
        nuclei.run(Work(image, place))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--rows", type=int, default=100_000, help="jobs that listings choose from, at most")
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument(
        "--only",
        choices=["jobs", "latency", "nuclei", "transfer", "buses", "fleet", "listings", "variants", "vectors"],
    )
    parser.add_argument("--vectors", type=int, default=100_000, help="of cells, that are searched")
    parser.add_argument("--cells", type=Path, default=BESIDE, help="folder with real images of cells")
    parser.add_argument("--kind", default="auto", help="of index: auto, ivf-sq8, ivf-pq, hnsw")
    parser.add_argument("--at-once", action="store_true", help="one segment of all vectors, without merges on the way")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cytobus-bench-"))
    runs = {
        "jobs": lambda: no_op_jobs(folder, chosen.jobs),
        "latency": lambda: latency(folder, 200),
        "nuclei": lambda: nuclei_ratio(folder, chosen.images, chosen.side),
        "transfer": lambda: transfer_figures(folder, chosen.megabytes),
        "buses": lambda: buses(5000),
        "fleet": lambda: jobs_per_second(chosen.jobs),
        "listings": lambda: listings(chosen.rows),
        "variants": variants,
        "vectors": lambda: similar_cells(folder, chosen),
    }
    report: dict[str, Any] = {"machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"}
    try:
        for name, run in runs.items():
            if chosen.only in (None, name):
                report[name] = run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(report)
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=2) + "\n")


def transfer_figures(folder: Path, megabytes: int) -> dict[str, float]:
    """MB/s of upload and download, and their ratio to ``cp`` of the same file."""
    from tests.benchmarks.transfer import measured

    return measured(folder, megabytes)


def similar_cells(folder: Path, chosen: argparse.Namespace) -> dict[str, float | str]:
    """The index of vectors; without real images of cells there is nothing to measure."""
    from tests.benchmarks.vectors import measured

    if not chosen.cells.is_dir():
        return {"not measured": f"there is no folder {chosen.cells}: name one with --cells"}
    return measured(folder, chosen.vectors, chosen.cells, kind=chosen.kind, at_once=chosen.at_once)


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def show(report: dict[str, Any]) -> None:
    """A table a benchmark."""
    table = Table("benchmark", "figure", "value", title=str(report["machine"]))
    for name, figures in report.items():
        if isinstance(figures, dict):
            for figure, value in figures.items():
                table.add_row(name, figure, _shown(value))
    console.print(table)
