"""The compose files and the Dockerfile, as the tools read them; no engine is needed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.containers.deployment import EXAMPLE, HERE

COMPOSE = ("docker-compose.yml", "gateway.yml", "edge.yml")
PROFILES = ("redis", "mqtt", "redis,simulators", "redis,monitoring", "mqtt,simulators,monitoring")


def docker_compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "compose", "--env-file", str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=HERE / "compose")


def tool(name: str) -> str:
    """A command that the test extra installs: it is beside the interpreter, also where its folder is not on PATH."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    assert found, f"{name} is part of the test extra"
    return found


def needs_compose() -> None:
    if shutil.which("docker") is None or docker_compose("version").returncode != 0:
        pytest.skip("docker compose is not installed: the compose files are not checked by it")


@pytest.mark.parametrize("file", COMPOSE)
@pytest.mark.parametrize("profiles", PROFILES)
def test_docker_compose_accepts_the_files_with_every_profile(file, profiles, monkeypatch):
    needs_compose()
    monkeypatch.setenv("COMPOSE_PROFILES", profiles)
    checked = docker_compose("-f", file, "config", "-q")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("file", COMPOSE)
def test_the_compose_schema_accepts_the_files(file):
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(HERE / "compose" / file)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_dockerfile_is_clean():
    versions_are_elsewhere = ["--ignore", "DL3013"]  # pyproject.toml has them
    command = [tool("hadolint"), *versions_are_elsewhere, str(HERE / "compose" / "Dockerfile")]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_every_setting_that_the_files_ask_for_is_in_the_example_with_a_word_about_it():
    asked = {name for file in COMPOSE for name in re.findall(r"\$\{([A-Z_]+)", (HERE / "compose" / file).read_text())}
    given = {line.partition("=")[0] for line in EXAMPLE.read_text().splitlines() if re.match(r"[A-Z_]+=", line)}
    assert asked - given == set()
    assert given - asked <= {"COMPOSE_PROFILES", "MQTT_USER"}


@pytest.mark.parametrize("file", COMPOSE)
def test_what_the_files_mount_is_there(file):
    """Docker makes an empty folder of what it does not find, and the container fails far from the cause."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (HERE / "compose" / file).read_text())  # as without settings
    for path in re.findall(r"- (\./(?!data)[^:]+):", text):
        assert (HERE / "compose" / path).exists(), path


def test_without_settings_it_says_what_to_do(tmp_path):
    needs_compose()
    empty = tmp_path / "empty.env"
    empty.write_text("")
    command = ["docker", "compose", "--env-file", str(empty), "-f", "gateway.yml", "config", "-q"]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=HERE / "compose")
    assert checked.returncode != 0
    assert "copy .env.example to .env first" in checked.stderr


def test_every_container_of_ours_is_an_ordinary_user_without_rights_or_a_way_to_write(monkeypatch):
    needs_compose()
    import json

    monkeypatch.setenv("COMPOSE_PROFILES", "redis,simulators")
    services = json.loads(docker_compose("-f", "docker-compose.yml", "config", "--format", "json").stdout)["services"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"], name
        if name.startswith("prepare"):
            assert service["cap_add"] == ["CHOWN"], name
            continue
        assert service["user"].split(":")[0] not in ("0", "root"), name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["mem_limit"]) > 0, name


@pytest.mark.parametrize(("file", "extras"), [
    ("all.txt", ("bus", "gateway", "pipelines", "otel")), ("edge.txt", ("bus", "otel")),
])  # fmt: skip
def test_what_goes_into_the_images_is_pinned_by_its_hash_and_is_what_the_project_asks_for(file, extras):
    lines = (HERE / "compose" / "locked" / file).read_text().replace("\\\n", "").splitlines()
    pinned = {}
    for line in lines:
        assert line.count("--hash=sha256:") > 0, line
        one = Requirement(line.partition(" --hash")[0])
        (version,) = one.specifier
        assert version.operator == "=="
        pinned[canonicalize_name(one.name)] = version.version
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(name for extra in extras for name in project["optional-dependencies"][extra])]
    for one in map(Requirement, asked):
        if one.name != "cytobus":
            assert pinned[canonicalize_name(one.name)] in one.specifier, f"{one}: run make lock"
