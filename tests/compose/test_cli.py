"""The commands an operator types, on a running instance; the doctor on a healthy and a sick set-up."""

import asyncio
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compose.cli import app
from compose.doctor import examine, reach
from compose.settings import EdgeSettings, Settings
from tests.support.instance import Instance

ROOT = Path(__file__).parents[2]
WIDE = {"COLUMNS": "400", "TERM": "dumb"}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    made = Instance(tmp_path_factory.mktemp("cli") / "data", CYTOBUS_PIPELINES__TOPICS='["only-file", "only-results"]')
    made.start()
    yield made
    made.close()


def type_in(instance: Instance, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--data", str(instance.data)], env=WIDE)
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.system
def test_the_house_is_kept_from_the_command_line(instance: Instance, tmp_path: Path) -> None:
    said = type_in(instance, "archive", "sweep", "--dry-run")
    assert "would remove 0 files" in said
    assert "removed 0 files" in type_in(instance, "archive", "sweep")
    file = tmp_path / "gateway.zip"
    assert "schema " in type_in(instance, "backup", str(file))
    assert file.stat().st_size > 0
    assert "there is no folder" in type_in(instance, "backup", str(tmp_path / "none" / "b.zip"), code=2)
    assert "stop the gateway first" in type_in(instance, "restore", str(file), code=1)
    metrics = instance.ask("GET", "file-receiver-gateway", "/metrics").text
    assert 'cytobus_disk_free_bytes{place="input"}' in metrics


@pytest.mark.system
def test_a_task_is_added_used_listed_and_removed(instance: Instance, tmp_path: Path) -> None:
    said = type_in(
        instance, "tasks", "add", "--description", "mine", "--pipeline", "only-results", "--contains", "cli-image"
    )
    task = said.strip()
    assert "only-results" in type_in(instance, "tasks", "list")
    image = tmp_path / "cli-image.txt"
    image.write_text("pixels")

    assert "complete CellCount, 598" in type_in(instance, "submit", str(image))

    listed = type_in(instance, "jobs", "list", "--name", "cli-image", "--state", "complete")
    job = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", listed)
    assert job is not None, listed
    assert "pipeline-confirmed" in type_in(instance, "jobs", "show", job.group())
    type_in(instance, "jobs", "reject", job.group())
    assert (instance.data / "gateway/reject/only-results/cli-image.txt").read_text() == "pixels"
    assert "can be released" in type_in(instance, "jobs", "release", job.group(), code=1)
    type_in(instance, "tasks", "remove", task)


@pytest.mark.system
def test_a_bad_rule_and_an_unknown_job_are_refused_in_words(instance: Instance) -> None:
    said = type_in(
        instance, "tasks", "add", "--description", "x", "--pipeline", "p", "--rule", '{"frobnicate": [1, 2]}', code=1
    )
    assert "frobnicate" in said
    assert "nowhere" in type_in(instance, "jobs", "show", "nowhere", code=1)
    assert "states are" in type_in(instance, "jobs", "list", "--state", "odd", code=2)


@pytest.mark.system
def test_the_doctor_finds_a_running_instance_well(instance: Instance) -> None:
    findings = asyncio.run(examine(Settings(data=instance.data)))

    sick = {finding.what for finding in findings if finding.bad}
    assert sick <= {"free disk", "synced write", "tasks"}, [f for f in findings if f.bad]
    assert {f.what: f.seen for f in findings}["job-repository"] == "runs"


@pytest.mark.parametrize(
    ("host", "published_on", "in_container", "bad"),
    [
        ("0.0.0.0", "127.0.0.1", False, True),
        ("192.168.1.7", "localhost", False, True),
        ("0.0.0.0", "127.0.0.1", True, False),
        ("127.0.0.1", "127.0.0.1", False, False),
        ("0.0.0.0", "gateway.lab", False, False),
        ("0.0.0.0", "", False, False),
    ],
)
def test_the_doctor_warns_of_services_that_others_reach_although_they_are_said_to_be_published_here_only(
    tmp_path: Path, host: str, published_on: str, in_container: bool, bad: bool
) -> None:
    mark = tmp_path / "mark"
    if in_container:
        mark.touch()
    found = reach(Settings(data=tmp_path, host=host, published_on=published_on), (mark,))
    assert [finding.bad for finding in found] == ([True] if bad else [])
    if bad:
        assert host in found[0].seen
        assert "published_on" in found[0].remedy


def test_the_doctor_names_what_is_wrong_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "edge.db").write_bytes(b"this is no database, this is a poem about one" * 100)
    settings = Settings(data=tmp_path, edge=EdgeSettings(folders=(tmp_path / "not-mounted",)), port_offset=2000)

    findings = {finding.what: finding for finding in asyncio.run(examine(settings))}

    assert findings["watched folder"].bad
    assert "mount" in findings["watched folder"].remedy
    assert findings["edge journal"].bad
    assert "does not answer" in findings["job-repository"].seen
    assert findings["job-repository"].bad


def test_worker_processes_do_not_load_the_command_that_started_them() -> None:
    """Each imports what the program's script imports."""
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["cytobus"]
    module, _, function = script.partition(":")
    code = f"import sys; from {module} import {function}; assert not {{'typer', 'compose.cli'}} & {{*sys.modules}}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
