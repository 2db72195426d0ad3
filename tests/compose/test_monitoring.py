"""The monitoring files, read by Prometheus' own tools; the dashboard asked of a real Prometheus and real services."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from contracts import policy
from contracts.identity import Role
from tests.support.instance import Instance

HERE = Path(__file__).parents[2]
FILES = HERE / "compose" / "monitoring"
DASHBOARD = json.loads((FILES / "grafana" / "dashboards" / "cytobus.json").read_text())
EXPRESSIONS = [
    pytest.param(target["expr"], id=f"{panel['title']}: {target['legendFormat']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


BY_GATE = {"cytobus_stream_gate_frames_total"}
"""Has no samples before a gate of the map has decided; tests/pipelines/stream/test_gates.py has it."""


def promtool(*arguments: str, given: str | None = None) -> str:
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not installed (Debian's package prometheus): the monitoring files are not checked")
    done = subprocess.run([command, *arguments], capture_output=True, text=True, input=given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\b(cytobus_[a-z_]+)", text))


def test_prometheus_accepts_configuration_and_rules():
    assert "SUCCESS" in promtool("check", "config", str(FILES / "prometheus.yml"))
    # Certificate and token are there in the container only.
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", str(FILES / "prometheus-guarded.yml"))


def test_who_looks_may_see_the_figures_of_a_guarded_service():
    for service in ("job-repository", "pipeline-sim", "mqtt-export"):
        assert policy.may(Role.VIEWER, service, "GET", "/metrics")


def test_each_alert_fires_when_it_must_and_not_before(tmp_path):
    tests = (HERE / "tests" / "compose" / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(tests.replace("RULES", str(FILES / "rules.yml")))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "alerts.yml"))
    alerts = set(re.findall(r"alert: (\w+)", (FILES / "rules.yml").read_text()))
    assert set(re.findall(r"alertname: (\w+)", tests)) == alerts, "each alert has a test"


def test_the_scraped_ports_are_those_of_the_services():
    from contracts.hosting import ON_DEMAND, PORTS

    targets = dict(re.findall(r"- ([a-z-]+):(\d{4,5})", (FILES / "prometheus.yml").read_text()))
    assert {name: PORTS[name] for name in targets} == {name: int(port) for name, port in targets.items()}
    found = {int(port) for port in re.findall(r"\b(59\d{3}|4200)\b", (FILES / "prometheus.yml").read_text())}
    assert found == {*PORTS.values(), *ON_DEMAND.values()}


class Prometheus:
    """A real server that asks one instance's services, each second."""

    def __init__(self, folder: Path, instance: Instance) -> None:
        command = shutil.which("prometheus")
        if command is None:
            pytest.skip("prometheus is not installed (Debian's package prometheus): the dashboard is not tried")
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        targets = [f"127.0.0.1:{port}" for port in sorted(set(instance.ports().values()))]
        scrape = {"job_name": "all", "static_configs": [{"targets": targets}]}
        settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        self.targets = len(targets)
        self._process = subprocess.Popen(
            [
                command,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'series'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=warn",
            ]
        )

    def ask(self, expression: str) -> list[dict]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["result"]

    def wait_for(self, expression: str, seconds: float) -> None:
        """Until it has something to say."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError):  # it does not listen yet
                if httpx.get(f"{self.url}/-/ready").is_success and self.ask(expression):
                    return
            assert time.monotonic() < deadline, f"Prometheus never had {expression}"
            time.sleep(0.2)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory) -> Iterator[Prometheus]:
    """It has seen one job go through and come back."""
    folder = tmp_path_factory.mktemp("monitoring")
    instance = Instance(folder / "data", CYTOBUS_STREAM__ON="true")
    instance.start()
    server = Prometheus(folder, instance)
    try:
        server.wait_for(f"sum(up) == {server.targets}", 30)
        instance.add_task("file-and-results")
        instance.drop("one.dat", b"one" * 100)
        instance.wait_for(lambda: instance.counts().get("complete", 0) == 1, 60, "the job was not done")
        server.wait_for('increase(cytobus_jobs_ended_total{state="complete"}[1h]) > 0', 30)
        server.wait_for("sum(increase(cytobus_pipeline_seconds_count[1h])) > 0", 30)
        server.wait_for("min(count_over_time(process_resident_memory_bytes[5m])) > 2", 30)
        yield server
    finally:
        server.close()
        instance.close()


@pytest.mark.system
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_dashboard_shows_figures_in_every_panel(prometheus, expression):
    found = prometheus.ask(expression)
    assert found, "nothing would be drawn"
    assert all(one["value"][1] not in ("", None) for one in found)


@pytest.mark.system
def test_alerts_speak_of_figures_that_there_are_and_are_silent_when_all_is_well(prometheus):
    rules = (FILES / "rules.yml").read_text()
    for name in metrics_in(rules):
        assert prometheus.ask(name), f"no service has {name}"
    expressions = re.findall(r"expr: (.+)", rules)
    assert {expression: prometheus.ask(expression) for expression in expressions} == {e: [] for e in expressions}


@pytest.mark.system
def test_the_readme_tells_every_figure(prometheus):
    series = {one["metric"]["__name__"] for one in prometheus.ask('{__name__=~"cytobus_.+"}')}
    found = {re.sub("_(bucket|count|sum)$", "", name) for name in series}
    assert metrics_in((HERE / "README.md").read_text()) == found | BY_GATE
