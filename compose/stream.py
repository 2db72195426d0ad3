"""Wires the stream of frames."""

import os

from compose.settings import Settings
from contracts.ports import Bus
from pipelines.backends.address import parsed
from pipelines.backends.openvino import THREADS
from pipelines.stream.from_bus import FromBus
from pipelines.stream.inference import Inference
from pipelines.stream.port import named
from pipelines.stream.service import Limits, Stream


def stream(settings: Settings, bus: Bus) -> Stream:
    """The service, its model not loaded yet. Raises ``ValueError`` for a model or a place that cannot be."""
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
    return Stream(inference, limits, FromBus(bus, mine.bus_topic) if mine.bus_topic else None)
