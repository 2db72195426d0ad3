"""A service on a real port, and one in a process of its own that can be killed."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contracts.hosting import bound, port_of, served
from contracts.ports import Service


@asynccontextmanager
async def listening(service: Service, port: int = 0) -> AsyncIterator[int]:
    """The service runs and listens, on a free port unless told which; gives its port on this computer."""
    with bound("127.0.0.1", {service.name: port}) as sockets:
        async with served([service], sockets):
            yield port_of(sockets[service.name])


class Program:
    """A Python program that says its port on its first line; it can be killed at any moment."""

    def __init__(self, *arguments: str, folder: Path | None = None) -> None:
        self._arguments, self._folder = arguments, folder
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, stdout=asyncio.subprocess.PIPE, cwd=self._folder
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        """As a power cut would, as far as the process is concerned."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()
