"""Keeps the last day's figures of the gateway, for the charts of the system's page."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from contracts.client import call
from contracts.errors import AppError
from gateway.dashboard.views.system import Sample, sample

EVERY = 10.0
"""Seconds between two samples."""
KEPT = 8640
"""Samples: a day."""


class Sampling:
    """Reads the job repository's figures now and then. ``client``: its, under our own name."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.samples: deque[Sample] = deque(maxlen=KEPT)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Samples while the context is open."""
        task = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            with contextlib.suppress(AppError, ValueError):  # a gap in the charts says it
                text = (await call(self._client, "GET", "/metrics")).text
                self.samples.append(sample(text, time.time()))
            await asyncio.sleep(EVERY)
