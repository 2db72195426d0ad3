"""What an operator does to jobs of a whole cytobus: cancel and release, and a task applied to jobs that have ended."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compose.cli import app
from tests.support.instance import Instance

pytestmark = pytest.mark.system
WIDE = {"COLUMNS": "1000", "TERM": "dumb"}
PIPELINES = '["only-file", "only-results", "file-and-results"]'
SECONDS = 60


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS=PIPELINES)
    made.start()
    yield made
    made.close()


def type_in(instance: Instance, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--data", str(instance.data)], env=WIDE)
    assert result.exit_code == code, result.output
    return result.output


def job_of(instance: Instance, name: str) -> dict[str, Any]:
    return next((job for job in instance.jobs() if job["InputFile"]["Name"] == name), {})


def comes_to(instance: Instance, name: str, state: str, more: Callable[[dict], bool] = lambda _job: True) -> dict:
    def so() -> bool:
        job = job_of(instance, name)
        return job.get("State") == state and more(job)

    instance.wait_for(so, SECONDS, f"{name} is not {state}")
    return job_of(instance, name)


def test_a_job_is_cancelled_by_command_and_comes_back_after_its_release(instance: Instance) -> None:
    task = instance.add_task("nobody-runs-this")
    instance.drop("a.txt", b"pixels")
    job = comes_to(instance, "a.txt", "running")["Id"]

    said = type_in(instance, "jobs", "cancel", job, "--reason", "wrong plate")

    assert f"{job} is cancelled" in said
    ended = job_of(instance, "a.txt")
    assert (ended["Owner"], ended["Status"]) == ("none", "FileErrored")
    assert ended["Reason"] == "cancelled by operator: wrong plate"
    assert job in type_in(instance, "jobs", "list", "--state", "cancelled")
    assert "no job nowhere" in type_in(instance, "jobs", "cancel", job, "nowhere", code=1)
    assert "nothing to retry; release it" in type_in(instance, "jobs", "retry", job, code=1)
    assert "give either" in type_in(instance, "jobs", "cancel", code=2)

    change = {"Id": task, "PipelineId": "only-file"}
    assert instance.ask("PUT", "task-launcher", "/api/v1/task", json=change).status_code == 200
    assert "1 jobs changed" in type_in(
        instance, "jobs", "release", "--state", "cancelled", "--reason", "right after all"
    )
    comes_to(instance, "a.txt", "complete")
    assert (instance.output / "a-sim.txt").read_bytes() == b"pixels"
    shown = re.sub(r"\s+", " ", type_in(instance, "jobs", "show", job))
    assert "job-cancelled" in shown
    assert "right after all" in shown


def test_a_new_task_is_applied_to_jobs_that_no_task_wanted_and_to_those_that_are_done(instance: Instance) -> None:
    instance.drop("dapi.txt", b"nuclei")
    instance.drop("gfp.txt", b"cells")
    for name in ("dapi.txt", "gfp.txt"):
        comes_to(instance, name, "unmatched")
    instance.wait_for(lambda: instance.stop() == 0, SECONDS, "it does not stop")  # it may be hours later
    instance.start()

    task = instance.add_task("only-file", '{"in": ["dapi", {"var": "InputFile.Name"}]}')
    said = type_in(instance, "tasks", "apply", task, "--dry-run")
    assert "2 jobs looked at, 1 wanted by the task, 1 would be processed" in said
    assert job_of(instance, "dapi.txt")["State"] == "unmatched"
    assert "1 are on their way" in type_in(instance, "tasks", "apply", task, "--since", "2020-01-01")
    first = comes_to(instance, "dapi.txt", "complete")
    assert (instance.output / "dapi-sim.txt").read_bytes() == b"nuclei"
    assert job_of(instance, "gfp.txt")["State"] == "unmatched"

    better = instance.add_task("file-and-results")
    states = ("--state", "unmatched,complete")
    said = type_in(instance, "tasks", "apply", better, *states)
    assert "2 jobs looked at, 2 wanted by the task, 2 are on their way" in said
    second = comes_to(instance, "dapi.txt", "complete", lambda job: bool(job["Earlier"]))
    comes_to(instance, "gfp.txt", "complete")
    assert second["Id"] == first["Id"]
    assert second["PipelineDetails"]["TaskId"] == better
    assert second["PipelineDetails"]["Results"] != first["PipelineDetails"]["Results"] == ""
    (before,) = second["Earlier"]
    assert before["PipelineDetails"]["TaskId"] == task
    archived = [*_archived(first), *_archived(second)]
    assert len(set(archived)) == 4
    assert [Path(name).read_bytes() for name in archived] == [b"nuclei"] * 4
    assert "0 are on their way" in type_in(instance, "tasks", "apply", better, *states)
    assert "0 are on their way" in type_in(instance, "tasks", "apply", task, *states)

    (instance.input / "dapi.txt").unlink()
    third = instance.add_task("only-results")
    type_in(instance, "tasks", "apply", third, "--state", "complete", "--reason", "once more")
    kept = comes_to(instance, "dapi.txt", "complete", lambda job: "no longer there" in job["Reason"])
    assert kept["PipelineDetails"] == second["PipelineDetails"]
    comes_to(instance, "gfp.txt", "complete", lambda job: job["PipelineDetails"]["TaskId"] == third)


def _archived(job: dict[str, Any]) -> list[str]:
    outputs = job["PipelineDetails"]["OutputFiles"]
    return [job["InputFile"]["ArchiveName"], *(output["ArchiveName"] for output in outputs)]
