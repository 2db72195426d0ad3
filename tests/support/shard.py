"""What a cell index keeps for another, in a process of its own; its first line is its port.

``python -m tests.support.shard FOLDER``
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.routing import BaseRoute

from contracts.openapi import Operations
from gateway.cells.shards import ShardRoutes, operations
from gateway.cells.spaces import Spaces
from gateway.vectors.stored import Plan
from tests.support.serving import listening


class Shard:
    """The routes of shards alone: what is said of cells is nothing to them."""

    name = "cell-index"

    def __init__(self, folder: Path) -> None:
        self._spaces = Spaces(folder, Plan(unit=256))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self._spaces.close)

    def routes(self) -> list[BaseRoute]:
        return ShardRoutes(self._spaces).routes()

    def operations(self) -> Operations:
        return operations()


async def main(folder: Path) -> None:
    async with listening(Shard(folder)) as port:
        print(port, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
