"""Requests for rogues, and what lies there afterwards."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from pipelines.workers import Outcome, RunRequest

Run = Callable[[RunRequest], Awaitable[Outcome]]
HERE = Path(__file__).parent


def ask(image: Path, rogue: str, job: str = "job-1", timeout: float = 30, **parameters: str) -> RunRequest:
    folder = image.parent.parent / "out"
    return RunRequest(job, "rogue", f"rogues:{rogue}", image, folder, parameters, timeout=timeout)


def files(folder: Path) -> dict[str, str]:
    """What lies in a folder, but for the second names by which a job's outputs are known until it is reported."""
    seen = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.parent.suffix != ".part"]
    return {str(p.relative_to(folder)): p.read_text() for p in seen}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.005)
