"""A real image becomes cells on the map: watched folder, job, pipeline, index, map, likeness, pictures."""

import contextlib
import io
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.registry import installed
from tests.support.cell_tables import on_map
from tests.support.instance import Instance

pytestmark = pytest.mark.system
IMAGES = Path(os.environ.get("CYTOBUS_IMAGES", Path(__file__).parents[2].parent / "shared/data/dsb2018/images"))


def picture() -> bytes:
    """A real image of nuclei where there are any; else a drawn one."""
    if IMAGES.is_dir():
        return min(IMAGES.iterdir()).read_bytes()
    rows, columns = np.mgrid[:256, :256]
    drawn = np.full((256, 256), 12.0)
    for y, x in np.random.default_rng(5).uniform(24, 232, (14, 2)):
        drawn += 160 * (np.hypot(rows - y, columns - x) < 11)
    made = io.BytesIO()
    Image.fromarray(drawn.clip(0, 255).astype(np.uint8)).save(made, "PNG")
    return made.getvalue()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    assert "cells" in installed(), "its entry point is not known: install this project again (make install)"
    made = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS='["cells"]', CYTOBUS_PIPELINES__WORKERS="1")
    yield made
    made.close()


def test_an_image_becomes_cells_on_the_map_that_are_found_shown_and_not_lost_by_a_kill(instance: Instance) -> None:
    instance.start()
    instance.add_task("cells")
    instance.drop("plate.png", picture())
    instance.wait_for(lambda: bool(instance.jobs(state="complete")), 60, "the job did not become complete")
    (job,) = instance.jobs()
    instance.wait_for(lambda: on_map(instance) > 0, 60, "its cells did not come onto the map")

    about = instance.ask("GET", "cell-index", "/api/v1/map").json()
    assert about["Troubles"] == []
    count = about["Count"]
    models = instance.ask("GET", "cell-index", "/api/v1/cells").json()["Models"]
    assert [(one["Model"], one["Count"], one["Troubles"]) for one in models] == [("1", count, [])]
    told = instance.ask("POST", "cell-index", "/api/v1/map/selection", json={"Selection": {}, "Feature": "area"}).json()
    assert told["Count"] == count
    first = told["Ids"][0]
    found = instance.ask("GET", "cell-index", f"/api/v1/cells/similar?cell={first}&k=3").json()["Cells"]
    assert found[0]["Job"] == job["Id"]
    assert found[0]["Score"] > 0.3
    sheet = instance.ask("GET", "cell-index", f"/api/v1/map/crops?ids={first}")
    assert (sheet.status_code, sheet.headers["X-Missing"]) == (200, "0")
    crop = np.asarray(Image.open(io.BytesIO(sheet.content)))[:64, :64]
    assert crop.std() > 5
    content = io.BytesIO()
    Image.fromarray(crop).save(content, "PNG")
    alike = instance.ask("POST", "cell-index", "/api/v1/cells/similar?k=3", content=content.getvalue())
    assert (alike.status_code, alike.json()["Model"], len(alike.json()["Cells"])) == (200, "1", 3), alike.text
    assert alike.json()["Cells"][0]["Score"] == pytest.approx(1, abs=0.01), "the very cell"
    assert alike.json()["Cells"][0]["Id"] == first

    # As if it had been killed after the vectors were kept, and before the map knew of them.
    instance.kill()
    with contextlib.closing(sqlite3.connect(instance.data / "gateway.db")) as database, database:
        assert database.execute("DELETE FROM cell_source").rowcount == 1
    instance.start()
    instance.wait_for(lambda: on_map(instance) == count, 60, "its cells did not come back onto the map")
    models = instance.ask("GET", "cell-index", "/api/v1/cells").json()["Models"]
    assert [(one["Count"], one["Troubles"]) for one in models] == [(count, [])]
    found = instance.ask("GET", "cell-index", f"/api/v1/cells/similar?cell={first}&k=1000").json()["Cells"]
    assert len({one["Id"] for one in found}) == count - 1
    assert found[0]["Job"] == job["Id"]
