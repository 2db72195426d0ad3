"""Malformed images through the nuclei pipeline in a worker process, and through the edge's readers of headers."""

import io
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from edge.file_watcher.headers import complete
from gateway.file_sender.painter import Painter
from pipelines.workers import RunRequest, Status, Workers
from tests.hostile.pictures import READ, REFUSED, VALID, Made, all_of_them, raw_tiff, tiff

ROOM = 400 * 2**20
"""Bytes by which a worker may grow; the bombs here would take 800 MiB and more."""
NUCLEI = "pipelines.nuclei.pipeline:Nuclei"


@pytest.fixture(scope="module")
def made() -> list[Made]:
    return list(all_of_them())


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[Workers]:
    async with Workers(1, preload=(NUCLEI,)) as running:
        yield running


def _worker() -> psutil.Process:
    """The only worker process of this one."""
    (found,) = (child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline()))
    return found


def _peak(process: psutil.Process) -> int:
    """The most memory that a process ever held (bytes)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the system does not tell the peak of a process's memory")


def _request(image: Path, job: str) -> RunRequest:
    return RunRequest(job, "nuclei", NUCLEI, image, image.parent / "out", timeout=60)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's peak of memory")
async def test_each_is_processed_or_refused_with_a_reason_by_one_worker_in_bounded_memory(
    made: list[Made], workers: Workers, tmp_path: Path
) -> None:
    assert len(made) >= 100
    good = tmp_path / "good.tif"
    good.write_bytes(VALID["tif"]())
    assert (await workers.run(_request(good, "first"))).status is Status.DONE
    worker = _worker()
    before, slowest = _peak(worker), 0.0
    wrong = []
    for place, (name, expected, content) in enumerate(made):
        image = tmp_path / name
        image.write_bytes(content)
        begun = time.monotonic()
        outcome = await workers.run(_request(image, f"job-{place}"))
        slowest = max(slowest, time.monotonic() - begun)
        image.unlink()
        fits = {READ: outcome.status is Status.DONE, REFUSED: outcome.status is Status.BAD_INPUT}
        told = outcome.status is Status.DONE or (name in outcome.reason and "; " in outcome.reason)
        if not fits.get(expected, outcome.status in (Status.DONE, Status.BAD_INPUT)) or not told:
            wrong.append((name, expected, outcome.status, outcome.reason))
        grown = _peak(worker) - before if worker.is_running() else 0
        if grown > ROOM:
            wrong.append((name, "grew by", str(grown), outcome.reason))
            before = _peak(worker)
    assert wrong == []
    print(f"{len(made)} images: grew by {(_peak(worker) - before) >> 20} MiB at most, slowest {slowest:.1f} s")  # noqa: T201
    assert _worker().pid == worker.pid
    assert slowest < 30
    assert (await workers.run(_request(good, "last"))).status is Status.DONE


def test_the_edge_judges_each_without_an_error_reading_little(made: list[Made]) -> None:
    for name, _, content in made:
        file = _Counting(content)
        begun = time.monotonic()
        assert complete(file, len(content), name) in (True, False, None), name
        assert file.count <= 4 * len(content) + 200_000, name
        assert time.monotonic() - begun < 30, name


class _Counting(io.BytesIO):
    """Counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_directories_that_overlap_are_not_read_without_end() -> None:
    """Each of many directories claims the same few thousand tags."""
    body = bytearray(12 * 50_000 + 50_000)
    for place in range(0, 12 * 50_000, 12):
        body[place : place + 2] = b"\0\x10"  # 4096 tags; in those of the directories before, a value of no meaning
    offsets = b"".join((512 + 12 * n).to_bytes(4, "little") for n in range(50_000))
    content = raw_tiff({330: (4, 50_000, 512 + len(body))}, bytes(body) + offsets)
    file = _Counting(content)
    begun = time.monotonic()
    assert complete(file, len(content), "a.tif") is None
    assert file.count < 100 * 2**20
    assert time.monotonic() - begun < 30


@pytest.fixture
def painter() -> Iterator[Painter]:
    painter = Painter(seconds=30)
    yield painter
    painter.close()


def test_previews_of_them_leave_the_gateways_process_alone(made: list[Made], painter: Painter, tmp_path: Path) -> None:
    shown, reasons = 0, []
    for name, _, content in made:
        if not name.startswith(("bombs", "structures", "dimensions")) or not name.endswith((".tif", ".bmp")):
            continue
        (tmp_path / name).write_bytes(content)
        target = tmp_path / "preview.jpeg"
        try:
            painter.paint(tmp_path / name, target)
            shown += 1
            assert target.read_bytes().startswith(b"\xff\xd8")
        except ValueError as error:
            reasons.append((name, str(error)))
        (tmp_path / name).unlink()
    assert [reason for name, reason in reasons if name not in reason] == []
    assert shown > 0
    (tmp_path / "good.tif").write_bytes(tiff())
    painter.paint(tmp_path / "good.tif", target)
    assert sorted(os.listdir(tmp_path)) == ["good.tif", "preview.jpeg"]
