"""Every service of the product, wired as in one process, none of them running."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from compose.access import access
from compose.dashboard import dashboard
from compose.edge import Peers, edge
from compose.gateway import gateway
from compose.pipelines import runner
from compose.running import in_process
from compose.settings import Settings
from compose.stream import stream
from contracts.bus.local import LocalBus
from contracts.client import HttpStatuses
from contracts.hosting import PORTS
from contracts.ports import Service
from gateway.mqtt_export.service import MqttExport


@asynccontextmanager
async def all_services(folder: Path) -> AsyncIterator[dict[str, Service]]:
    """By name. What they keep is in the folder."""
    settings, bus = Settings(data=folder), LocalBus()
    async with gateway(access(settings, "all"), bus, PORTS) as centre:
        receiver, sender = (in_process(centre.services[f"file-{kind}-gateway"]) for kind in ("receiver", "sender"))
        repository = in_process(centre.services["job-repository"])
        peers = Peers(centre.jobs, centre.tasks, receiver, sender, HttpStatuses(repository))
        async with repository, receiver, sender, edge(settings, peers, bus) as mine:
            found = [*centre.services.values(), *mine.services(), runner(settings, centre.jobs, centre.tasks, bus)]
            found.append(stream(settings, bus))
            async with dashboard(access(settings, "all"), PORTS) as pages:
                yield {service.name: service for service in [*found, MqttExport(bus, _Nobody()), pages]}


class _Nobody:
    """Hears nothing: no message is sent by services that do not run."""

    async def publish(self, *_message: object, **_more: object) -> None:
        raise AssertionError("nothing runs")
