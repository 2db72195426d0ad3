"""The map under watch: cells fall off it, it is fitted anew, and all cells move; a crash in between loses nothing."""

import numpy as np
import pytest

from contracts.errors import Conflict, Unavailable
from gateway.cell_map import monitor
from gateway.cell_map.charts import Charted, Drift
from gateway.files import GatewayFiles
from tests.gateway.test_cell_map import AROUND_BURR, MAP, about, points, running, shows
from tests.support.cell_tables import complete, rows_of
from tests.support.house import opened
from tests.support.jobs import FakeJobs
from tests.support.waiting import eventually

HEALTH, READY = "/api/v1/health", "/api/v1/ready"


class Maps:
    """A map for tests: places are the first two numbers of a vector, a hundred further for each version; cells are off
    version 0."""

    def __init__(self, version: int = 0, *, broken: str = "") -> None:
        self.versions, self.broken, self.refits, self.left = version, broken, 0, 10**9

    def version(self, model):
        return self.versions

    def placed(self, model, vectors):
        if not self.versions:
            return None
        self.left -= 1
        if self.left < 0:
            raise Unavailable("no map can be read now")
        return Charted(self.versions, vectors[:, :2] + 100 * self.versions, np.full(len(vectors), 0.25, np.float32))

    def drift(self, model, vectors):
        return Drift(len(vectors) if not self.versions else 0, len(vectors), not self.versions)

    async def refit(self, model, vectors):
        self.refits += 1
        if self.broken:
            raise Conflict(self.broken)
        self.versions += 1


@pytest.fixture
def files(tmp_path):
    made = GatewayFiles(tmp_path / "files")
    made.make()
    return made


@pytest.fixture
async def small(tmp_path):
    async with opened(tmp_path / "gateway.db") as database:
        yield database


async def drifts(client, **wanted) -> dict:
    """What is said of the map of model 1, once it is said so."""

    async def there():
        told = await about(client)
        found = next((one for one in told["Drift"] if one["Model"] == "1"), {})
        return told | found if {name: found.get(name) for name in wanted} == wanted else None

    return await eventually(there)


async def xs(client) -> np.ndarray:
    return (await points(client, fields="x"))[1]["x"]


async def test_a_map_that_no_longer_fits_is_fitted_anew_and_all_cells_move(database, files):
    jobs, maps = FakeJobs(*(complete(files, name, rows_of(30, at, name)) for at, name in enumerate("abc"))), Maps()
    async with running(database, files.root, jobs, charts=maps, every=60) as client:
        told = await drifts(client, Drifted=False)
        assert (told["Far"], told["Maps"], maps.refits) == (0, {"1": 1}, 1)
        await shows(client, 90)

        async def moved():
            return (await xs(client) > 98).all() or None

        await eventually(moved)
        told, columns = await points(client, fields="novelty")
        assert (columns["novelty"] == 0.25).all()
        assert (await client.get(HEALTH)).json()["troubles"] == {}

        jobs.jobs["d"] = complete(files, "d", rows_of(30, 9, "d"))
        await client.ingest.wake(None)
        await shows(client, 120)
        assert (await xs(client) > 98).all(), "a new cell lies where the new map has it"
        assert maps.refits == 1
        for name, rule in (("drawn", {"Polygon": AROUND_BURR}), ("named", {"Classes": ["burr"]})):
            await client.post(f"{MAP}/gates", json={"Name": name, "Rule": rule})
        gates = {one["Name"]: one["Map"] for one in (await client.get(f"{MAP}/gates")).json()}
        assert gates == {"drawn": 1, "named": 0}
    async with running(database, files.root, FakeJobs(), charts=maps, every=60) as client:
        await shows(client, 120)
        assert (await xs(client) > 98).all()


@pytest.mark.parametrize("way", ["off", "gate", "failed"])
async def test_a_map_that_stays_though_it_no_longer_fits_is_told_with_the_reason(small, files, way):
    jobs = FakeJobs(complete(files, "a", rows_of(30, 1, "a")))
    maps = Maps(broken="umap is not installed" if way == "failed" else "")
    async with running(small, files.root, jobs, charts=maps, every=40, refit=way != "off") as client:
        await shows(client, 30)
        if way == "gate":
            made = await client.post(
                f"{MAP}/gates", json={"Name": "burr", "Rule": {"Polygon": AROUND_BURR, "Model": "1"}}
            )
            assert made.status_code == 201, made.text
        jobs.jobs["b"] = complete(files, "b", rows_of(30, 2, "b"))
        await client.ingest.wake(None)
        told = await drifts(client, Drifted=True)
        wanted = {
            "off": "gateway.cells.refit is off",
            "gate": "the gate burr is drawn on it",
            "failed": "not installed",
        }

        async def said():
            health = (await client.get(HEALTH)).json()
            return health if wanted[way] in health["troubles"].get("map-drift", "") else None

        assert "60 of the last 60 cells of model 1" in (await eventually(said))["troubles"]["map-drift"]
        assert (await client.get(READY)).status_code == 200, "all work is done"
        assert wanted[way] in (await about(client))["Drift"][0]["Why"]
        assert "cytobus_cells_off_map 1.0" in (await client.get("/metrics")).text
        assert (maps.refits, told["Maps"]) == (way == "failed", {})
        assert (await xs(client) < 50).all()


async def test_moving_goes_on_after_a_crash_in_the_middle_of_it(database, files, monkeypatch):
    monkeypatch.setattr(monitor, "AT_ONCE", 1)
    jobs = FakeJobs(*(complete(files, name, rows_of(30, at, name)) for at, name in enumerate("abc")))
    async with running(database, files.root, jobs, charts=Maps(), every=0) as client:
        await shows(client, 90)
    maps = Maps(1)
    maps.left = 2
    async with running(database, files.root, FakeJobs(), charts=maps, every=0) as client:

        async def moved():
            return np.sum(await xs(client) > 98) == 60 or None

        async def told():
            return "no map can be read" in (await client.get(HEALTH)).json()["troubles"].get("map-drift", "")

        await eventually(moved)
        await eventually(told)
        assert (await about(client))["Maps"] == {}
    maps = Maps(1)
    async with running(database, files.root, FakeJobs(), charts=maps, every=0) as client:

        async def settled():
            return (await about(client))["Maps"] == {"1": 1} or None

        await eventually(settled)
        await shows(client, 90)
        assert (await xs(client) > 98).all()
        assert maps.left == 10**9 - 1, "what lay right was left alone"


async def test_a_cell_that_is_deleted_while_others_move_stays_gone(small, files):
    jobs = FakeJobs(complete(files, "a", rows_of(30, 1, "a")))
    async with running(small, files.root, jobs, charts=Maps(), every=0) as client:
        await shows(client, 30)
        gone = int((await points(client, fields="id"))[1]["id"][4])
        answer = await client.post("/api/v1/cells/delete", json={"Ids": [gone]})
        assert answer.json() == {"Deleted": 1}
    async with running(small, files.root, FakeJobs(), charts=Maps(1), every=0) as client:
        await shows(client, 29)

        async def moved():
            return (await xs(client) > 98).all() or None

        await eventually(moved)
        assert gone not in (await points(client, fields="id"))[1]["id"]
