"""Wires the runner of pipelines."""

import time

from compose.settings import Settings
from contracts.ports import Bus, Jobs
from pipelines.registry import installed
from pipelines.runner import Registrar, Runner
from pipelines.workers import Workers, one_thread


def runner(settings: Settings, jobs: Jobs, registrar: Registrar, bus: Bus) -> Runner:
    """The runner of all installed pipelines, which are loaded in each worker process beforehand."""
    wanted = settings.pipelines.topics
    plugins = {topic: plugin for topic, plugin in installed().items() if not wanted or topic in wanted}
    size = settings.workers()
    memory = settings.pipelines.memory_mb * 2**20 or None
    environment = one_thread(settings.inference_threads)
    environment["CYTOBUS_INFERENCE_THREADS"] = str(settings.inference_threads)
    preload = tuple(plugin.plugin for plugin in plugins.values() if not plugin.error)
    return Runner(
        jobs,
        registrar,
        plugins,
        Workers(size, preload=preload, memory_bytes=memory, environment=environment),
        bus,
        time.time_ns,
        worker=settings.worker_name(),
        size=size,
        lease_seconds=settings.pipelines.lease_seconds,
        timeout_seconds=settings.pipelines.timeout_seconds,
        files=settings.gateway_files(),
    )
