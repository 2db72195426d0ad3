"""The map of cells: frames a second while cells come, seconds from the lasso to the pictures, what a gate takes.

``python -m tests.benchmarks.map --cells 100000 --rate 200 --seconds 20``: a whole cytobus, cells put on its map as
another gateway of the same database would put them, and a real browser, which draws by the processor where there is no
graphics card (``--flags`` for others). Needs Chromium.
"""

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Shown

from contracts.gates import Bound, Rule, decide
from gateway.cell_map.ingest import decisions
from gateway.cell_map.points import Source
from gateway.cell_map.rules import KEPT
from gateway.cell_map.store import MapStore
from gateway.cell_map.table import Table, read_table
from gateway.database import open_engine
from gateway.reader import Reader
from gateway.writer import Writer
from pipelines.embedding.table import to_arrow, write_parquet
from tests.support.cell_tables import on_map, rows_of
from tests.support.chromium import Visit, chromium
from tests.support.instance import Instance

SOFTWARE = "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
IN_A_JOB = 500
CORNERS = [(np.cos(at) * 3.0, np.sin(at) * 3.0) for at in np.linspace(0, 2 * np.pi, 60, endpoint=False)]
# Moves the map as a hand would, a little with every frame that the browser is ready for.
DRIVEN = """seconds => new Promise(done => {
  const stage = document.getElementById('stage'), canvas = document.getElementById('points')
  const first = Number(canvas.dataset.frames), begun = performance.now(), gaps = [], took = []
  let before = begun
  const step = now => {
    gaps.push(now - before); before = now; took.push(Number(canvas.dataset.took))
    const turned = { deltaY: 12 * Math.sin(now / 300), clientX: 500, clientY: 500, cancelable: true }
    stage.dispatchEvent(new WheelEvent('wheel', turned))
    if (now - begun < 1000 * seconds) requestAnimationFrame(step)
    else done({ frames: (Number(canvas.dataset.frames) - first) / (performance.now() - begun) * 1000, gaps, took })
  }
  requestAnimationFrame(step) })"""


# As often as the browser is ready for a frame in which little has changed: what the machine allows just now.
IDLE = """seconds => new Promise(done => {
  const begun = performance.now(), told = document.querySelector('h1')
  let frames = 0
  const step = now => {
    told.style.opacity = 0.9 + 0.1 * (++frames % 2)
    if (now - begun < 1000 * seconds) requestAnimationFrame(step); else done(frames / (now - begun) * 1000)
  }
  requestAnimationFrame(step) })"""


class Filling:
    """Cells put on the map of a cytobus, beside it, on its own database."""

    def __init__(self, data: Path) -> None:
        engine = open_engine(f"sqlite:///{data / 'gateway.db'}")
        self._writer = Writer(engine)
        self._writer.start()
        self._store = MapStore(self._writer, Reader(engine), time.time_ns)
        self._engine, self._archive, self._next, self._jobs = engine, data / "gateway" / "archive", 10**6, 0

    async def put(self, count: int) -> None:
        """One job's cells, with a table in the archive that has their pictures."""
        self._jobs += 1
        job = f"bench-{self._jobs}"
        rows = rows_of(count, self._jobs, job)
        path = self._archive / f"{job}_cells.parquet"
        write_parquet(path, to_arrow(rows))
        cells = np.zeros(count, KEPT)
        cells["id"] = self._next + np.arange(count)
        cells["number"], cells["code"] = rows.features["id"], np.arange(count) % 3
        cells["x"], cells["y"] = rows.places.T
        self._next += count
        names = tuple(name for name in rows.features if name != "id")
        features = np.stack([rows.features[name].astype(np.float32) for name in names])
        source = Source(0, job, "1", "scope-1", time.time_ns(), rows.classes, names, cells, features)
        await self._store.put(source, job, f"archive/{path.name}", [])

    def close(self) -> None:
        """Nothing more is put."""
        self._writer.stop()
        self._engine.dispose()


