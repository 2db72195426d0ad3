"""Waits for conditions, never for a length of time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], object | Awaitable[object]], seconds: float = 30.0, every: float = 0.01):
    """The first truthy value of a condition; it may be a plain or an async function. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {inspect.getsource(condition).strip()}")
        await asyncio.sleep(every)
