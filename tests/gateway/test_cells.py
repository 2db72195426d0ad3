"""The cell index: cells are kept with what is said of them, found by likeness and filters, and forgotten."""

import base64
import json
import sys
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest

from contracts.errors import BadRequest
from contracts.hosting import app_of
from contracts.identity import Role
from contracts.policy import may
from contracts.room import Room
from gateway.cells.service import CellIndex, Embedded, Translated
from gateway.cells.spaces import Spaces
from gateway.cells.store import CellStore
from gateway.vectors.stored import Plan
from tests.support.cells import vectors
from tests.support.house import opened
from tests.support.tanks import Tank

CELLS, SIMILAR = "/api/v1/cells", "/api/v1/cells/similar"
ONE, TWO = "cells/1", "cells/2"


@asynccontextmanager
async def client_of(database, folder, **options):
    store = CellStore(database.writer, database.readers, database.clock)
    plan = Plan(unit=256)
    index = CellIndex(store, Spaces(folder / "own", plan), Spaces(folder / "kept", plan), **options)
    transport = httpx.ASGITransport(app_of(index))
    async with index.running(), httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
        yield client


@pytest.fixture
async def client(database, tmp_path):
    async with client_of(database, tmp_path / "vectors") as client:
        yield client


@pytest.fixture
async def small(tmp_path):
    async with opened(tmp_path / "gateway.db") as database:
        yield database


def text(array: np.ndarray) -> str:
    return base64.urlsafe_b64encode(array.astype("<f4").tobytes()).decode()


def told(job: str, kept: np.ndarray, *, model: str = ONE, classes=("normal",), first: int = 1, **more) -> dict:
    cells = [
        {"Number": first + number, "Class": classes[number % len(classes)], "X": number + 0.5, "Y": 2.0 * number}
        for number in range(len(kept))
    ]
    return {"Model": model, "Job": job, "Cells": cells, "Vectors": text(kept), **more}


async def added(client, job: str, kept: np.ndarray, **more) -> list[int]:
    answer = await client.post(CELLS, json=told(job, kept, **more))
    assert answer.status_code == 201, answer.text
    return answer.json()["Ids"]


