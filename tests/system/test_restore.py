"""An older backup is restored: what came after it is told again by the edge, and nothing is lost or stuck."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.instance import Instance

FINAL = ("complete", "failed", "quarantined", "unmatched")


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


def at_rest(instance: Instance) -> bool:
    counts = instance.counts()
    return all(count == 0 for state, count in counts.items() if state not in FINAL)


@pytest.mark.system
def test_after_an_older_backup_every_file_is_returned_or_known(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    instance.start()
    instance.add_task("only-file")
    expected = drop(instance, 0, 20)
    instance.wait_for(lambda: len(returned(instance)) >= 5, 120, "nothing came back")
    saved = command(instance, "backup", str(file))  # while jobs are on their way
    assert saved.returncode == 0, saved.stdout + saved.stderr
    expected |= drop(instance, 20, 20)
    instance.wait_for(lambda: returned(instance) == expected, 120, "not all came back")
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
    instance.wait_for(lambda: returned(instance) == expected and at_rest(instance), 180, "not all came to rest")
    jobs = instance.jobs()
    assert {job["State"] for job in jobs} == {"complete"}, [(j["InputFile"]["Name"], j["Reason"]) for j in jobs]
    assert instance.stop() == 0
