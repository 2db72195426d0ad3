"""A gateway in a temporary folder."""

import pytest

from tests.support.house import house_in, opened


@pytest.fixture
async def database(tmp_path):
    async with opened(tmp_path / "gateway.db") as database:
        yield database


@pytest.fixture
async def house(tmp_path):
    async with house_in(tmp_path) as house:
        yield house
