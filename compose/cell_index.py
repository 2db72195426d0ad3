"""Wires the cell index: where vectors lie, here or in shards of other processes."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from compose.access import Access
from compose.charts import CellCharts
from compose.encoders import Encoders
from contracts.bearer import Bearer
from contracts.client import TIMEOUT
from contracts.ports import Bus, Clock, Jobs
from contracts.room import Room
from gateway.cell_map.ingest import PIPELINE, Ingest
from gateway.cell_map.monitor import Monitor
from gateway.cell_map.places import Places
from gateway.cell_map.points import Points
from gateway.cell_map.service import MapRoutes
from gateway.cell_map.store import MapStore
from gateway.cells.service import CellIndex
from gateway.cells.spaces import Spaces
from gateway.cells.store import CellStore
from gateway.files import GatewayFiles
from gateway.reader import Reader
from gateway.vectors.stored import Plan
from gateway.writer import Writer

if TYPE_CHECKING:
    from contextlib import AsyncExitStack


@dataclass(frozen=True)
class Around:
    """What the map of cells needs of others."""

    jobs: Jobs
    files: GatewayFiles
    bus: Bus


def cell_index(
    access: Access, writer: Writer, reader: Reader, clock: Clock, stack: "AsyncExitStack", around: Around
) -> CellIndex:
    """The service, the map beside it. Nothing is opened, and no shard is asked, before it runs."""
    settings, mine = access.settings, access.settings.gateway.cells
    folder = mine.folder or settings.gateway_files() / "vectors"
    plan = Plan(kind=mine.kind, memory_mb=mine.memory_mb, recall=mine.recall, threads=mine.threads)
    clients = stack.enter_context(ExitStack())
    shards = [clients.enter_context(_client(access, where)) for where in mine.shards]
    store = MapStore(writer, reader, clock)
    encoders = Encoders(settings.gateway_files() / "models" / PIPELINE, folder, settings.inference_threads)
    charts, points = CellCharts(folder / "maps", encoders), Points(mine.most_on_map)
    ingest = Ingest(around.jobs, around.files, store, charts)
    monitor = Monitor(charts, points, store, Places(writer, reader), every=mine.drift_cells, refit=mine.refit)
    shown = MapRoutes(store, points, around.files, ingest, around.bus, monitor)
    spaces = Spaces(folder / ("spread" if shards else "own"), plan, shards)
    index = CellIndex(
        CellStore(writer, reader, clock),
        spaces,
        Spaces(folder / "kept", plan, name="vectors kept for others"),
        embed=encoders.embed,
        mapped=encoders.mapped,
        room=Room({"vectors": folder}, settings.gateway.min_free_mb),
        beside=shown,
    )
    ingest.into(index.keep, shown.added, monitor.unsettle)
    monitor.over(lambda model, ids: spaces.get(model).get(ids), shown.moved)
    return index


def _client(access: Access, where: str) -> httpx.Client:
    """Of threads that wait for a shard; it says who we are."""
    many = httpx.Limits(max_connections=64, max_keepalive_connections=16)
    return httpx.Client(base_url=where, timeout=TIMEOUT, limits=many, auth=Bearer(access.word), verify=access.trust)
