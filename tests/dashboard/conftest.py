"""A whole cytobus with sample images, and browsers to look at it."""

import pytest

from tests.support.chromium import Visit, chromium
from tests.support.instance import Instance


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """Everything in one process, with one worker; nothing in it yet."""
    made = Instance(tmp_path_factory.mktemp("dashboard") / "data", CYTOBUS_PIPELINES__WORKERS="1")
    made.start()
    yield made
    made.close()


@pytest.fixture
def visit(browser, instance):
    """Comes to look; afterwards no console has complained."""
    visits: list[Visit] = []

    def come(**options) -> Visit:
        visits.append(Visit(browser, instance.url("dashboard"), **options))
        return visits[-1]

    yield come
    for one in visits:
        one.close()
    assert [words for one in visits for words in one.complaints] == []
