"""The end of a loop of the tests' own: everything in it is cancelled, and no socket stays open."""

import asyncio


async def end_all() -> None:
    """Cancels every other task of this loop, also those that others begin while they end, and waits for them."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        await asyncio.sleep(0)  # transports that were aborted close their sockets in the loop's next round
