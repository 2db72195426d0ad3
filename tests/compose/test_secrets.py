"""The gateway's secret: without one the gateway does not start, rather than let everybody in."""

import pytest

from compose.secrets import SHORTEST, gateway_secret
from compose.settings import SecuritySettings, Settings


def settings(tmp_path, **security) -> Settings:
    return Settings(data=tmp_path, security=SecuritySettings(required="always", **security))


def test_a_secret_is_made_once_and_kept(tmp_path):
    made = gateway_secret(settings(tmp_path))
    assert len(made) == 64
    assert gateway_secret(settings(tmp_path)) == made
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_command_beside_it_makes_none(tmp_path):
    assert gateway_secret(settings(tmp_path), make=False) == b""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n", " " * 40, "x" * (SHORTEST - 1)])
def test_what_is_no_secret_opens_nothing(tmp_path, content):
    (tmp_path / "secret").write_text(content)
    with pytest.raises(ValueError, match="holds no secret"):
        gateway_secret(settings(tmp_path))
    named = tmp_path / "named"
    named.write_text(content)
    with pytest.raises(ValueError, match="use 16 or more"):
        gateway_secret(settings(tmp_path, secret_file=named))
