"""Shared memory with a server, as far as no server is needed for it."""

import asyncio
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.backends import kserve_memory
from pipelines.backends.kserve_memory import FRESH_SECONDS, NoMemory, SystemMemory
from pipelines.backends.kserve_shm import SharedMemory
from pipelines.backends.tensors import ModelRef
from tests.pipelines.backends.test_kserve import FakeWire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory with a server is for Linux")
OLD = FRESH_SECONDS + 1


class Sharing(FakeWire):
    """Remembers the regions that it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()

    async def share(self, name: str, key: str, size: int) -> None:
        self.known.add(name)

    async def unshare(self, name: str) -> None:
        self.known.discard(name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kserve_memory, "FOLDER", tmp_path)
    return tmp_path


def aged(path: Path) -> None:
    then = path.stat().st_mtime - OLD
    os.utime(path, (then, then))


def hold(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    """A worker that is killed while it has a region."""
    kserve_memory.FOLDER = folder
    memory = SystemMemory()
    region = memory.create("cytobus-1-held", 4096)
    ready.set()
    multiprocessing.Event().wait()
    memory.destroy(region)


async def test_a_killed_workers_memory_is_given_back_here_and_at_the_server_and_a_living_ones_is_kept(
    folder: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    worker = context.Process(target=hold, args=(folder, ready))
    worker.start()
    try:
        assert await asyncio.to_thread(ready.wait, 60)
        wire, held = Sharing(), folder / "cytobus-1-held"
        wire.known.add(held.name)
        aged(held)
        await SharedMemory(wire, SystemMemory()).tidy()
        assert held.exists()
        assert wire.known == {held.name}
    finally:
        worker.kill()
        worker.join()

    await SharedMemory(wire, SystemMemory()).tidy()
    assert not held.exists()
    assert wire.known == set()


async def test_what_is_not_ours_or_just_being_made_is_left_alone(folder: Path) -> None:
    for name in ("somebodys", "cytobus-2-new"):
        (folder / name).touch()
    aged(folder / "somebodys")
    await SharedMemory(Sharing(), SystemMemory()).tidy()
    assert sorted(os.listdir(folder)) == ["cytobus-2-new", "somebodys"]


def test_memory_that_cannot_be_had_is_an_error_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(NoMemory, match="1152921504606846976 bytes of shared memory cannot be had"):
        SystemMemory().create("cytobus-3-huge", 2**60)
    assert list(folder.iterdir()) == []


async def test_where_there_is_no_shared_memory_at_all_pictures_go_by_wire(folder: Path) -> None:
    shared, given = SharedMemory(FakeWire(), SystemMemory()), {"x": np.ones((1, 2), np.float32)}
    os.rmdir(folder)
    for _ in range(3):
        assert (await shared.infer(ModelRef("m"), given)).outputs["y"].tolist() == [[2, 2]]
