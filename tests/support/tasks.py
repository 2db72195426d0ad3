"""Tasks of the tests' own servers: they end together, and leave no socket open."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def end_all() -> None:
    """Cancels every other task of this loop, also those that others begin while they end, and waits for them."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        await asyncio.sleep(0)  # transports that were aborted close their sockets in the loop's next round


async def until_one_ends(*ways: Coroutine[Any, Any, None]) -> list[BaseException | None]:
    """Runs all until the first ends, and calls off the others; what each raised."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        raised = await asyncio.gather(*tasks, return_exceptions=True)
    return raised
