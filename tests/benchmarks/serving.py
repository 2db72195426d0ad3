"""``python -m tests.benchmarks.serving``: nuclei through the whole system, over what the place of its model can do.

Three figures for each place, taken in turns in one run, with as many processes: its model alone on planes that lie
ready in memory; the pipeline's own function on files (decode, normalise, infer, flood, measure, write); and the whole
system, from the first file dropped to the last result back. Beside images a second stand processor seconds an image,
of all processes that take part: their ratio is what is possible at most, and hardly changes with what else the machine
does.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from pipelines.backends.factory import CHOSEN
from pipelines.backends.repository import write_config
from pipelines.workers import one_thread
from tests.support.instance import Instance

DATA = Path(
    os.environ.get("CYTOBUS_IMAGES", Path(__file__).parents[2].parent / "shared" / "data" / "dsb2018" / "images")
)
WARM = 6
"""Images of each size that are processed before the clock runs."""
Figure = tuple[float, float]
"""Images a second, processor seconds an image."""


def processor_seconds(*roots: int) -> float:
    """What these processes and all below them have taken so far."""
    spent = 0.0
    for root in roots:
        process = psutil.Process(root)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                spent += times.user + times.system
    return spent


def chosen_images(folder: Path, small: int, large: int, side: int) -> dict[str, list[Path]]:
    """By kind: real images of 256 x 256 pixels where they are at hand, and rendered fields that are tiled."""
    from tests.benchmarks.figures import rendered

    images = {"large": rendered(folder / "large", large, side)}
    real = [path for path in sorted(DATA.glob("*.png")) if _side(path) == (256, 256)] if DATA.is_dir() else []
    images["small"] = real[:small] or rendered(folder / "small", small, 256)
    return images


def _side(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


@contextmanager
def places(folder: Path, processes: int) -> Iterator[dict[str, tuple[str, tuple[int, ...]]]]:
    """Addresses with the process of the server, if there is one: in process, and a real Triton with an instance of the
    model for each process."""
    from pipelines.nuclei.serving import export
    from tests.support.triton import TritonServer

    repository = folder / "repository"
    for model in export(repository, "triton-python"):
        write_config(repository, replace(model, instances=processes))
    server = TritonServer(repository, ("nuclei",))
    try:
        yield {"openvino": ("openvino", ()), "triton": (server.address("grpc"), (server.pid,))}
    finally:
        server.close()


def in_processes(
    work: Callable[..., None], address: str, images: list[Path], processes: int, server: tuple[int, ...]
) -> Figure:
    """Some work done by so many processes, each on its share of the images."""
    context = multiprocessing.get_context("spawn")
    ready, go, spent = context.Barrier(processes + 1), context.Barrier(processes + 1), context.Value("d", 0.0)
    settings = one_thread() | {"CYTOBUS_INFERENCE_THREADS": "1", CHOSEN: json.dumps({"nuclei": address})}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        running = [
            context.Process(target=work, args=(address, images[start::processes], ready, go, spent))
            for start in range(processes)
        ]
        for process in running:
            process.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    ready.wait(300)
    started, before_it = time.perf_counter(), processor_seconds(*server)
    go.wait()
    for process in running:
        process.join()
    assert not any(process.exitcode for process in running), "a process has failed"
    seconds = spent.value + processor_seconds(*server) - before_it
    return len(images) / (time.perf_counter() - started), seconds / len(images)


@contextmanager
def counted(spent: Any) -> Iterator[None]:
    """Adds what this process takes meanwhile."""
    before = time.process_time()
    yield
    with spent.get_lock():
        spent.value += time.process_time() - before


def model_alone(address: str, images: list[Path], ready: Any, go: Any, spent: Any) -> None:
    """Only what the model is asked for an image, and its answer."""
    from pipelines.backends.address import parsed
    from pipelines.images import read_image
    from pipelines.nuclei.model import Model
    from pipelines.nuclei.normalise import normalise
    from pipelines.nuclei.tiling import tiled

    model = Model(address=parsed(address))
    planes = [normalise(read_image(image).pixels) for image in images]
    for plane in planes[:2]:
        tiled(plane, model)
    ready.wait()
    go.wait()
    with counted(spent):
        for plane in planes:
            tiled(plane, model)
    model.close()


def pipeline_alone(address: str, images: list[Path], ready: Any, go: Any, spent: Any) -> None:
    """The plug-in's own function."""
    from pipelines.nuclei.pipeline import Nuclei
    from pipelines.plugin import Work

    nuclei = Nuclei()
    with tempfile.TemporaryDirectory(prefix="cytobus-alone-") as folder:

        def run(image: Path, name: str) -> None:
            (place := Path(folder, name)).mkdir()
            nuclei.run(Work(image, place))

        for number, image in enumerate(images[:2]):
            run(image, f"warm-{number}")
        ready.wait()
        go.wait()
        with counted(spent):
            for number, image in enumerate(images):
                run(image, str(number))


