"""A real cell index with its map, on a real port: gates are made and told there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from contracts.bus.local import LocalBus
from contracts.ports import Bus
from gateway.cell_map.ingest import Ingest
from gateway.cell_map.points import Points
from gateway.cell_map.service import MapRoutes
from gateway.cell_map.store import MapStore
from gateway.cells.service import CellIndex
from gateway.cells.spaces import Spaces
from gateway.cells.store import CellStore
from gateway.files import GatewayFiles
from gateway.vectors.stored import Plan
from tests.support.house import opened
from tests.support.jobs import FakeJobs
from tests.support.serving import listening


class GatesAt:
    """Makes and deletes gates as an operator does."""

    def __init__(self, client: httpx.AsyncClient, port: int) -> None:
        self.client, self.port = client, port

    async def make(self, name: str, **rule: Any) -> str:
        """The id of a gate that was made, or changed."""
        answer = await self.client.post("/api/v1/map/gates", json={"Name": name, "Rule": rule})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["Id"])

    async def drop(self, gate: str) -> None:
        assert (await self.client.delete(f"/api/v1/map/gates/{gate}")).status_code == 200


@asynccontextmanager
async def cell_map(folder: Path, bus: Bus | None = None, port: int = 0) -> AsyncIterator[GatesAt]:
    """The service, its database and files in a folder, which may be opened again."""
    files = GatewayFiles(folder / "files")
    files.make()
    bus = bus or LocalBus()
    async with opened(folder / "gateway.db") as database:
        store = MapStore(database.writer, database.readers, database.clock)
        ingest = Ingest(FakeJobs(), files, store)
        shown = MapRoutes(store, Points(1000), files, ingest, bus)
        cells, plan = CellStore(database.writer, database.readers, database.clock), Plan(unit=256)
        index = CellIndex(cells, Spaces(folder / "own", plan), Spaces(folder / "kept", plan), beside=shown)
        ingest.into(index.keep, shown.added)
        async with (
            listening(index, port) as at,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{at}", timeout=60) as client,
        ):
            yield GatesAt(client, at)
