"""The images are built once for all container tests."""

import subprocess

import pytest

from tests.containers.deployment import HERE, engine_is_missing


@pytest.fixture(scope="session")
def built() -> None:
    if why := engine_is_missing():
        pytest.skip(f"containers are not tested: {why}")
    for target, tag in (("all", "cytobus:local"), ("edge", "cytobus-edge:local")):
        command = ["docker", "build", "-q", "-f", "compose/Dockerfile", "--target", target, "-t", tag, "."]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
