"""The map of cells: jobs' tables come onto it once, are shown, selected, named, and judged by gates."""

import asyncio
import csv
import io
import json
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from contracts.bus.local import LocalBus
from contracts.hosting import app_of
from contracts.identity import Role
from contracts.models import Files
from contracts.policy import may, only_reads
from gateway.cell_map.ingest import Ingest
from gateway.cell_map.monitor import Monitor
from gateway.cell_map.places import Places
from gateway.cell_map.points import Points
from gateway.cell_map.rules import histogram, spread
from gateway.cell_map.service import MapRoutes
from gateway.cell_map.store import MapStore
from gateway.cells.service import CellIndex
from gateway.cells.spaces import Spaces
from gateway.cells.store import CellStore
from gateway.files import GatewayFiles
from gateway.vectors.stored import Plan
from tests.support.cell_tables import CLASSES, complete, finished, rows_of
from tests.support.house import SECOND, opened
from tests.support.jobs import FakeJobs
from tests.support.stories import NOW
from tests.support.waiting import eventually

MAP = "/api/v1/map"
AROUND_BURR = [[6, -4], [14, -4], [14, 4], [6, 4]]


@asynccontextmanager
async def running(database, folder, jobs, *, most: int = 100_000, charts=None, **watch):
    """``charts`` and ``watch``: with a monitor of these maps."""
    files = GatewayFiles(folder)
    files.make()
    store = MapStore(database.writer, database.readers, database.clock)
    ingest, bus, points = Ingest(jobs, files, store, charts), LocalBus(), Points(most)
    places = Places(database.writer, database.readers)
    monitor = Monitor(charts, points, store, places, tick=0.05, **watch) if charts else None
    shown = MapRoutes(store, points, files, ingest, bus, monitor)
    plan, cells = Plan(unit=256), CellStore(database.writer, database.readers, database.clock)
    spaces = Spaces(folder / "own", plan)
    index = CellIndex(cells, spaces, Spaces(folder / "kept", plan), beside=shown)
    ingest.into(index.keep, shown.added, *([monitor.unsettle] if monitor else []))
    if monitor is not None:
        monitor.over(lambda model, ids: spaces.get(model).get(ids), shown.moved)
    transport = httpx.ASGITransport(app_of(index))
    async with index.running(), httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
        client.ingest = ingest
        yield client


@pytest.fixture
def files(tmp_path):
    made = GatewayFiles(tmp_path / "files")
    made.make()
    return made


@pytest.fixture
async def small(tmp_path):
    async with opened(tmp_path / "gateway.db") as database:
        yield database


@pytest.fixture
async def client(small, files):
    """With 60 cells of two jobs on the map."""
    jobs = FakeJobs(
        complete(files, "a", rows_of(30, 1, "a")),
        complete(files, "b", rows_of(30, 2, "b"), at=NOW + 60 * SECOND, host="scope-2"),
    )
    async with running(small, files.root, jobs) as client:
        client.jobs, client.files = jobs, files
        await shows(client, 60)
        yield client


async def about(client) -> dict:
    return (await client.get(MAP)).json()


async def shows(client, count: int) -> dict:
    async def there():
        told = await about(client)
        return told if told["Count"] == count else None

    return await eventually(there)


async def points(client, **asked) -> tuple[dict, dict[str, np.ndarray]]:
    answer = await client.get(f"{MAP}/points", params=asked)
    assert answer.status_code == 200, answer.text
    return unpacked(answer.content)


