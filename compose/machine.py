"""How much of the machine this process may use: a container's limits are not those of its host."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
WORKER_BYTES = 600 * 2**20
"""Memory that is reckoned for one worker process and the model that it holds."""


def fitting_workers(cgroups: Path = CGROUPS) -> int:
    """As many worker processes as there are processors, and memory, for; at least one."""
    fitting = _processors(cgroups)
    memory = _memory(cgroups)
    return max(1, fitting if memory is None else min(fitting, memory // WORKER_BYTES))


def _processors(cgroups: Path) -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (
        _numbers(cgroups / "cpu.max")
        or (  # version 2, else version 1
            *_numbers(cgroups / "cpu" / "cpu.cfs_quota_us"),
            *_numbers(cgroups / "cpu" / "cpu.cfs_period_us"),
        )
        or (0, 0)
    )
    return min(usable, max(1, -(-quota // period))) if quota > 0 and period > 0 else usable


def _memory(cgroups: Path) -> int | None:
    """Bytes; None without a limit."""
    limit = _numbers(cgroups / "memory.max") or _numbers(cgroups / "memory" / "memory.limit_in_bytes")
    return limit[0] if limit and limit[0] < 2**60 else None  # version 1 says "no limit" by an enormous number


def _numbers(file: Path) -> tuple[int, ...]:
    """The whole numbers in a file; none where it is not there or says ``max``."""
    try:
        return tuple(int(word) for word in file.read_text().split())
    except (OSError, ValueError):
        return ()
