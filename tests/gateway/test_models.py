"""Models at the gateway: what is taken, what is refused and why, and which one is used."""

import asyncio
import hashlib
import io
import json
import zipfile
from contextlib import asynccontextmanager

import httpx
import pytest

from contracts.hosting import app_of
from contracts.identity import Role
from contracts.policy import may
from contracts.room import Room
from gateway.models.service import ModelRoutes
from gateway.models.store import ModelStore
from gateway.task_launcher.rules import Addresses
from gateway.task_launcher.service import TaskLauncher
from tests.support.house import house_in
from tests.support.models import described, package, zipped
from tests.support.tanks import Tank

TOPIC = "/api/v1/pipelines/only-file"
OWN = {"Sha256": "", "Version": ""}


@pytest.fixture(params=["sqlite", "postgresql"])
async def house(request, tmp_path):
    async with house_in(tmp_path, dialect=request.param) as house:
        yield house


@pytest.fixture
async def small(tmp_path):
    async with house_in(tmp_path) as house:
        yield house


@asynccontextmanager
async def client_of(house, **options):
    store = ModelStore(house.database.writer, house.database.readers, house.clock, house.files.root / "models")

    async def topics():
        return {"only-file"}

    to = Addresses("http://job-repository:59784", "http://task-launcher:59785")
    beside = ModelRoutes(store, topics, **options)
    launcher = TaskLauncher(house.jobs, house.tasks, house.files, to, house.bus, house.clock, beside=beside)
    transport = httpx.ASGITransport(app=app_of(launcher))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client


async def uploaded(client, content: bytes) -> str:
    answer = await client.post("/api/v1/models", content=content)
    assert answer.status_code == 201, answer.text
    return answer.json()["Sha256"]


async def judged(client, digest: str, *, good: bool = True, reason: str = "") -> None:
    body = {"Good": good, "Reason": reason, "Seconds": 0.01}
    assert (await client.post(f"/api/v1/models/{digest}/verdict", json=body)).status_code == 200


async def ready(client, version: str) -> str:
    digest = await uploaded(client, package(version=version))
    await judged(client, digest)
    return digest


async def choice(client) -> dict:
    (found,) = (await client.get("/api/v1/models")).json()["Choices"]
    return found


async def test_a_package_is_kept_whole_and_given_back_as_it_came(house):
    content = package(at="only-file/2/", metrics={"f1": 0.9})
    async with client_of(house) as client:
        digest = await uploaded(client, content)
        (model,) = (await client.get("/api/v1/models")).json()["Models"]
        assert (await client.get(f"/api/v1/models/{digest}/content")).content == content
    assert (model["Pipeline"], model["Version"], model["State"], model["Size"]) == (
        "only-file", "2", "new", len(content)
    )  # fmt: skip
    assert model["About"] == {"metrics": {"f1": 0.9}}
    assert digest == hashlib.sha256(described({"fp32/model.xml": b"<net/>"}, metrics={"f1": 0.9})).hexdigest()
    assert [path.name for path in (house.files.root / "models").rglob("*.zip")] == [f"2-{digest[:12]}.zip"]
    assert not list((house.files.root / "models").glob(".*"))


async def test_the_same_model_again_changes_nothing_and_another_of_its_version_is_refused(house):
    async with client_of(house) as client:
        digest = await uploaded(client, package())
        await judged(client, digest)
        assert await uploaded(client, package(at="elsewhere/")) == digest
        (model,) = (await client.get("/api/v1/models")).json()["Models"]
        assert model["State"] == "ready"
        other = await client.post("/api/v1/models", content=package(network="another"))
    assert (other.status_code, "a version of its own" in other.text) == (409, True)


async def test_a_model_is_used_only_after_a_trial_has_shown_it_to_be_good(house):
    async with client_of(house) as client:
        digest = await uploaded(client, package())
        early = await client.put(f"{TOPIC}/model", json={"Sha256": digest})
        assert (early.status_code, "not been tried" in early.text) == (409, True)
        await judged(client, digest, good=False, reason="the maps are not finite")
        await judged(client, digest)  # too late
        refused = await client.put(f"{TOPIC}/model", json={"Sha256": digest})
        assert (refused.status_code, "the maps are not finite" in refused.text) == (409, True)


async def test_choosing_rolling_back_and_returning_to_the_pipelines_own(house):
    async with client_of(house) as client:
        nothing = await client.post(f"{TOPIC}/rollback")
        assert nothing.status_code == 409
        two, three = await ready(client, "2"), await ready(client, "3")
        for digest in (two, three):
            assert (await client.put(f"{TOPIC}/model", json={"Sha256": digest})).status_code == 200
        assert (await choice(client))["Version"] == "3"
        assert (await client.post(f"{TOPIC}/rollback")).json()["Version"] == "2"
        assert (await client.post(f"{TOPIC}/rollback")).json()["Version"] == "3"
        used = await client.delete(f"/api/v1/models/{three}")
        assert (used.status_code, "choose another one first" in used.text) == (409, True)
        assert (await client.put(f"{TOPIC}/model", json={"Sha256": ""})).json() | OWN == (await choice(client))
        assert (await client.delete(f"/api/v1/models/{three}")).status_code == 200
        assert (await client.post(f"{TOPIC}/rollback")).status_code == 409, "what was before is gone"
        assert (await client.delete(f"/api/v1/models/{three}")).status_code == 404
    assert [path.name for path in (house.files.root / "models").rglob("*.zip")] == [f"2-{two[:12]}.zip"]


