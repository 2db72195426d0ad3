"""The order in which files of tests are begun: those that take longest first, so that none is left alone at the end."""

import pytest

LONGEST = (
    *("tests/system/test_kill", "tests/system/test_restore", "tests/system/test_fuzz", "tests/faults/test_faults"),
    *("tests/faults/test_spread", "tests/dashboard", "tests/system", "tests/faults", "tests/hostile"),
    *("tests/gateway/test_identities", "tests/pipelines/test_workers", "tests/gateway/test_submission"),
    *("tests/edge/test_upload", "tests/gateway/test_job_store", "tests/compose/test_monitoring"),
)


def _place(item: pytest.Item) -> int:
    return next((n for n, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Within a file the order stays."""
    items.sort(key=_place)
