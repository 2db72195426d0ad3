"""What a container may use is read from its control group, of either version."""

import os

import pytest

from compose.machine import WORKER_BYTES, fitting_workers

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def written(folder, files: dict[str, str]):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.mark.parametrize(("files", "expected"), [
    ({}, HERE),
    ({"cpu.max": "max 100000", "memory.max": "max"}, HERE),
    ({"cpu.max": "100000 100000"}, 1),
    ({"cpu.max": "50000 100000"}, 1),
    ({"memory.max": str(WORKER_BYTES + 1)}, 1),
    ({"memory.max": "1000"}, 1),
    ({"memory.max": str(1000 * WORKER_BYTES)}, HERE),
    ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, HERE),
    ({"memory/memory.limit_in_bytes": str(WORKER_BYTES)}, 1),
    ({"memory/memory.limit_in_bytes": "9223372036854771712"}, HERE),
], ids=str)  # fmt: skip
def test_workers_fit_into_the_limits(tmp_path, files, expected):
    assert fitting_workers(written(tmp_path, files)) == expected
