"""Malformed images, and things that are no files at all, in the folder that a running cytobus watches."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.pictures import REFUSED, VALID, all_of_them
from tests.support.instance import Instance

pytestmark = pytest.mark.system
ENDS = {"complete", "failed", "quarantined"}
FAMILIES = ("dimensions", "bombs", "metadata")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    running = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS='["nuclei"]', CYTOBUS_PIPELINES__WORKERS="1")
    running.start()
    running.add_task("nuclei")
    try:
        yield running
    finally:
        running.close()


def _by_name(instance: Instance) -> dict[str, dict[str, Any]]:
    return {job["InputFile"]["Name"]: job for job in instance.jobs()}


def _rows(instance: Instance, state: str) -> dict[str, dict[str, Any]]:
    listed = instance.ask("GET", "file-watcher", f"/api/v1/files?state={state}&limit=1000").json()["files"]
    return {Path(row["path"]).name: row for row in listed}


def test_each_ends_with_its_reason_and_what_is_no_file_hinders_nobody(instance: Instance, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(VALID["png"]())
    if hasattr(os, "mkfifo"):
        os.mkfifo(instance.input / "pipe.tif")
        os.mkfifo(instance.input / "pipe.png")
    (instance.input / "link.png").symlink_to(outside)
    (instance.input / "dangling.tif").symlink_to(tmp_path / "nothing")
    (instance.input / "endless.tif").symlink_to("/dev/zero")
    (instance.input / "round.tif").symlink_to(instance.input / "round.tif")
    (instance.input / "folder.tif").mkdir()
    (instance.input / "folder.tif" / "up").symlink_to(instance.input, target_is_directory=True)
    chosen = [one for one in all_of_them() if one[0].startswith(FAMILIES)][::3]
    for name, _, content in chosen:
        instance.drop(name, content)
    instance.drop("good.png", VALID["png"]())

    def judged() -> bool:
        jobs = _by_name(instance)
        missing = {name for name, *_ in chosen} - {name for name, job in jobs.items() if job["State"] in ENDS}
        return jobs.get("good.png", {}).get("State") == "complete" and missing <= unfinished

    # What its own header says to be cut is waited for some minutes: it may still be being written.
    unfinished = {name for name, expected, _ in chosen if expected == REFUSED}
    instance.wait_for(judged, 120, "not all came to an end")
    links = {"link.png", "dangling.tif", "endless.tif"}
    instance.wait_for(lambda: links <= set(_rows(instance, "held")), 60, "links were not held")
    held = _rows(instance, "held")
    assert all("link" in row["reason"] for row in held.values())
    for name, job in _by_name(instance).items():
        if job["State"] != "complete":
            assert job["State"] == "failed", job
            assert name in job["Reason"], job
    assert not {"pipe.tif", "pipe.png", "folder.tif", *held} & set(_by_name(instance))
    assert (instance.output / "good_labels.tif").is_file()
    assert instance.alive()
    assert "Traceback" not in instance.log.read_text()
