"""A running gateway over TLS, and people whom a provider vouches for."""

import ssl

import httpx
import pytest

from tests.support.guarded import GuardedInstance
from tests.support.openid_provider import CLIENT, SECRET, OpenIdProvider


@pytest.mark.system
def test_somebody_logs_in_at_the_provider_and_works_here(tmp_path):
    there = OpenIdProvider()
    (tmp_path / "client-secret").write_text(f"{SECRET}\n")
    gateway = GuardedInstance(
        tmp_path / "gateway",
        side="gateway",
        CYTOBUS_SECURITY__REQUIRED="always",
        CYTOBUS_SECURITY__OIDC__ISSUER=there.issuer,
        CYTOBUS_SECURITY__OIDC__CLIENT_ID=CLIENT,
        CYTOBUS_SECURITY__OIDC__CLIENT_SECRET_FILE=str(tmp_path / "client-secret"),
        CYTOBUS_SECURITY__OIDC__ROLES='{"lab-admins": "admin"}',
    )
    gateway.authority = tmp_path / "gateway" / "tls" / "authority.pem"
    try:
        gateway.start()
        trust = ssl.create_default_context(cafile=str(gateway.authority))
        url = gateway.url("job-repository")
        with httpx.Client(base_url=url, verify=trust, timeout=30) as browser:
            sent = browser.get("/api/v1/oidc/login")
            back = httpx.get(sent.headers["location"]).headers["location"]
            assert back.startswith(f"{url}/api/v1/oidc/callback?")
            answer = browser.get(back)
            assert (answer.status_code, answer.headers.get("location")) == (303, "/"), answer.text
            who = browser.get("/api/v1/whoami").json()
            assert (who["Name"], who["Role"]) == ("anna", "admin")
            assert browser.get(f"{gateway.url('task-launcher')}/api/v1/task").status_code == 204
            shown = browser.get("/api/v2/config").text
            assert there.issuer in shown
            assert SECRET not in shown
            assert browser.get(back).status_code == 400
            there.close()  # who is in stays in
            assert browser.get("/api/v1/whoami").status_code == 200
    finally:
        gateway.close()
        there.close()
