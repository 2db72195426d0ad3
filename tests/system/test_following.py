"""One file is followed from the watcher to its returned result: by its id in the logs, and in one trace."""

import gzip
import http.server
import json
import threading
import uuid

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from contracts.hosting import PORTS
from tests.support.fleet import SERVICES, Fleet
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.system
STEPS = [
    "found and read",
    "job-created",
    "transfer-started",
    "input-delivered",
    "sent to the gateway",
    "pipeline-requested",
    "pipeline-reported",
    "pipeline-confirmed",
    "outputs-delivered",
    "results are back",
    "outputs-archived",
]


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans as OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
                for scope in resource.scope_spans:
                    self.server.spans += [(span.trace_id.hex(), service, span.name) for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_) -> None: ...


def test_a_file_is_followed_through_all_processes_by_its_jobs_id(tmp_path, monkeypatch):
    redis, collector = RedisServer(), Collector()
    monkeypatch.setenv("CYTOBUS_LOG_JSON", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    fleet = Fleet(
        tmp_path,
        bus_url=redis.url,
        database_url=f"sqlite:///{tmp_path / 'jobs.db'}",
        services=(*SERVICES, "dashboard"),
    )
    try:
        fleet.start()
        fleet.launcher.add_task("only-file")
        for name in ("one.dat", "two.dat"):
            fleet.edge.drop(name, name.encode())
        fleet.edge.wait_for(lambda: fleet.repository.counts().get("complete") == 2, 60, "not all came back")
        jobs = {job["InputFile"]["Name"]: job["Id"] for job in fleet.repository.jobs()}
        figures = _figures(fleet)
        for instance in (fleet.edge, *fleet.services.values()):
            assert instance.stop() == 0
    finally:
        fleet.close()
        redis.close()
        collector.shutdown()
        collector.server_close()

    lines = [json.loads(line) for i in (fleet.edge, *fleet.services.values()) for line in _json_lines(i.log)]
    for job_id in jobs.values():
        told = [line["msg"] for line in lines if line.get("correlation_id") == job_id and "msg" in line]
        assert {step: sum(step in line for line in told) for step in STEPS} == dict.fromkeys(STEPS, 1)
        trace = {(service, name) for trace_id, service, name in collector.spans if trace_id == uuid.UUID(job_id).hex}
        assert {"sending", "receiving", "pipelines"} <= {name for _, name in trace}
        assert {"cytobus-edge", "cytobus-job-repository", "cytobus-pipelines"} <= {service for service, _ in trace}
    assert figures["cytobus_jobs[('state', 'complete')]"] == 2
    assert figures["cytobus_sent_files_total[]"] == figures["cytobus_received_files_total[]"] == 2
    assert figures["cytobus_returned_files_total[]"] == 2
    assert figures["cytobus_pipeline_seconds_count[('outcome', 'done'), ('pipeline', 'only-file')]"] == 2


def _json_lines(log):
    return [line for line in log.read_text().splitlines() if line.startswith("{")]


def _figures(fleet: Fleet) -> dict[str, float]:
    """Of all services together; each answers with figures."""
    found: dict[str, float] = {}
    places = {name: instance for instance in (fleet.edge, *fleet.services.values()) for name in instance.ports()}
    assert set(places) == set(PORTS) - {"mqtt-export", "cell-index"}
    for name, instance in places.items():
        answer = instance.ask("GET", name, "/metrics")
        assert answer.status_code == 200, name
        for family in text_string_to_metric_families(answer.text):
            found |= {f"{s.name}{sorted(s.labels.items())}": s.value for s in family.samples if s.value}
    return found
