"""Edge and gateway as in a laboratory: every service of the gateway a process of its own, on real parts."""

import random
import socket
from itertools import count, islice
from pathlib import Path

from contracts.hosting import PORTS
from tests.support.instance import Instance

SERVICES = ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway", "pipelines")


PLACES = random.sample(range(1300, 5700, 37), 118)
OFFSETS = (PLACES[number % len(PLACES)] for number in count())
"""Above the ports that the system gives to clients (to 60999 on Linux); each program of tests begins elsewhere."""


def free_offset() -> int:
    """An offset at which all ports are free now; not the same twice in a row."""
    for offset in islice(OFFSETS, len(PLACES)):
        sockets = [socket.socket() for _ in PORTS]
        try:
            for sock, port in zip(sockets, PORTS.values(), strict=True):
                sock.bind(("127.0.0.1", port + offset))
            return offset
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
    raise AssertionError("no free ports")


class Fleet:
    """The processes by service, and ``edge``; they share the gateway's folder of files and nothing else."""

    def __init__(
        self,
        folder: Path,
        *,
        bus_url: str,
        database_url: str,
        services: tuple[str, ...] = SERVICES,
        files: Path | None = None,
        with_edge: bool = True,
        **more: str,
    ) -> None:
        """``files``: the folder of another fleet, for a second gateway; ``more``: variables of the environment."""
        offset, self.files = free_offset(), files or folder / "files"
        environment = {
            "CYTOBUS_BUS_URL": bus_url,
            "CYTOBUS_GATEWAY__DATABASE_URL": database_url,
            "CYTOBUS_GATEWAY__FILES": str(self.files),
            "CYTOBUS_PIPELINES__TOPICS": '["only-file", "only-results"]',
        } | more
        self.services = {
            name: Instance(folder / name, side=f"serve {name}", offset=offset, **environment) for name in services
        }
        self.edge = Instance(folder / "edge", side="edge", offset=offset, CYTOBUS_BUS_URL=bus_url)
        self.all = [*self.services.values(), *([self.edge] if with_edge else [])]

    @property
    def repository(self) -> Instance:
        return self.services["job-repository"]

    @property
    def launcher(self) -> Instance:
        return self.services["task-launcher"]

    def start(self) -> None:
        """All at once, in whatever order they come up."""
        for instance in self.all:
            instance.launch()
        for instance in self.all:
            instance.wait_until_up()

    def close(self) -> None:
        for instance in reversed(self.all):
            instance.close()
