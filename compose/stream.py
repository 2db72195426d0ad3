"""Wires the stream of frames."""

import os

import httpx

from compose.settings import Settings
from contracts.gates_client import HttpGates
from contracts.ports import Bus
from pipelines.backends.address import parsed
from pipelines.backends.openvino import THREADS
from pipelines.stream.from_bus import FromBus
from pipelines.stream.gates import Gates
from pipelines.stream.inference import Inference
from pipelines.stream.port import named
from pipelines.stream.service import Limits, Stream


def stream(settings: Settings, bus: Bus, cell_index: httpx.AsyncClient | None = None) -> Stream:
    """The service, its model not loaded yet; gates are asked of the ``cell_index``.

    Raises ``ValueError`` for a model or a place that cannot be."""
    mine = settings.stream
    model = named(mine.model)
    os.environ.setdefault(THREADS, str(settings.inference_threads))
    inference = Inference(model, parsed(settings.pipelines.backends.get(model.name, "openvino")))
    limits = Limits(
        connections=mine.connections,
        window=mine.window,
        memory_mb=mine.memory_mb,
        most=mine.batch,
        deadline_ms=mine.deadline_ms,
        idle_seconds=mine.idle_seconds,
    )
    source = HttpGates(cell_index) if cell_index is not None and mine.gates_seconds else None
    group = f"stream-gates-{settings.on_bus('stream')}"
    gates = Gates(model, source, bus, every=mine.gates_seconds, group=group)
    return Stream(inference, limits, FromBus(bus, mine.bus_topic) if mine.bus_topic else None, gates)