def unpacked(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    length = int.from_bytes(content[:4], "little")
    head = json.loads(content[4 : 4 + length])
    body = content[4 + length :]
    assert (4 + length) % 8 == 0
    assert all(one["At"] % 8 == 0 for one in head["Columns"])
    return head, {one["Name"]: np.frombuffer(body, one["Type"], one["Count"], one["At"]) for one in head["Columns"]}


async def selected(client, feature: str = "", **selection) -> dict:
    answer = await client.post(f"{MAP}/selection", json={"Selection": selection, "Feature": feature})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_cells_of_finished_jobs_come_onto_the_map_and_into_the_index(database, files):
    rows = rows_of(9, 1, "a")
    async with running(database, files.root, FakeJobs(complete(files, "a", rows))) as client:
        told = await shows(client, 9)
        head, columns = await points(client, fields="id,x,y,class,instrument,model,at,area")
        assert (told["Models"], told["Instruments"], set(told["Classes"])) == (["1"], ["scope-1"], set(CLASSES))
        assert {"area", "novelty", "probability"} <= set(told["Features"])
        assert np.array_equal(np.stack([columns["x"], columns["y"]], 1), rows.places)
        assert np.array_equal(columns["area"], rows.features["area"].astype(np.float32))
        assert [head["ClassNames"][code] for code in columns["class"]] == rows.named
        assert set(columns["at"]) == {NOW // SECOND}
        one = (await client.get(f"/api/v1/cells/{int(columns['id'][4])}")).json()
        assert (one["Job"], one["Number"], one["Class"], one["Instrument"]) == ("a", 5, "burr", "scope-1")
        found = await client.get("/api/v1/cells/similar", params={"cell": int(columns["id"][4]), "k": 2})
        assert [cell["Class"] for cell in found.json()["Cells"]] == ["burr", "burr"]


async def test_after_a_restart_the_map_is_as_it_was_and_no_table_is_read_again(small, files):
    jobs = FakeJobs(complete(files, "a", rows_of(9, 1, "a")))
    async with running(small, files.root, jobs) as client:
        await shows(client, 9)
        _, before = await points(client)
    (files.archive / "a_cells.parquet").unlink()
    async with running(small, files.root, jobs) as client:
        told = await shows(client, 9)
        _, after = await points(client)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert told["Troubles"] == []


async def test_damaged_tables_are_told_with_their_reason_and_hold_up_no_other(small, files):
    good = rows_of(6, 1, "good")
    jobs = FakeJobs(
        complete(files, "rubbish", b"no parquet at all"),
        complete(files, "cut", _bytes_of(files, rows_of(50))[:-700]),
        complete(files, "good", good),
        complete(files, "none", rows_of(0)),
    )
    async with running(small, files.root, jobs) as client:
        told = await shows(client, 6)
        await eventually(lambda: client.ingest.desk.queued + client.ingest.desk.in_hand == 0)
        told = await about(client)
    assert {one["Job"] for one in told["Troubles"]} == {"rubbish", "cut"}
    assert all(f"{one['Job']}_cells.parquet" in one["Why"] and "again" in one["Why"] for one in told["Troubles"])


def _bytes_of(files, rows) -> bytes:
    complete(files, "other", rows)
    return (files.archive / "other_cells.parquet").read_bytes()


async def test_a_table_whose_vectors_have_no_direction_or_which_lacks_a_column_is_told(small, files):
    rows = rows_of(5, 1, "zero")
    rows.embedded.vectors[3] = 0
    zero = complete(files, "zero", rows)
    path = files.archive / "thin_cells.parquet"
    complete(files, "thin", rows_of(5))
    parquet.write_table(parquet.read_table(path).drop_columns(["map_x"]), path)
    gone = complete(files, "gone", rows_of(5)).evolve(files=Files.REMOVED)
    async with running(small, files.root, FakeJobs(zero, finished(path, "thin"), gone)) as client:
        told = await eventually(lambda: _troubles(client, 3))
    assert "vector 3 has no direction" in told["zero"]
    assert "'map_x'" in told["thin"]
    assert "retention" in told["gone"]


async def _troubles(client, count: int) -> dict[str, str]:
    found = {one["Job"]: one["Why"] for one in (await about(client))["Troubles"]}
    return found if len(found) == count else {}


async def test_a_job_that_was_run_again_has_its_new_cells_on_the_map_alone(client):
    again = complete(client.files, "a", rows_of(12, 5, "a"))
    client.jobs.jobs["a"] = again.evolve(last_updated=NOW + 120 * SECOND)
    client.ingest.desk.wake()
    await shows(client, 42)


async def test_cells_that_the_index_forgets_leave_the_map_for_good(database, files):
    jobs = FakeJobs(complete(files, "a", rows_of(9, 1, "a")), complete(files, "b", rows_of(9, 2, "b")))
    async with running(database, files.root, jobs) as client:
        await shows(client, 18)
        _, columns = await points(client)
        some = [int(one) for one in columns["id"] if await _job_of(client, one) == "a"][:2]
        await client.post("/api/v1/cells/delete", json={"Ids": some})
        await client.post("/api/v1/cells/delete", json={"Job": "b"})
        assert (await about(client))["Count"] == 7
    async with running(database, files.root, jobs) as client:
        await shows(client, 7)
        _, left = await points(client)
    assert not set(some) & set(left["id"])


async def _job_of(client, cell: float) -> str:
    return (await client.get(f"/api/v1/cells/{int(cell)}")).json()["Job"]


async def test_who_waits_hears_of_new_cells_at_once_and_of_those_alone(client):
    head, _ = await points(client)
    waiting = asyncio.create_task(points(client, after=head["Last"], wait=10))
    client.jobs.jobs["c"] = complete(client.files, "c", rows_of(7, 3, "c"), at=NOW + 90 * SECOND)
    client.ingest.desk.wake()
    fresh, columns = await waiting
    assert (len(columns["id"]), fresh["More"]) == (7, False)
    nothing, columns = await points(client, after=fresh["Last"])
    assert (len(columns["id"]), nothing["Last"]) == (0, fresh["Last"])


async def test_a_map_in_chunks_is_the_whole_map(client):
    _, whole = await points(client)
    parts, after, more = [], 0, True
    while more:
        head, columns = await points(client, after=after, limit=1)
        parts.append(columns["id"])
        after, more = head["Last"], head["More"]
    assert len(parts) == 2  # cells of a job stay together
    assert np.array_equal(np.concatenate(parts), whole["id"])


async def test_the_map_is_narrowed_by_class_instrument_model_and_time(client):
    async def many(**asked) -> int:
        return len((await points(client, **asked))[1]["id"])

    assert await many(**{"class": "burr"}) == 20
    assert await many(instrument="scope-2") == 30
    assert await many(instrument="scope-2", **{"class": "burr"}) == 10
    assert await many(since=NOW + SECOND) == await many(until=NOW + SECOND) == 30
    assert await many(model="2") == 0


async def test_a_line_around_cells_selects_them_with_figures(client):
    _, columns = await points(client, fields="id,x,y,class")
    told = await selected(client, "area", Polygon=AROUND_BURR)
    inside = (columns["x"] > 6) & (columns["x"] < 14) & (np.abs(columns["y"]) < 4)
    assert told["Count"] == inside.sum() == len(told["Ids"])
    assert told["Classes"] == {"burr": told["Count"]}
    assert sum(told["Instruments"].values()) == sum(told["Histogram"]["Bars"]) == told["Count"]
    assert 100 <= told["Histogram"]["Least"] < told["Histogram"]["Median"] < told["Histogram"]["Most"] < 130


async def test_crops_of_many_cells_come_on_one_sheet_in_the_order_asked(client):
    _, columns = await points(client, fields="id,area")
    ids = columns["id"].astype(int)[::-1][:20]
    answer = await client.get(f"{MAP}/crops", params={"ids": ",".join(map(str, [*ids, 999]))})
    sheet = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert (sheet.shape, answer.headers["X-Missing"]) == ((128, 1024), "1")
    bright = [int(sheet[64 * (at // 16) + 32, 64 * (at % 16) + 32]) for at in range(20)]
    assert bright == [60 + int(area) - 100 for area in columns["area"][::-1][:20]]


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_a_selection_is_exported_with_all_that_is_known(client, form):
    answer = await client.post(f"{MAP}/export", json={"Selection": {"Classes": ["burr"]}, "Format": form})
    if form == "csv":
        lines = list(csv.DictReader(io.StringIO(answer.text)))
    else:
        lines = parquet.read_table(io.BytesIO(answer.content)).to_pylist()
    assert len(lines) == 20
    assert {line["class"] for line in lines} == {"burr"}
    assert {line["job"] for line in lines} == {"a", "b"}
    assert {"id", "cell", "map_x", "map_y", "area", "model", "at"} <= lines[0].keys()
    assert float(lines[0]["area"]) == 101


async def test_a_name_for_a_selection_is_a_label_of_a_training_set(client):
    made = await client.post(f"{MAP}/groups", json={"Name": "=spiky", "Selection": {"Polygon": AROUND_BURR}})
    assert made.status_code == 201
    count = made.json()["Count"]
    assert (await client.get(f"{MAP}/groups")).json() == [made.json()]
    table = list(csv.DictReader(io.StringIO((await client.get(f"{MAP}/groups/{made.json()['Id']}")).text)))
    labels = list(csv.DictReader(io.StringIO((await client.get(f"{MAP}/groups/labels")).text)))
    assert len(table) == len(labels) == count
    assert {line["label"] for line in labels} == {"'=spiky"}  # no formula for a spreadsheet
    assert {(line["id"], line["job"], line["cell"]) for line in table} == {
        (line["id"], line["job"], line["cell"]) for line in labels
    }
    again = await client.post(f"{MAP}/groups", json={"Name": "=spiky", "Selection": {"Ids": [int(table[0]["id"])]}})
    assert (again.json()["Id"], again.json()["Count"]) == (made.json()["Id"], 1)
    assert (await client.delete(f"{MAP}/groups/{made.json()['Id']}")).status_code == 200
    assert (await client.get(f"{MAP}/groups/{made.json()['Id']}")).status_code == 404
    nothing = await client.post(f"{MAP}/groups", json={"Name": "none", "Selection": {"Classes": ["absent"]}})
    assert nothing.status_code == 400


async def test_a_gate_judges_each_cell_that_comes_and_its_time_is_kept(client):
    rule = {"Polygon": AROUND_BURR, "Bounds": [{"Feature": "area", "Least": 110}], "Action": "reject"}
    made = (await client.post(f"{MAP}/gates", json={"Name": "no burr", "Rule": rule})).json()
    other = (
        await client.post(f"{MAP}/gates", json={"Name": "other map", "Rule": {"Model": "2", "Classes": ["burr"]}})
    ).json()
    rows = rows_of(30, 4, "c")
    client.jobs.jobs["c"] = complete(client.files, "c", rows, at=NOW + 90 * SECOND)
    client.ingest.desk.wake()
    await shows(client, 90)
    (decision,) = (await client.get(f"{MAP}/gates/{made['Id']}/decisions")).json()
    x, y = rows.places.T
    inside = (x > 6) & (x < 14) & (np.abs(y) < 4) & (rows.features["area"] >= 110)
    assert decision["RejectedCells"] == rows.features["id"][inside].tolist() != []
    assert (decision["Job"], decision["Accepted"], decision["Rejected"]) == ("c", 30 - inside.sum(), inside.sum())
    gates = {one["Name"]: one for one in (await client.get(f"{MAP}/gates")).json()}
    assert gates["no burr"]["Accepted"] == 30 - inside.sum()
    assert gates["no burr"]["Microseconds"] > 0
    assert gates["other map"]["Accepted"] + gates["other map"]["Rejected"] == 0
    assert (await client.delete(f"{MAP}/gates/{made['Id']}")).status_code == 200
    assert (await client.get(f"{MAP}/gates/{made['Id']}/decisions")).status_code == 404
    assert (await client.get(f"{MAP}/gates/{other['Id']}/decisions")).json() == []


@pytest.mark.parametrize(("path", "words"), [
    ("points?fields=colour", "colour"), ("points?after=-1", "after"), ("points?wait=11", "wait"), ("points?x=1", "'x'"),
    ("crops?ids=a", "ids"), ("crops", "ids"), ("crops?ids=" + ",".join(["1"] * 501), "500"),
])  # fmt: skip
async def test_what_cannot_be_asked_is_refused_by_its_name(client, path, words):
    answer = await client.get(f"{MAP}/{path}")
    assert (answer.status_code, words in answer.text) == (400, True), answer.text


@given(st.lists(st.floats(width=32), max_size=200))
def test_a_histogram_counts_every_number_once_however_far_off(values):
    told = histogram(np.array(values, np.float32))
    assert sum(told["Bars"]) == told["Known"] == np.isfinite(np.array(values, np.float32)).sum()
    assert told["Least"] <= told["Low"] <= told["High"] <= told["Most"]


def test_a_few_strays_do_not_squeeze_a_histogram_into_one_bar():
    told = histogram(np.concatenate([np.linspace(0, 10, 1000), [1e6]]).astype(np.float32))
    assert max(told["Bars"]) < 100
    assert told["Most"] == 1e6


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(0, 200))
def test_what_is_shown_of_a_selection_is_spread_over_few_tables_that_have_enough(sizes, many):
    sequence = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    found = spread(sequence, many)
    assert len(found) == min(many, len(sequence)) == len(np.unique(found))
    if many < len(sequence) and sum(sorted(sizes)[:24]) >= many:
        assert len(np.unique(sequence[found])) <= 24


async def test_beyond_its_bound_the_map_keeps_the_newest_cells():
    shown = Points(5000)
    for sequence in range(1, 41):
        shown.add(source(sequence, 500))
    assert 5000 - 500 <= len(shown) <= 5000 + 4096
    columns, last, _ = shown.chunk(("id", "area"), _all(), 0, 10**6)
    assert (last, columns["id"][-1]) == (40, 40_499)
    assert np.array_equal(columns["area"], columns["id"].astype(np.float32))


def source(sequence: int, count: int):
    from gateway.cell_map.points import Source
    from gateway.cell_map.rules import KEPT

    cells = np.zeros(count, KEPT)
    cells["id"] = 1000 * sequence + np.arange(count)
    features = cells["id"].astype(np.float32)[None]
    return Source(sequence, f"job-{sequence}", "1", "scope", NOW, ("x",), ("area",), cells, features)


def _all():
    from gateway.cell_map.points import Wanted

    return Wanted()


def test_questions_are_not_noted_as_changes_but_exports_are():
    assert only_reads("cell-index", "POST", f"{MAP}/selection")
    assert not only_reads("cell-index", "POST", f"{MAP}/export")
    assert not only_reads("job-repository", "POST", f"{MAP}/selection")


def test_people_look_and_export_operators_name_and_gate():
    def allowed(verb: str, path: str) -> set[Role]:
        return {role for role in Role if may(role, "cell-index", verb, f"{MAP}{path}")} - {Role.SERVICE}

    people, operators = {Role.VIEWER, Role.OPERATOR, Role.ADMIN}, {Role.OPERATOR, Role.ADMIN}
    for verb, path in (("GET", ""), ("GET", "/points"), ("GET", "/crops"), ("POST", "/selection"), ("POST", "/export")):
        assert allowed(verb, path) == people
    for verb, path in (("POST", "/groups"), ("DELETE", "/groups/7"), ("POST", "/gates"), ("DELETE", "/gates/7")):
        assert allowed(verb, path) == operators
