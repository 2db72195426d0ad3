"""The README's path of a new user: copy .env, docker compose up, drop a file. Nothing is built beforehand."""

import json
import os
import re
import shutil
import subprocess

import pytest

from pipelines.samples import package_samples
from tests.containers.deployment import HERE, engine_is_missing, free_port, wait_for

pytestmark = pytest.mark.compose
PORTS = ("FILE_RECEIVER", "JOB_REPOSITORY", "TASK_LAUNCHER", "FILE_SENDER", "CELL_INDEX", "DASHBOARD", "MQTT")


@pytest.fixture
def checkout(tmp_path):
    """What a clone has, and nothing else."""
    if why := engine_is_missing():
        pytest.skip(f"containers are not tested: {why}")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=HERE, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        target = tmp_path / "cytobus" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HERE / name, target)
    return tmp_path / "cytobus"


@pytest.fixture
def environment():
    """Names and ports that nothing else on this machine has; everything else is as in the example."""
    project = f"cytobus-first-{os.getpid()}"
    mine = {
        "COMPOSE_PROJECT_NAME": project,
        "CYTOBUS_IMAGE": f"{project}:local",
        "CYTOBUS_EDGE_IMAGE": f"{project}-edge:local",
    }
    yield os.environ | mine | {f"{name}_PORT": str(free_port()) for name in PORTS}
    subprocess.run(
        ["docker", "image", "rm", "-f", mine["CYTOBUS_IMAGE"], mine["CYTOBUS_EDGE_IMAGE"]], capture_output=True
    )


def commands() -> list[str]:
    """The first three of the README's section."""
    section = (HERE / "README.md").read_text().partition("## With docker compose")[2]
    block = re.search(r"```sh\n(.+?)```", section, re.DOTALL)
    assert block
    return [line.partition("   #")[0].strip() for line in block.group(1).splitlines()]


def test_three_commands_and_the_results_are_there(checkout, environment, tmp_path):
    copy, up, drop = commands()

    def run(command: str) -> str:
        done = subprocess.run(command, shell=True, cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    compose = up.partition(" up")[0]
    try:
        run(copy)
        run(up)
        image = next(path for path in package_samples(tmp_path / "samples") if path.name == "nuclei-r01c01f1.tif")
        shutil.copy2(image, checkout / "my-image.tif")
        run(drop)
        results = checkout / "compose" / "data" / "results"
        wanted = [results / f"my-image{end}" for end in ("_labels.tif", "_overlay.png", "_cells.csv")]
        wait_for(
            lambda: all(path.is_file() for path in wanted),
            120,
            lambda: run(f"{compose} ps -a; {compose} logs --tail 20"),
        )
        assert all(path.stat().st_uid in (os.getuid(), 1000) for path in wanted)
        states = [json.loads(line)["State"] for line in run(f"{compose} ps --format json").splitlines()]
        assert set(states) == {"running"}
    finally:
        subprocess.run(f"{compose} down -v -t 5", shell=True, cwd=checkout, env=environment, capture_output=True)
