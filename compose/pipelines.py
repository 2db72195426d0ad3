"""Wires the runner of pipelines."""

import json
import logging
import time

from compose.settings import PipelineSettings, Settings
from contracts.ports import Bus, Jobs
from contracts.room import Room
from pipelines.backends.address import CHOSEN
from pipelines.models import ModelSource
from pipelines.registry import installed
from pipelines.runner import Registrar, Runner
from pipelines.workers import Limits, Workers, one_thread

log = logging.getLogger(__name__)


def runner(settings: Settings, jobs: Jobs, registrar: Registrar, bus: Bus, models: ModelSource | None = None) -> Runner:
    """The runner of all installed pipelines, which are loaded in each worker process beforehand."""
    wanted = settings.pipelines.topics
    plugins = installed(*wanted)
    for topic in set(wanted) - plugins.keys():
        log.warning("setting pipelines.topics: %s is not installed here; there are %s", topic, sorted(installed()))
    general, own = limits_of(settings.pipelines)
    for topic in own.keys() - plugins.keys():
        log.warning("setting pipelines.limits.%s: no such pipeline runs here; there are %s", topic, sorted(plugins))
    size = settings.workers()
    environment = one_thread(settings.inference_threads)
    environment["CYTOBUS_INFERENCE_THREADS"] = str(settings.inference_threads)
    environment[CHOSEN] = json.dumps(settings.pipelines.backends)
    for topic in settings.pipelines.backends.keys() - plugins.keys():
        log.warning("setting pipelines.backends.%s: no such pipeline runs here; there are %s", topic, sorted(plugins))
    preload = tuple(plugin.plugin for plugin in plugins.values() if not plugin.error)
    return Runner(
        jobs,
        registrar,
        plugins,
        Workers(size, preload=preload, memory_bytes=general.memory_bytes, environment=environment),
        bus,
        time.time_ns,
        worker=settings.worker_name(),
        size=size,
        room=Room({"output": settings.gateway_files() / "output"}, settings.gateway.min_free_mb),
        lease_seconds=settings.pipelines.lease_seconds,
        limits=general,
        own_limits=own,
        files=settings.gateway_files(),
        models=models,
        model_cache=settings.data / "models",
    )


def limits_of(mine: PipelineSettings) -> tuple[Limits, dict[str, Limits]]:
    """The limits of all pipelines, and of those that have their own."""
    general = Limits(mine.timeout_seconds, mine.memory_mb * 2**20 or None, mine.attempts)
    own = {
        topic: Limits(
            general.timeout if one.timeout_seconds is None else one.timeout_seconds,
            general.memory_bytes if one.memory_mb is None else one.memory_mb * 2**20 or None,
            general.attempts if one.attempts is None else one.attempts,
        )
        for topic, one in mine.limits.items()
    }
    return general, own
