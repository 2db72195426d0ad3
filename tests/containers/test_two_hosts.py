"""Two hosts: the edge behind a network that lets connections out and none in."""

import os
import time

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
    gateway = Deployment(tmp_path / "gateway", "gateway.yml", f"{name}-g", COMPOSE_PROFILES="redis,simulators")
    way_out = docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge").strip()
    edge = Deployment(tmp_path / "edge", "edge.yml", f"{name}-e", GATEWAY_URL=f"http://{way_out}")
    edge.ports = gateway.ports
    services = ("FILE_RECEIVER", "JOB_REPOSITORY", "TASK_LAUNCHER", "FILE_SENDER")
    names = ("file-receiver-gateway", "job-repository", "task-launcher", "file-sender-gateway")
    link = Link(way_out, {PORTS[name]: gateway.ports[service] for service, name in zip(services, names, strict=True)})
    try:
        gateway.up()
        edge.up()
        yield gateway, edge, link
    finally:
        edge.down()
        gateway.down()
        link.close()


def test_files_come_back_though_nobody_can_reach_the_edge(hosts):
    gateway, edge, link = hosts
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
