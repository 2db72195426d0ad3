"""An older backup is restored: what came after it is told again by the edge, and nothing is lost or stuck."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.instance import Instance

LATE = {f"late-{number}.dat" for number in range(3)}


@pytest.fixture(params=["sqlite", "postgresql"])
def instance(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Instance]:
    url = postgres.shared().database() if request.param == "postgresql" else ""
    more = {"CYTOBUS_GATEWAY__DATABASE_URL": url} if url else {}
    made = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS='["only-file"]', **more)
    yield made
    made.close()
    if url:
        postgres.shared().drop(url)


def command(instance: Instance, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "compose", *words, "--data", str(instance.data)]
    return subprocess.run(line, capture_output=True, text=True, env=instance.environment, timeout=120)


def drop(instance: Instance, first: int, count: int) -> dict[str, str]:
    made = {}
    for number in range(first, first + count):
        name, content = f"field-{number:03d}.dat", f"pixels of {number}".encode() * 50
        instance.drop(name, content)
        made[f"field-{number:03d}-sim.dat"] = hashlib.sha256(content).hexdigest()
    return made


def returned(instance: Instance) -> dict[str, str]:
    found = (path for path in instance.output.rglob("*-sim.dat") if ".parts" not in path.parts)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def states(instance: Instance, *, late: bool) -> set[str]:
    return {job["State"] for job in instance.jobs() if job["InputFile"]["Name"].startswith("late") == late}


def known_late(instance: Instance) -> set[str]:
    """The files at the gateway that wait for a pipeline which nobody runs; the edge takes them for sent."""
    waiting = [job for job in instance.jobs() if job["State"] == "running"]
    return {job["InputFile"]["Name"] for job in waiting} & LATE


@pytest.mark.system
def test_after_an_older_backup_every_file_is_returned_or_known(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    instance.start()
    instance.add_task("nobodys", '{"in": ["late", {"var": "InputFile.Name"}]}')
    instance.add_task("only-file")
    expected = drop(instance, 0, 20)
    instance.wait_for(lambda: len(returned(instance)) >= 5, 120, "nothing came back")
    saved = command(instance, "backup", str(file))  # while jobs are on their way
    assert saved.returncode == 0, saved.stdout + saved.stderr
    expected |= drop(instance, 20, 20)
    instance.wait_for(lambda: returned(instance) == expected, 120, "not all came back")
    for name in LATE:
        instance.drop(name, name.encode())
    instance.wait_for(lambda: known_late(instance) == LATE, 60, "the late files are not at the gateway")
    expected |= drop(instance, 40, 20)
    instance.wait_for(lambda: instance.counts().get("complete", 0) > 42, 120, "the third part did not begin")

    refused = command(instance, "restore", str(file), "--force")
    assert refused.returncode == 1
    assert "stop the gateway first" in refused.stdout
    instance.kill()  # some of the third part are on their way
    refused = command(instance, "restore", str(file))
    assert refused.returncode == 1
    assert "--force" in refused.stdout.replace("\n", " ")
    done = command(instance, "restore", str(file), "--force")
    assert done.returncode == 0, done.stdout + done.stderr

    instance.start()
    instance.wait_for(lambda: known_late(instance) == LATE, 120, "files that only the edge knew were not told again")
    instance.wait_for(lambda: returned(instance) == expected, 120, "not all came back")
    instance.wait_for(lambda: states(instance, late=False) == {"complete"}, 120, "not all came to rest")
    assert states(instance, late=True) == {"running"}
    assert instance.stop() == 0
