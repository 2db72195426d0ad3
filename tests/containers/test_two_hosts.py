"""Two hosts: the edge behind a network that lets connections out and none in; off the laptop, so everything is TLS and
nobody is let in who is not known."""

import os
import re
import socket
import time

import httpx
import pytest

from contracts.hosting import PORTS
from tests.containers.deployment import Deployment, docker, wait_for
from tests.containers.ledger import Ledger
from tests.containers.link import Link

pytestmark = pytest.mark.compose


@pytest.fixture
def hosts(built, tmp_path):
    """The gateway, the edge, and the line between them: the address of the edge's way out, and nothing behind it."""
    name = f"cytobus-two-{os.getpid()}"
    way_out = docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge").strip()
    own = {f"{secret}_PASSWORD": f"own-{secret}" for secret in ("POSTGRES", "REDIS", "MQTT", "MQTT_PIPELINE")}
    own |= {"BIND_ADDRESS": way_out, "PUBLIC_NAME": way_out, "GATEWAY_SECRET": "0123456789abcdef" * 2}
    gateway = Deployment(tmp_path / "gateway", "gateway.yml", f"{name}-g", COMPOSE_PROFILES="redis,simulators", **own)
    edge = Deployment(tmp_path / "edge", "edge.yml", f"{name}-e", GATEWAY_URL=f"https://{way_out}")
    edge.ports = gateway.ports
    services = ("FILE_RECEIVER", "JOB_REPOSITORY", "TASK_LAUNCHER", "FILE_SENDER")
    names = ("file-receiver-gateway", "job-repository", "task-launcher", "file-sender-gateway")
    ports = {PORTS[name]: gateway.ports[service] for service, name in zip(services, names, strict=True)}
    link = Link(way_out, ports, way_out)
    try:
        gateway.up()
        gateway.admit()
        edge.ports, edge.address = gateway.ports, gateway.address
        edge.word, edge.authority = gateway.word, gateway.authority
        printed = gateway.compose(
            "exec", "-T", "-e", "COLUMNS=400", "job-repository", *["cytobus", "edges", "invite", "scope-1"]
        )
        code = re.search(r"'(.+)'", printed)[1]
        edge.up()
        edge.compose("exec", "-T", "edge", "cytobus", "enroll", f"https://{way_out}", code)
        edge.compose("restart", "edge")
        edge.up()
        yield gateway, edge, link
    finally:
        edge.down()
        gateway.down()
        link.close()


def strangers_stay_outside(gateway: Deployment) -> None:
    word, gateway.word = gateway.word, "nonsense"
    for port, path in [
        ("JOB_REPOSITORY", "/api/v1/job"),
        ("TASK_LAUNCHER", "/api/v1/task"),
        ("FILE_SENDER", "/metrics"),
        ("DASHBOARD", "/"),
        ("DASHBOARD", "/gateway/job-repository/api/v1/job"),
    ]:
        assert gateway.ask("GET", port, path).status_code == 401
    assert gateway.ask("GET", "FILE_RECEIVER", "/api/v1/health").json()["state"] == "ok"
    gateway.word = word
    with (
        socket.create_connection((gateway.address, gateway.ports["MQTT"]), timeout=10) as plain,
        gateway.trust().wrap_socket(plain, server_hostname=gateway.address) as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")


def people_sign_in_at_the_dashboard(gateway: Deployment) -> None:
    """Over TLS, with the gateway's own certificate; the session that it gives opens its pages."""
    where = f"https://{gateway.address}:{gateway.ports['DASHBOARD']}"
    with httpx.Client(base_url=where, verify=gateway.trust(), timeout=30) as client:
        assert client.get("/", headers={"Accept": "text/html"}).headers["location"].startswith("/sign-in")
        body = {"Name": "anna", "Password": "a long password"}
        assert client.post("/gateway/job-repository/api/v1/login", json=body).status_code == 200
        assert "anna" in client.get("/").text
    direct = f"https://{gateway.address}:{gateway.ports['JOB_REPOSITORY']}/api/v1/login"
    assert httpx.post(direct, json=body, verify=gateway.trust(), timeout=30).status_code == 200
    audit = gateway.ask("GET", "JOB_REPOSITORY", "/api/v1/audit").json()
    addresses = [line["Address"] for line in audit if line["What"] == "log in"]
    assert len(addresses) == 2
    assert len(set(addresses)) == 1, "of who came, not of the dashboard's container"


def test_files_come_back_though_nobody_can_reach_the_edge(hosts):
    gateway, edge, link = hosts
    strangers_stay_outside(gateway)
    people_sign_in_at_the_dashboard(gateway)
    (first,) = gateway.ask("GET", "TASK_LAUNCHER", "/api/v1/task").json()
    gateway.ask("DELETE", "TASK_LAUNCHER", f"/api/v1/task/{first['Id']}")
    gateway.add_task("only-file", ".dat")

    assert docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", edge.container("edge")).strip() == "{}"
    address = docker(
        "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", edge.container("edge")
    ).strip()
    knock = f"import socket; socket.create_connection(({address!r}, 59780), timeout=3)"
    assert edge.compose("exec", "-T", "edge", "python", "-c", knock) == ""  # it listens, for itself
    said = gateway.compose("exec", "-T", "job-repository", "python", "-c", knock, check=False)
    assert "TimeoutError" in said or "No route" in said or "refused" in said, (
        f"the gateway could reach the edge: {said}"
    )

    def cut():
        link.cut()
        time.sleep(10)  # the fault's length
        link.mend()

    ledger = Ledger(edge)
    ledger.round("none", lambda: None)
    ledger.round("line cut for 10 s", cut)
    ledger.round("gateway stopped and started", lambda: (gateway.compose("stop"), gateway.up()))
    ledger.round("kill -9 edge", lambda: edge.kill("edge"))
    ledger.show("two hosts")
    ledger.check()
    wait_for(lambda: not gateway.unwell() + edge.unwell(), 60, lambda: str(gateway.unwell() + edge.unwell()))
