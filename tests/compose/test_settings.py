"""Settings from file and environment; what is wrong is named."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from compose.cli import app
from compose.settings import CONFIG_FILE, Settings


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
    settings = Settings(gateway={"database_url": "postgresql+psycopg://lab:secret@db/cytobus"})

    assert "secret" not in str(settings.shown())
    assert settings.shown()["gateway"]["database_url"] == "postgresql+psycopg://lab:***@db/cytobus"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot_offset = 1\n", "prot_offset"),
        ("[edge]\nsettle_seconds = -1\n", "edge.settle_seconds"),
        ("[edge\n", "settings file"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)

    result = CliRunner().invoke(app, ["doctor", "--config", str(file)], env={CONFIG_FILE: str(file)})

    assert result.exit_code == 2
    assert named in result.output