def gate_figures() -> dict[str, float]:
    """Microseconds a cell: the bare decision with a line of 60 corners and a bound, and all that a job's gate costs."""
    rule = Rule(Polygon=tuple(CORNERS), Classes=("normal", "burr"), Bounds=(Bound(Feature="area", Least=120),))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a_cells.parquet"
        write_parquet(path, to_arrow(rows_of(5000)))
        table = read_table(path)
    assert isinstance(table, Table)
    alone = []
    for at in range(5000):
        x, y = float(table.x[at]), float(table.y[at])
        begun = time.perf_counter_ns()
        decide(rule, "1", x, y, table.classes[table.codes[at]], {"area": 150.0})
        alone.append((time.perf_counter_ns() - begun) / 1000)
    (decided,) = decisions({"gate": rule}, table)
    return {
        "gate, a decision, median, µs": statistics.median(alone),
        "gate, a decision, p99, µs": float(np.percentile(alone, 99)),
        "gate, in a job, µs a cell": decided.nanoseconds / 1000 / len(table.numbers),
    }


def page_figures(cells: int, rate: int, seconds: float, flags: list[str]) -> dict[str, float]:
    """With so many cells on the map, and so many more a second."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="cytobus-bench-") as folder:
        instance = Instance(Path(folder) / "data", CYTOBUS_PIPELINES__TOPICS='["only-file"]')
        instance.start()
        filling = Filling(instance.data)
        try:
            for _ in range(0, cells, IN_A_JOB):
                asyncio.run(filling.put(IN_A_JOB))
            instance.wait_for(lambda: on_map(instance) >= cells, 300, "the cells are not on the map")
            with chromium(flags) as browser:
                visit = Visit(browser, instance.url("dashboard"))
                begun = time.perf_counter()
                page = visit.go("/map")
                page.locator("#map[data-loaded]").wait_for()
                figures["from the address to the map, s"] = time.perf_counter() - begun
                figures |= _still_and_live(page, filling, rate, seconds)
                figures |= _lassoed(page)
                visit.close()
        finally:
            filling.close()
            instance.close()
    return figures


def _still_and_live(page: Any, filling: Filling, rate: int, seconds: float) -> dict[str, float]:
    allowed = [page.evaluate(IDLE, seconds / 4)]
    still = page.evaluate(DRIVEN, seconds)
    allowed.append(page.evaluate(IDLE, seconds / 4))
    before = int(page.locator("#map").get_attribute("data-count"))
    stop = threading.Event()

    def arriving() -> None:
        due = time.monotonic()
        while not stop.is_set():
            asyncio.run(filling.put(max(1, rate // 2)))
            due += 0.5
            stop.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=arriving)
    thread.start()
    begun = time.perf_counter()
    live = page.evaluate(DRIVEN, seconds)
    stop.set()
    thread.join()
    after = int(page.locator("#map").get_attribute("data-count"))
    return {
        "frames a second of this browser, nothing drawn": statistics.mean(allowed),
        "frames a second, nothing comes": still["frames"],
        "frame, drawn in, median, ms": statistics.median(live["took"]),
        "frame, drawn in, least, ms": min(live["took"]),
        "frames a second, cells come": live["frames"],
        "frame, after the one before, p95, ms": float(np.percentile(live["gaps"], 95)),
        "cells that came, a second": (after - before) / (time.perf_counter() - begun),
    }


def _lassoed(page: Any, times: int = 5) -> dict[str, float]:
    taken = []
    page.locator("#fit").click()
    page.locator('button[data-tool="lasso"]').click()
    box = page.locator("#stage").bounding_box()
    for number in range(times):
        part = 0.18 + 0.06 * number
        ring = [(0.5 + part * np.cos(at), 0.5 + part * np.sin(at)) for at in np.linspace(0, 6.2, 40)]
        places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in ring]
        page.evaluate("delete document.getElementById('map').dataset.took")
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()
        page.locator("#map[data-took]").wait_for()
        taken.append(int(page.locator("#map").get_attribute("data-took")) / 1000)
    return {"from the lasso to the pictures, median, s": statistics.median(taken), "the slowest, s": max(taken)}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--cells", type=int, default=100_000)
    asked.add_argument("--rate", type=int, default=200, help="cells a second")
    asked.add_argument("--seconds", type=float, default=20.0)
    asked.add_argument("--flags", default=SOFTWARE, help="of Chromium")
    said = asked.parse_args()
    shown = Shown("figure", "value", title=f"The map with {said.cells:,} cells")
    for name, value in (gate_figures() | page_figures(said.cells, said.rate, said.seconds, said.flags.split())).items():
        shown.add_row(name, f"{value:.3g}")
    Console(width=110).print(shown)


if __name__ == "__main__":
    main()
