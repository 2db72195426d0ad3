"""A cell index in a process of its own; its first line is its port: ``python -m tests.support.shard FOLDER``."""

import asyncio
import sys
from pathlib import Path

from gateway.cells.service import CellIndex
from gateway.cells.spaces import Spaces
from gateway.cells.store import CellStore
from gateway.vectors.stored import Plan
from tests.support.house import opened
from tests.support.serving import listening


async def main(folder: Path) -> None:
    plan = Plan(unit=256)
    async with opened(folder / "gateway.db") as database:
        store = CellStore(database.writer, database.readers, database.clock)
        index = CellIndex(store, Spaces(folder / "own", plan), Spaces(folder / "kept", plan))
        async with listening(index) as port:
            print(port, flush=True)  # noqa: T201
            await asyncio.Event().wait()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(exist_ok=True)
    asyncio.run(main(place))