async def test_a_paused_pipeline_stays_paused_and_keeps_its_model(house):
    async with client_of(house) as client:
        digest = await ready(client, "2")
        await client.put(f"{TOPIC}/model", json={"Sha256": digest})
        assert (await client.put(f"{TOPIC}/paused", json={"Paused": True})).json()["Paused"]
        told = await choice(client)
        assert (told["Paused"], told["Sha256"]) == (True, digest)
        assert not (await client.put(f"{TOPIC}/paused", json={"Paused": False})).json()["Paused"]
        unknown = await client.put("/api/v1/pipelines/nobody/paused", json={"Paused": True})
    assert (unknown.status_code, "no runner has registered" in unknown.text) == (404, True)


async def test_uploads_at_once_of_one_version_leave_one_model_whose_package_is_its_own(house):
    async with client_of(house) as client:
        packages = [package(network=str(number)) for number in range(4)]
        answers = await asyncio.gather(*(client.post("/api/v1/models", content=one) for one in packages))
        assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]
        (model,) = (await client.get("/api/v1/models")).json()["Models"]
        kept = (await client.get(f"/api/v1/models/{model['Sha256']}/content")).content
    assert kept == packages[int(model["About"]["network"])]


def linked() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("metadata.json")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


def twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("metadata.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("metadata.json", b"{}")
    return out.getvalue()


XML = {"model.xml": b"<net/>"}
BAD = {
    "no zip": (b"hello", "no zip file"),
    "cut off": (package()[:-30], "no zip file"),
    "no metadata": (zipped(XML), "holds no metadata.json"),
    "no JSON": (zipped({"metadata.json": b"{", **XML}), "metadata.json cannot be used"),
    "no number": (zipped({"metadata.json": described(XML)[:-1] + b', "f1": NaN}', **XML}), "write numbers"),
    "no pipeline": (zipped({"metadata.json": json.dumps({"version": "2", "files": {}}).encode()}), "pipeline: "),
    "a version that is a path": (package(version="../2"), "version: "),
    "a file that is missing": (zipped({"metadata.json": described(XML)}), "does not hold"),
    "a file that is not named": (zipped({"metadata.json": described(XML), **XML, "x.bin": b""}), "does not name"),
    "another file": (zipped({"metadata.json": described(XML), "model.xml": b"<other/>"}), "SHA-256 differs"),
    "a program": (package({"model.py": b"import os"}), "no name of a file in a model"),
    "a pickle": (package({"model.pt": b"\x80"}), "no name of a file in a model"),
    "a way out": (zipped({"../metadata.json": described(XML)}), "leads out of the package"),
    "a place of its own": (zipped({"/metadata.json": described(XML)}), "leads out of the package"),
    "a link": (linked(), "is a link"),
    "twice": (None, "twice"),
    "something beside": (
        zipped({"a/metadata.json": described(XML), "a/model.xml": b"<net/>", "b.bin": b""}),
        "outside",
    ),
    "too many": (package({f"{n}.bin": b"" for n in range(103)}), "at most"),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_is_no_package_of_a_model_is_refused_with_the_reason_and_leaves_nothing(small, what):
    content, words = BAD[what]
    async with client_of(small) as client:
        answer = await client.post("/api/v1/models", content=twice() if content is None else content)
        assert answer.status_code == 400
        assert words in answer.text
        assert (await client.get("/api/v1/models")).json()["Models"] == []
    assert not [path for path in (small.files.root / "models").rglob("*") if path.is_file()]


async def test_a_package_that_is_too_large_packed_or_unpacked_is_refused(small):
    async with client_of(small, most_mb=0.001) as client:
        packed = await client.post("/api/v1/models", content=b"x" * 1001)
        bomb = await client.post("/api/v1/models", content=package({"a.bin": bytes(100_000)}))
    assert (packed.status_code, "gateway.max_model_mb" in packed.text) == (400, True)
    assert (bomb.status_code, "gateway.max_model_mb" in bomb.text) == (400, True)


async def test_without_room_on_the_disk_no_package_is_taken(small):
    room = Room({"output": small.files.root}, 100, Tank(1))
    async with client_of(small, room=room) as client:
        assert (await client.post("/api/v1/models", content=package())).status_code == 507


def test_only_administrators_change_models_and_only_runners_judge_them():
    def allowed(verb: str, path: str) -> set[Role]:
        return {role for role in Role if may(role, "task-launcher", verb, path)} - {Role.SERVICE}

    people = {Role.VIEWER, Role.OPERATOR, Role.ADMIN}
    digest = "ab" * 32
    assert allowed("GET", "/api/v1/models") == people
    assert allowed("POST", f"/api/v1/models/{digest}/verdict") == set()
    for verb, path in (
        ("POST", "/api/v1/models"),
        ("GET", f"/api/v1/models/{digest}/content"),
        ("DELETE", f"/api/v1/models/{digest}"),
        ("PUT", f"{TOPIC}/model"),
        ("POST", f"{TOPIC}/rollback"),
        ("PUT", f"{TOPIC}/paused"),
    ):
        assert allowed(verb, path) == {Role.ADMIN}, path
