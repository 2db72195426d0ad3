"""Many images, and the process killed again and again at random moments: all come back, none twice."""

import hashlib
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import Instance

SEED = int(os.environ.get("CYTOBUS_TEST_SEED", "20261121"))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS='["only-file", "only-results", "file-and-results"]')
    yield made
    made.close()


def drop_all(instance: Instance, chance: random.Random, files: int) -> dict[str, str]:
    """Small files of different content; name -> digest."""
    digests = {}
    for number in range(files):
        content = chance.randbytes(chance.randint(1, 4096))
        name = f"field-{number:04d}.dat"
        instance.drop(name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def done(instance: Instance, files: int) -> bool:
    counts = instance.counts()
    return sum(counts.values()) == files and counts.get("complete", 0) + counts.get("quarantined", 0) == files


def account_for(instance: Instance, digests: dict[str, str]) -> None:
    """``detected = returned + quarantined(with reason)``, every byte right, nothing twice."""
    jobs = instance.jobs()
    names = Counter(job["InputFile"]["Name"] for job in jobs)
    assert set(names) == set(digests)
    assert max(names.values()) == 1, [name for name, count in names.items() if count > 1]
    quarantined = [job for job in jobs if job["State"] == "quarantined"]
    assert all(job["Reason"] for job in quarantined)
    returned = {file.name: file for file in instance.output.rglob("*") if file.is_file() and ".parts" not in file.parts}
    expected = {f"{name.removesuffix('.dat')}-sim.dat": digest for name, digest in digests.items()}
    for job in quarantined:
        expected.pop(f"{job['InputFile']['Name'].removesuffix('.dat')}-sim.dat")
    assert set(returned) == set(expected)
    wrong = [name for name, file in returned.items() if hashlib.sha256(file.read_bytes()).hexdigest() != expected[name]]
    assert wrong == []
    with sqlite3.connect(instance.data / "edge.db") as journal:
        (detected,) = journal.execute("SELECT count(DISTINCT folder || '/' || name) FROM file").fetchone()
    assert detected == len(returned) + len(quarantined) == len(digests)
    with sqlite3.connect(instance.data / "gateway.db") as database:
        twice = database.execute(
            "SELECT job_id FROM history WHERE what = 'outputs-archived' GROUP BY job_id HAVING count(*) > 1"
        ).fetchall()
    assert twice == []


@pytest.mark.heavy  # with kills it is part of every run
@pytest.mark.system
def test_a_thousand_images_come_back_once_each(instance: Instance) -> None:
    instance.start()
    instance.add_task("only-file")
    digests = drop_all(instance, random.Random(SEED), 1000)
    instance.wait_for(lambda: done(instance, 1000), 240, "not all images came back")
    account_for(instance, digests)
    assert instance.stop() == 0


@pytest.mark.system
@pytest.mark.parametrize(("files", "kills"), [(250, 4), pytest.param(1000, 10, marks=pytest.mark.heavy)])
def test_kills_at_random_moments_lose_and_double_nothing(instance: Instance, files: int, kills: int) -> None:
    chance = random.Random(SEED)
    instance.start()
    instance.add_task("only-file")
    digests = drop_all(instance, chance, files)
    for _ in range(kills):
        # The pause is the fault's random moment, not a synchronisation.
        time.sleep(chance.uniform(0.0, 1.5))
        instance.kill()
        instance.start()
    instance.wait_for(lambda: done(instance, files), 600, "not all images came back")
    account_for(instance, digests)
    assert instance.stop() == 0
