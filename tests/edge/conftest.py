"""A journal in a temporary folder, and folders to watch."""

import time

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
