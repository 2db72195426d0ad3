"""The gateway keeps how instruments were when they were last heard of."""

from contextlib import asynccontextmanager

import httpx
import pytest

from contracts.edge_status import Disk, EdgeStatus, WatchedFolder
from contracts.hosting import app_of
from contracts.identity import Identity, Role
from contracts.policy import may
from gateway.beside import Together
from gateway.edges import store as storing
from gateway.edges.service import EdgeRoutes
from gateway.edges.store import StatusStore
from gateway.job_repository.service import JobRepository
from tests.support.house import SECOND, house_in

STATUS = EdgeStatus(
    version="0.1.0",
    system="Linux",
    at=10**18,
    started=10**18,
    folders=(WatchedFolder(path="/in", waiting=3),),
    disks=(Disk(what="watched", path="/in", free=5, total=9),),
)
PATH = "/api/v1/edges/scope-1/status"


@pytest.fixture(params=["sqlite", "postgresql"])
async def house(request, tmp_path):
    async with house_in(tmp_path, dialect=request.param) as house:
        yield house


def statuses_of(house) -> StatusStore:
    return StatusStore(house.database.writer, house.database.readers, house.clock)


@asynccontextmanager
async def client_of(house, identity: Identity | None = None):
    beside = Together(EdgeRoutes(statuses_of(house)))
    app = app_of(JobRepository(house.store, house.outbox_store, house.bus, house.clock, beside=beside))

    async def known(scope, receive, send):
        await app(scope | {"identity": identity}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(known), base_url="http://here") as client:
        yield client


async def put(client, path: str = PATH, status: EdgeStatus = STATUS) -> httpx.Response:
    return await client.put(path, content=status.model_dump_json(by_alias=True))


async def test_the_last_report_is_kept_with_its_time_and_how_far_the_clock_is_behind(house):
    house.clock.now = 10**18 + 5 * SECOND
    async with client_of(house) as client:
        assert (await put(client)).status_code == 200
        assert (await put(client, status=STATUS.evolve(version="0.2.0"))).status_code == 200
        (told,) = (await client.get("/api/v1/edges/status")).json()
    assert (told["Name"], told["At"], told["Behind"]) == ("scope-1", house.clock.now, 5 * SECOND)
    assert told["Status"]["Version"] == "0.2.0"
    assert told["Status"]["Folders"][0]["Waiting"] == 3


async def test_an_instrument_tells_of_itself_and_of_no_other(house):
    async with client_of(house, Identity("scope-1", Role.EDGE)) as client:
        assert (await put(client)).status_code == 200
        refused = await put(client, "/api/v1/edges/scope-2/status")
    assert refused.status_code == 403
    assert "does not belong to the instrument scope-1" in refused.text


async def test_what_is_no_report_is_refused_with_the_field(house):
    async with client_of(house) as client:
        wrong = await client.put(PATH, json={"Version": "1", "System": "", "At": -1, "Started": 0})
        assert (wrong.status_code, "At: " in wrong.text) == (400, True)
        many = {"Version": "", "System": "", "At": 1, "Started": 1, "Folders": [{"Path": "/"}] * 51}
        assert (await client.put(PATH, json=many)).status_code == 400
        assert (await client.put(PATH, content=b"x" * (2**18 + 1))).status_code == 400
        assert (await put(client, f"/api/v1/edges/{'n' * 101}/status")).status_code == 400


async def test_a_report_can_be_forgotten(house):
    async with client_of(house) as client:
        await put(client)
        assert (await client.delete(PATH)).status_code == 200
        assert (await client.delete(PATH)).status_code == 404
        assert (await client.get("/api/v1/edges/status")).json() == []


async def test_reports_of_so_many_names_are_kept_and_no_more(house, monkeypatch):
    monkeypatch.setattr(storing, "MOST", 3)
    statuses = statuses_of(house)
    for number in range(5):
        house.clock.turn(1)
        await statuses.tell(f"scope-{number}", STATUS)
    assert [one.name for one in await statuses.reported()] == ["scope-2", "scope-3", "scope-4"]


def test_only_instruments_report_and_only_people_read():
    edge = {role for role in Role if may(role, "job-repository", "PUT", PATH)}
    assert edge == {Role.EDGE, Role.SERVICE}
    readers = {role for role in Role if may(role, "job-repository", "GET", "/api/v1/edges/status")}
    assert readers == {Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.SERVICE}
    assert {role for role in Role if may(role, "job-repository", "DELETE", PATH)} == {Role.ADMIN, Role.SERVICE}
