"""A gateway, or its file receiver alone, in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from contracts.hosting import app_of
from gateway.file_receiver.service import FileReceiver
from tests.gateway.bench import Bench
from tests.support.house import house_in, opened
from tests.support.jobs import FakeJobs
from tests.support.serving import listening

DIALECTS = ["sqlite", "postgresql"]


@pytest.fixture(params=DIALECTS)
async def database(request, tmp_path):
    async with opened(tmp_path / "gateway.db", dialect=request.param) as database:
        yield database


@pytest.fixture(params=DIALECTS)
async def house(request, tmp_path):
    async with house_in(tmp_path, dialect=request.param) as house:
        yield house


@pytest.fixture(params=["in process", "tcp"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    jobs, folder = FakeJobs(), tmp_path / "files"
    service = FileReceiver(jobs, folder, "gateway")
    if request.param == "tcp":
        async with listening(service) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield Bench(client, jobs, folder)
    else:
        transport = httpx.ASGITransport(app_of(service))
        async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield Bench(client, jobs, folder)
