"""A gateway in a temporary folder."""

import pytest

from tests.support.house import house_in, opened

DIALECTS = ["sqlite", "postgresql"]


@pytest.fixture(params=DIALECTS)
async def database(request, tmp_path):
    async with opened(tmp_path / "gateway.db", dialect=request.param) as database:
        yield database


@pytest.fixture(params=DIALECTS)
async def house(request, tmp_path):
    async with house_in(tmp_path, dialect=request.param) as house:
        yield house