async def similar(client, **query) -> list[dict]:
    answer = await client.get(SIMILAR, params={name.rstrip("_"): value for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()["Cells"]


async def test_a_cell_is_found_with_all_that_is_said_of_it(client):
    kept = vectors(20)
    ids = await added(client, "job-a", kept, classes=("normal", "burr"), Instrument="scope-1", At=77)
    found = await similar(client, vector=text(kept[3]), model=ONE, k=3)
    assert found[0] | {"Score": 1.0} == {
        "Id": ids[3], "Job": "job-a", "Number": 4, "Model": ONE, "Instrument": "scope-1", "At": 77, "Class": "burr",
        "X": 3.5, "Y": 6.0, "Score": 1.0,
    }  # fmt: skip
    assert found[0]["Score"] > 0.999
    assert len(found) == 3
    one = {name: value for name, value in found[0].items() if name != "Score"}
    assert (await client.get(f"{CELLS}/{ids[3]}")).json() == one


async def test_cells_like_a_cell_are_others_than_itself(client):
    kept = vectors(10)
    ids = await added(client, "job-a", np.concatenate([kept, kept + 1e-3]))
    found = await similar(client, cell=ids[2], k=4)
    assert (found[0]["Id"], len(found)) == (ids[12], 4)
    assert ids[2] not in [one["Id"] for one in found]


async def test_filters_narrow_to_instruments_jobs_classes_and_times(client):
    kept = vectors(90)
    for number, job in enumerate(("a", "b", "c")):
        some = kept[30 * number : 30 * number + 30]
        more = {"Instrument": f"scope-{number % 2}", "At": 100 * number + 5}
        await added(client, job, some, classes=("normal", "burr", "target"), **more)
    about = {"vector": text(vectors(1, seed=4)[0]), "model": ONE, "k": 90}

    async def jobs(**only) -> tuple[set[str], set[str], int]:
        found = await similar(client, **about, **only)
        return {one["Job"] for one in found}, {one["Class"] for one in found}, len(found)

    every = {"normal", "burr", "target"}
    assert await jobs() == ({"a", "b", "c"}, every, 90)
    assert await jobs(instrument="scope-1") == ({"b"}, every, 30)
    assert await jobs(job=["a", "c"]) == ({"a", "c"}, every, 60)
    assert await jobs(class_=["burr", "target"]) == ({"a", "b", "c"}, {"burr", "target"}, 60)
    assert await jobs(since=105) == ({"b", "c"}, every, 60)
    assert await jobs(since=105, until=205) == ({"b"}, every, 30)
    assert await jobs(class_="burr", instrument="scope-0", until=50) == ({"a"}, {"burr"}, 10)
    assert await jobs(class_="nobody") == (set(), set(), 0)
    await added(client, "d", vectors(6, seed=8), classes=("burr",), Instrument="scope-1")
    assert await jobs(instrument="scope-1") == ({"b", "d"}, every, 36), "what came since is in the filter too"


async def test_a_cell_that_is_told_again_keeps_its_id_and_is_what_was_told_last(client):
    kept = vectors(5)
    ids = await added(client, "job-a", kept)
    assert [one["Class"] for one in await similar(client, cell=ids[0], k=9, class_="normal")] == ["normal"] * 4
    again = await added(client, "job-a", np.concatenate([-kept[:1], vectors(1, seed=6)]), classes=("burr",), first=5)
    assert again[0] == ids[4]
    assert again[1] not in ids
    found = await similar(client, vector=text(-kept[0]), model=ONE, k=1)
    assert (found[0]["Id"], found[0]["Class"]) == (ids[4], "burr")
    assert [one["Class"] for one in await similar(client, cell=ids[0], k=9, class_="normal")] == ["normal"] * 3
    (about,) = (await client.get(CELLS)).json()["Models"]
    assert (about["Model"], about["Count"], about["Dimension"], about["Troubles"]) == (ONE, 6, 32, [])


async def test_what_was_forgotten_is_not_found_any_more(client):
    kept = vectors(12)
    ids = await added(client, "job-a", kept[:6]) + await added(client, "job-b", kept[6:])
    assert (await client.post(f"{CELLS}/delete", json={"Ids": [ids[0], ids[7], 10**9]})).json() == {"Deleted": 2}
    assert (await client.get(f"{CELLS}/{ids[0]}")).status_code == 404
    assert (await client.get(SIMILAR, params={"cell": ids[0]})).status_code == 404
    assert (await client.post(f"{CELLS}/delete", json={"Job": "job-b"})).json() == {"Deleted": 5}
    found = await similar(client, vector=text(kept[7]), model=ONE, k=12)
    assert sorted(one["Id"] for one in found) == ids[1:6]
    assert await added(client, "job-b", kept[6:]) > [max(ids)], "ids are never given twice"


async def test_versions_of_a_model_are_never_mixed_unless_one_is_mapped_to_the_other(small, tmp_path):
    turned = np.linalg.qr(np.random.default_rng(3).standard_normal((32, 32)))[0].astype(np.float32)

    def mapped(some, source, target):
        return Translated(some @ turned, "a turn", 0.97) if (source, target) == (ONE, TWO) else None

    kept = vectors(30)
    async with client_of(small, tmp_path / "vectors", mapped=mapped) as client:
        first = await added(client, "job-a", kept[:15])
        second = await added(client, "job-a", kept[15:] @ turned, model=TWO)
        own = await client.get(SIMILAR, params={"cell": first[0], "k": 50})
        assert {one["Model"] for one in own.json()["Cells"]} == {ONE}
        there = await client.get(SIMILAR, params={"vector": text(kept[20]), "model": ONE, "among": TWO, "k": 1})
        assert (there.json()["Model"], there.json()["Cells"][0]["Id"]) == (TWO, second[5])
        assert (there.json()["Through"], there.json()["Recall"]) == ("a turn", 0.97)
        assert (own.json()["Through"], own.json()["Recall"]) == ("", None)
        back = await client.get(SIMILAR, params={"cell": second[0], "among": ONE})
        assert (back.status_code, "no mapping from cells/2 to cells/1" in back.text) == (409, True)
        nothing = await client.get(SIMILAR, params={"cell": second[0], "among": "cells/9"})
        assert (nothing.status_code, "add some, or correct the name" in nothing.text) == (404, True)


async def test_by_an_image_where_something_makes_a_vector_of_it(small, tmp_path):
    kept, asked = vectors(10), []

    async def embed(content: bytes, model: str) -> Embedded:
        asked.append(model)
        if not content.isdigit():
            raise BadRequest("this is no image")
        return Embedded(ONE, kept[int(content)])

    async with client_of(small, tmp_path / "vectors", embed=embed) as client:
        ids = await added(client, "job-a", kept)
        found = await client.post(SIMILAR, params={"k": 1}, content=b"7")
        assert found.json()["Cells"][0]["Id"] == ids[7]
        await client.post(SIMILAR, params={"among": ONE}, content=b"7")
        assert asked == ["", ONE]
        assert (await client.post(SIMILAR, content=b"x")).status_code == 400
    async with client_of(small, tmp_path / "vectors") as client:
        none = await client.post(SIMILAR, content=b"7")
    assert (none.status_code, "no encoder is installed" in none.text) == (409, True)


async def test_everything_is_there_after_a_restart(database, tmp_path):
    kept = vectors(700)
    async with client_of(database, tmp_path / "vectors") as client:
        ids = await added(client, "job-a", kept, classes=("normal", "burr"))
        await client.post(f"{CELLS}/delete", json={"Ids": ids[:5]})
    async with client_of(database, tmp_path / "vectors") as client:
        found = await similar(client, vector=text(kept[9]), model=ONE, k=1, class_="burr")
        assert found[0]["Id"] == ids[9]
        (about,) = (await client.get(CELLS)).json()["Models"]
    assert about["Count"] == 695


GOOD = told("job-a", vectors(2))
BAD = {
    "no JSON": (b"{", "Invalid JSON"),
    "a misspelt field": (GOOD | {"Modle": "x"}, "Modle: Extra inputs"),
    "no cells": (GOOD | {"Cells": []}, "Cells: List should have at least 1"),
    "no model": (GOOD | {"Model": "../x"}, "Model: String should match"),
    "a number twice": (GOOD | {"Cells": [GOOD["Cells"][0]] * 2}, "two cells have the same Number"),
    "numbers that do not come out even": (GOOD | {"Vectors": text(vectors(2).ravel()[:-1])}, "are no 2 vectors"),
    "no base64": (GOOD | {"Vectors": "!!"}, "base64 of float32"),
    "half a number": (GOOD | {"Vectors": "AAAA"}, "base64 of float32"),
    "not finite": (GOOD | {"Vectors": text(np.full((2, 32), np.nan))}, "vector 0 has no direction"),
    "nothing but zeros": (GOOD | {"Vectors": text(np.array([[1.0] * 32, [0.0] * 32]))}, "vector 1 has no direction"),
    "another length": (told("job-a", vectors(2, dimension=16)), "have 32 numbers, not 16"),
    "no vectors": (GOOD | {"Vectors": ""}, "each cell needs a Vector"),
    "vectors twice": (
        GOOD | {"Cells": [GOOD["Cells"][0] | {"Vector": [1.0]}, GOOD["Cells"][1]]},
        "leave one of them out",
    ),
    "a place that is none": (GOOD | {"Cells": [GOOD["Cells"][0] | {"X": 1e99}], "Vectors": text(vectors(1))}, "X: "),
}


async def test_what_cannot_be_kept_is_refused_with_the_field_and_leaves_nothing(small, tmp_path):
    async with client_of(small, tmp_path / "vectors") as client:
        await added(client, "job-0", vectors(1))
        for what, (body, words) in BAD.items():
            options = {"content": body} if isinstance(body, bytes) else {"json": body}
            answer = await client.post(CELLS, **options)
            assert (answer.status_code, words in answer.text) == (400, True), (what, answer.text)
        (about,) = (await client.get(CELLS)).json()["Models"]
    assert about["Count"] == 1
    assert small.rows("SELECT count(*) FROM cell_block") == [(1,)]


QUESTIONS = {
    "nothing": ({}, "name what is looked for"),
    "two things": ({"cell": 0, "vector": "AAAA", "model": ONE}, "name what is looked for"),
    "a vector of nobody": ({"vector": "AAAA"}, "name what is looked for"),
    "a misspelt parameter": ({"cell": 0, "clas": "x"}, "'clas' is not known"),
    "too many": ({"cell": 0, "k": 1001}, "query parameter k"),
    "no number": ({"cell": "x"}, "query parameter cell"),
    "another length": ({"vector": "AACAPw==", "model": ONE}, "have 32 numbers, not 1"),
    "no direction": ({"vector": "AAAAAA==", "model": ONE}, "has no direction"),
}


async def test_what_cannot_be_asked_is_refused_with_the_parameter(small, tmp_path):
    async with client_of(small, tmp_path / "vectors") as client:
        await added(client, "job-0", vectors(1))
        for what, (query, words) in QUESTIONS.items():
            answer = await client.get(SIMILAR, params=query)
            assert (answer.status_code, words in answer.text) == (400, True), (what, answer.text)


async def test_vectors_as_lists_of_numbers_do_as_well(small, tmp_path):
    cells = [{"Number": 1, "Vector": [3.0, 4.0]}, {"Number": 2, "Vector": [4.0, -3.0]}]
    async with client_of(small, tmp_path / "vectors") as client:
        answer = await client.post(CELLS, json={"Model": ONE, "Job": "a", "Cells": cells})
        found = await similar(client, vector=text(np.array([0.6, 0.8])), model=ONE)
    assert [one["Id"] for one in found] == answer.json()["Ids"]
    assert [one["Score"] for one in found] == pytest.approx([1, 0], abs=1e-3)


async def test_without_room_on_the_disk_no_cells_are_taken(small, tmp_path):
    room = Room({"vectors": tmp_path}, 100, Tank(1))
    async with client_of(small, tmp_path / "vectors", room=room) as client:
        assert (await client.post(CELLS, json=GOOD)).status_code == 507


async def test_without_faiss_the_gateway_says_what_to_install_and_the_rest_goes_on(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    async with client_of(small, tmp_path / "vectors") as client:
        answer = await client.post(CELLS, json=GOOD)
        assert (answer.status_code, "pip install 'cytobus[cells]'" in answer.text) == (503, True)
        assert (await client.get("/api/v1/ready")).status_code == 200
    monkeypatch.undo()
    async with client_of(small, tmp_path / "vectors") as client:
        assert await added(client, "job-a", vectors(2)) == [0, 1]


async def test_damage_is_told_by_the_service_and_no_other_model_is_hindered(small, tmp_path):
    async with client_of(small, tmp_path / "vectors") as client:
        await added(client, "job-a", vectors(300))
        await added(client, "job-a", vectors(300), model=TWO)
    for manifest in (tmp_path / "vectors").rglob("manifest.json"):
        about = json.loads((manifest.parent.parent / "space.json").read_text())
        if about["Model"] == TWO:
            manifest.write_bytes(manifest.read_bytes()[:-9])
    async with client_of(small, tmp_path / "vectors") as client:
        assert len(await similar(client, vector=text(vectors(1)), model=ONE)) == 10
        broken = await client.get(SIMILAR, params={"vector": text(vectors(1)), "model": TWO})
        assert (broken.status_code, "manifest.json cannot be read" in broken.text) == (503, True)
        told = {one["Model"]: one["Troubles"] for one in (await client.get(CELLS)).json()["Models"]}
        assert told[ONE] == []
        assert "put it back from a copy" in told[TWO][0]


def test_people_look_operators_ask_by_images_and_only_services_use_shards():
    def allowed(verb: str, path: str) -> set[Role]:
        return {role for role in Role if may(role, "cell-index", verb, path)} - {Role.SERVICE}

    people = {Role.VIEWER, Role.OPERATOR, Role.ADMIN}
    assert allowed("GET", CELLS) == allowed("GET", SIMILAR) == allowed("GET", f"{CELLS}/7") == people
    assert allowed("POST", SIMILAR) == {Role.OPERATOR, Role.ADMIN}
    assert allowed("POST", CELLS) == allowed("POST", f"{CELLS}/delete") == {Role.ADMIN}
    assert allowed("POST", "/api/v1/vectors/add") == set()
