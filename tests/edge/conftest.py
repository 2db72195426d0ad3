"""A journal in a temporary folder, folders to watch, and clients for services."""

import time
from contextlib import AsyncExitStack

import httpx
import pytest

from edge.journal import Journal


@pytest.fixture
async def journal(tmp_path):
    journal = Journal(tmp_path / "state" / "journal.db", time.time_ns)
    async with journal.running():
        yield journal


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "oem-files" / "input"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
async def ask():
    """Clients of apps in this process."""
    async with AsyncExitStack() as stack:

        def made(app) -> httpx.AsyncClient:
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
            stack.push_async_callback(client.aclose)
            return client

        yield made