class System:
    """A whole cytobus with the model at one place."""

    def __init__(self, folder: Path, address: str, processes: int, server: tuple[int, ...]) -> None:
        self._server = server
        self.instance = Instance(
            folder,
            CYTOBUS_PIPELINES__TOPICS='["nuclei"]',
            CYTOBUS_PIPELINES__WORKERS=str(processes),
            CYTOBUS_PIPELINES__BACKENDS=json.dumps({"nuclei": address}),
        )
        self.instance.start()
        self.instance.add_task("nuclei")
        self._done = 0

    def through(self, images: list[Path], name: str) -> Figure:
        """From the first one dropped to the last result back."""
        contents = [(f"{name}-{number}{image.suffix}", image.read_bytes()) for number, image in enumerate(images)]
        self._done += len(contents)
        started, before = time.perf_counter(), self._spent()
        for one, content in contents:
            self.instance.drop(one, content)
        # Not by asking the services, which would cost them time.
        self.instance.wait_for(
            lambda: len(list(self.instance.output.glob("*_cells.csv"))) == self._done, 900, "not all images came back"
        )
        return len(images) / (time.perf_counter() - started), (self._spent() - before) / len(images)

    def _spent(self) -> float:
        return processor_seconds(self.instance.pid, *self._server)


def measured(folder: Path, small: int, large: int, side: int, rounds: int, processes: int) -> dict[str, list[Figure]]:
    """By place, kind of image and what was run, a figure a round."""
    images = chosen_images(folder, small, large, side)
    figures: dict[str, list[Figure]] = {}
    with places(folder, processes) as where:
        for number in range(rounds):
            for place, (address, server) in where.items():
                system = System(folder / f"{place}-{number}", address, processes, server)
                try:
                    for kind, files in images.items():
                        system.through(files[:WARM], f"warm-{kind}")
                        runs = {
                            "whole system": lambda: system.through(files, kind),  # noqa: B023
                            "pipeline alone": lambda: in_processes(pipeline_alone, address, files, processes, server),  # noqa: B023
                            "model alone": lambda: in_processes(model_alone, address, files, processes, server),  # noqa: B023
                        }
                        for what in sorted(runs, reverse=bool(number % 2)):
                            figures.setdefault(f"{place}, {kind}: {what}", []).append(runs[what]())
                finally:
                    system.instance.close()
    return figures


def shown(figures: dict[str, list[Figure]]) -> Table:
    """Medians, their range, and the ratios, each taken within its round."""
    table = Table("place, images", "run", "images/s", "range", "system / this", "processor s/image", "this / system")
    for name, taken in figures.items():
        where, _, what = name.partition(": ")
        system = figures[f"{where}: whole system"]
        rates, costs = ([one[at] for one in taken] for at in (0, 1))
        ratio = statistics.median(one[0] / other[0] for one, other in zip(system, taken, strict=True))
        cost = statistics.median(other[1] / one[1] for one, other in zip(system, taken, strict=True))
        table.add_row(
            where,
            what,
            f"{statistics.median(rates):.2f}",
            f"{min(rates):.2f} to {max(rates):.2f}",
            f"{ratio:.2f}",
            f"{statistics.median(costs):.3f}",
            f"{cost:.2f}",
        )
    return table


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("--small", type=int, default=60, help="images of 256 x 256 pixels")
    parser.add_argument("--large", type=int, default=8, help="images that are tiled")
    parser.add_argument("--side", type=int, default=1536, help="of these, pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cytobus-serving-"))
    try:
        figures = measured(folder, chosen.small, chosen.large, chosen.side, chosen.rounds, chosen.processes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Console(width=120).print(shown(figures))
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
