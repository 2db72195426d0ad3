"""Settings of logins at a provider: what is wrong is named, what is not said is found."""

import pytest
from pydantic import ValidationError

from compose.access import access
from compose.logins import logins
from compose.settings import Settings

WHOLE = {"issuer": "https://login.lab/realms/lab", "client_id": "cytobus", "roles": {"lab-admins": "admin"}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def client(folder, oidc=WHOLE, **settings):
    """As which client the gateway presents itself; None where nobody has to log in."""
    security = {"oidc": oidc, **settings.pop("security", {})}
    mine = access(Settings(data=folder, security=security, **settings), "test")
    found = logins(mine, None, lambda: 0, 59784)
    return found and found.provider.client


@pytest.mark.parametrize(("change", "named"), [
    ({"issuer": "http://login.lab"}, "https://"), ({"issuer": "login.lab"}, "https://"),
    ({"issuer": "https://[x"}, "https://"), ({"client_id": ""}, "client_id"), ({"roles": {}}, "groups"),
    ({"roles": {"lab": "service"}}, "viewer"), ({"roles": {"lab": "edge"}}, "viewer"), ({"scopes": ["x"]}, "openid"),
    ({"redirect_uri": "http://gateway.lab/x"}, "redirect_uri"), ({"client_secrets": "x"}, "client_secrets"),
])  # fmt: skip
def test_what_is_wrong_is_named(change, named):
    with pytest.raises(ValidationError, match=named):
        Settings(security={"oidc": WHOLE | change})


def test_all_can_be_said_in_the_environment(monkeypatch, tmp_path):
    (tmp_path / "client-secret").write_text("hush\n")
    for name, value in {"ISSUER": "https://login.lab", "CLIENT_ID": "cytobus", "ROLES": '{"lab": "viewer"}',
                        "CLIENT_SECRET_FILE": str(tmp_path / "client-secret")}.items():  # fmt: skip
        monkeypatch.setenv(f"CYTOBUS_SECURITY__OIDC__{name}", value)
    mine = Settings().security.oidc
    assert (mine.issuer, mine.roles, mine.secret()) == ("https://login.lab", {"lab": "viewer"}, "hush")


def test_browsers_come_back_to_where_the_gateway_is_published(tmp_path):
    proxy = {"security": {"tls": "proxy"}}
    callback = "/api/v1/oidc/callback"
    for settings, start in (
        ({"host": "0.0.0.0", "published_on": "gateway.lab"}, "https://gateway.lab:59784"),
        ({"host": "0.0.0.0", "published_on": "gateway.lab", **proxy}, "https://gateway.lab"),
        ({"host": "192.168.1.5"}, "https://192.168.1.5:59784"),
        ({"host": "fd00::5"}, "https://[fd00::5]:59784"),
        ({"security": {"required": "always"}}, "https://127.0.0.1:59784"),
    ):
        assert client(tmp_path, **settings).redirect_uri == start + callback
    elsewhere = WHOLE | {"redirect_uri": "https://www.lab/cytobus/back"}
    assert client(tmp_path, elsewhere, host="192.168.1.5").redirect_uri == "https://www.lab/cytobus/back"
    with pytest.raises(ValueError, match="published_on is empty"):
        client(tmp_path, host="0.0.0.0")


def test_on_a_laptop_nobody_logs_in(tmp_path):
    assert client(tmp_path) is None
    assert client(tmp_path, {}, host="192.168.1.5") is None
