"""The edge on a small box: what it loads, and what it takes while nothing happens."""

import json
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.instance import Instance

MEMORY = 80 * 2**20
IDLE_SECONDS = 10.0
WINDOWS = 4
LOADED = """
import json, sys
import compose.cli, compose.edge, compose.running, compose.logs
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def extra_packages() -> set[str]:
    """The distributions that only the extras bring."""
    optional = [Requirement(text) for text in metadata.requires("cytobus") or () if "extra ==" in text]
    plain = [Requirement(text) for text in metadata.requires("cytobus") or () if "extra ==" not in text]
    return {canonicalize_name(one.name) for one in optional} - {canonicalize_name(one.name) for one in plain}


def test_the_edge_loads_nothing_that_only_the_extras_bring() -> None:
    answer = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    owners, extras = metadata.packages_distributions(), extra_packages()
    assert {"numpy", "sqlalchemy", "openvino", "redis", "psycopg"} <= extras
    loaded = {canonicalize_name(owner) for module in json.loads(answer.stdout) for owner in owners.get(module, ())}
    assert loaded & extras == {"cytobus"} & extras


@pytest.mark.system
def test_an_idle_edge_takes_less_than_80_mb_and_a_hundredth_of_a_core(tmp_path: Path) -> None:
    edge = Instance(tmp_path / "edge", side="edge", CYTOBUS_EDGE__GATEWAY="http://127.0.0.1")
    try:
        edge.start()
        process = psutil.Process(edge.pid)

        def share() -> float:
            """Of a core, over some seconds."""
            begun, before = time.monotonic(), process.cpu_times()
            psutil.cpu_percent(interval=IDLE_SECONDS)  # the time over which it is measured
            after = process.cpu_times()
            return (after.user + after.system - before.user - before.system) / (time.monotonic() - begun)

        # The first seconds still belong to its start, and what else runs on this machine can only add.
        assert min(share() for _ in range(WINDOWS)) < 0.01
        assert process.memory_info().rss < MEMORY
    finally:
        edge.close()
