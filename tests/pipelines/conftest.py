"""A pool of processes, and an image for them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipelines.execution import execute
from pipelines.workers import Workers
from tests.pipelines.asking import HERE, Run


@pytest.fixture
def rogues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)  # worker processes inherit the path


@pytest.fixture
async def workers(rogues: None) -> AsyncIterator[Workers]:
    async with Workers(2, preload=("rogues:Nothing",)) as pool:
        yield pool


@pytest.fixture(params=["here", "in a worker"])
async def run(request: pytest.FixtureRequest, rogues: None) -> AsyncIterator[Run]:
    """Carries out a request, in this process or in the pool: what comes of it is the same."""
    if request.param == "here":
        yield lambda asked: asyncio.to_thread(execute, asked)
    else:
        async with Workers(1) as pool:
            yield pool.run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "well-A1.tif"
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    return path
