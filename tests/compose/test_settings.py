"""Settings from file and environment; what is wrong is named."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from compose.cli import app
from compose.pipelines import limits_of
from compose.settings import CONFIG_FILE, Settings, address
from pipelines.workers import Limits


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('port_offset = 5\n[edge]\nhostname = "scope-1"\npoll = true\n')
    monkeypatch.setenv(CONFIG_FILE, str(file))
    monkeypatch.setenv("CYTOBUS_EDGE__HOSTNAME", "scope-2")

    settings = Settings()

    assert (settings.port_offset, settings.edge.hostname, settings.edge.poll) == (5, "scope-2", True)
    assert settings.ports()["job-repository"] == 59789
    assert Settings(port_offset=-1).ports()["job-repository"] == 0


def test_everything_lies_in_the_data_folder_unless_told_otherwise(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "d")

    assert settings.folders() == (tmp_path / "d/edge/input",)
    assert settings.output() == tmp_path / "d/edge/output"
    assert settings.gateway_files() == tmp_path / "d/gateway"
    assert settings.database_url() == f"sqlite:///{tmp_path / 'd/gateway.db'}"


def test_a_password_is_never_shown() -> None:
    settings = Settings(
        gateway={"database_url": "postgresql+psycopg://lab:hush-1@db/cytobus"},
        security={"secret": "hush-2", "oidc": {"client_secret": "hush-3"}},
    )

    assert "hush" not in str(settings.shown())
    assert settings.shown()["gateway"]["database_url"] == "postgresql+psycopg://lab:***@db/cytobus"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot_offset = 1\n", "prot_offset"),
        ("[edge]\nsettle_seconds = -1\n", "edge.settle_seconds"),
        ("[edge\n", "settings file"),
        ("[pipelines.limits.nuclei]\nattempts = 0\n", "pipelines.limits.nuclei.attempts"),
        ('[pipelines.backends]\nnuclei = "triton://here:8001"\n', "kserve+grpc"),
        ("[pipelines.limits.nuclei]\nmemory = 5\n", "pipelines.limits.nuclei.memory"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)

    result = CliRunner().invoke(app, ["doctor", "--config", str(file)], env={CONFIG_FILE: str(file)})

    assert result.exit_code == 2
    assert named in result.output


EVERYBODYS = {
    "bus_url": "redis://:laptop-only@redis:6379/0",
    "export_url": "mqtt://cytobus:laptop-only@mosquitto:1883",
    "gateway": {"database_url": "postgresql://cytobus:laptop-only@postgres/cytobus"},
}


@pytest.mark.parametrize("setting", EVERYBODYS)
@pytest.mark.parametrize("place", ["0.0.0.0", "::", "192.168.1.5", "gateway.lab"])
def test_the_examples_password_is_refused_where_others_can_reach_it(setting, place):
    with pytest.raises(ValidationError, match="set passwords of your own") as refused:
        Settings(published_on=place, **{setting: EVERYBODYS[setting]})
    assert ("database_url" if setting == "gateway" else setting) in str(refused.value)


@pytest.mark.parametrize("place", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_a_laptop_the_examples_password_will_do(place):
    assert Settings(published_on=place, **EVERYBODYS).published_on == place


def test_what_is_shown_of_the_settings_holds_no_password():
    shown = str(Settings(**EVERYBODYS).shown())
    assert "laptop-only" not in shown
    assert "redis://:***@redis:6379/0" in shown


@pytest.mark.parametrize(("bus", "style", "export"), [
    ("local://", "aicsd", ""),
    ("redis://redis", "aicsd", ""),
    ("mqtt://broker", "edgex", "mqtt://broker"),
])  # fmt: skip
def test_the_form_of_orders_and_the_exporter_follow_the_bus(bus, style, export):
    settings = Settings(bus_url=bus)
    assert (settings.launch_style(), settings.export_to()) == (style, export)
    assert Settings(bus_url=bus, export_url="mqtt://other").export_to() == "mqtt://other"
    assert Settings(bus_url=bus, gateway={"launch_style": "aicsd"}).launch_style() == "aicsd"


@pytest.mark.parametrize(("base", "expected"), [
    ("http://127.0.0.1", "http://127.0.0.1:59784"),
    ("http://gateway.lab/", "http://gateway.lab:59784"),
    ("http://{service}", "http://job-repository:59784"),
    ("https://{service}.lab", "https://job-repository.lab:59784"),
])  # fmt: skip
def test_an_address_may_name_the_service(base, expected):
    assert address(base, "job-repository", 59784) == expected


def test_the_limits_of_one_pipeline_override_the_general_ones_for_it_alone(tmp_path, monkeypatch):
    file = tmp_path / "mine.toml"
    file.write_text(
        "[pipelines]\ntimeout_seconds = 60\nmemory_mb = 100\n"
        "[pipelines.limits.nuclei]\nmemory_mb = 4000\n[pipelines.limits.slow]\ntimeout_seconds = 900\nattempts = 1\n"
    )
    monkeypatch.setenv(CONFIG_FILE, str(file))
    general, own = limits_of(Settings().pipelines)
    assert general == Limits(60.0, 100 << 20, 5)
    assert own == {"nuclei": Limits(60.0, 4000 << 20, 5), "slow": Limits(900.0, 100 << 20, 1)}


def test_the_limits_of_pipelines_can_be_set_in_the_environment(monkeypatch):
    monkeypatch.setenv("CYTOBUS_PIPELINES__LIMITS", '{"only-file": {"attempts": 3}}')
    assert limits_of(Settings().pipelines)[1]["only-file"].attempts == 3


def test_only_who_keeps_the_database_minds_its_disk(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "in-memory", gateway={"files": tmp_path / "files"})
    assert settings.gateway_places("input") == {
        "input": tmp_path / "files" / "input",
        "database": tmp_path / "in-memory",
    }
    assert settings.gateway_places("input", keeps_database=False) == {"input": tmp_path / "files" / "input"}
