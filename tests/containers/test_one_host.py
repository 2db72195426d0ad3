"""Everything on one host in containers: real images, and one fault after another."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.containers.deployment import HERE, Deployment, docker, wait_for
from tests.containers.ledger import Ledger, images_of

pytestmark = pytest.mark.compose
REAL = Path(os.environ.get("CYTOBUS_IMAGES", HERE.parent / "shared" / "data" / "dsb2018" / "images"))


@pytest.fixture(scope="module", params=["redis", "mqtt"])
def one_host(built, request, tmp_path_factory):
    changes = {"COMPOSE_PROFILES": f"{request.param},simulators"}
    if request.param == "mqtt":
        changes["BUS_URL"] = "mqtt://${MQTT_USER}:${MQTT_PASSWORD}@mosquitto:1883"
    folder = tmp_path_factory.mktemp(request.param)
    made = Deployment(folder, "docker-compose.yml", f"cytobus-{request.param}-{os.getpid()}", **changes)
    try:
        made.up()
        # The first task takes every image; here each kind has one of its own.
        (first,) = made.ask("GET", "TASK_LAUNCHER", "/api/v1/task").json()
        assert first["PipelineId"] == "nuclei"
        made.ask("DELETE", "TASK_LAUNCHER", f"/api/v1/task/{first['Id']}")
        made.add_task("only-file", ".dat")
        made.add_task("nuclei", ".png")
        made.add_task("capitals", "for-redis")
        made.add_task("ovms/capitals", "for-mqtt")
        yield made
    finally:
        made.down()


def test_images_come_back_with_their_labels_and_measurements(one_host, tmp_path):
    images, what = images_of(REAL, 10, tmp_path)
    started = time.monotonic()
    for image in images:
        one_host.drop(image.name, image.read_bytes())
    wanted = [
        one_host.results / f"{p.stem}{end}" for p in images for end in ("_labels.tif", "_overlay.png", "_cells.csv")
    ]
    wait_for(lambda: all(path.is_file() for path in wanted), 120, lambda: str(sorted(one_host.results.iterdir())))
    print(f"\n{what} back after {time.monotonic() - started:.1f} s")  # noqa: T201


def test_the_dashboard_shows_the_jobs_and_passes_on_what_its_pages_ask(one_host):
    """In a container of its own, with a health check and figures."""
    page = one_host.ask("GET", "DASHBOARD", "/")
    assert (page.status_code, '<table id="jobs"' in page.text) == (200, True)
    (count,) = {len(one_host.ask("GET", port, path).json()) for port, path in [
        ("JOB_REPOSITORY", "/api/v1/job?limit=1000"), ("DASHBOARD", "/gateway/job-repository/api/v1/job?limit=1000"),
    ]}  # fmt: skip
    assert count > 0
    assert docker("inspect", "-f", "{{.State.Health.Status}}", one_host.container("dashboard")).strip() == "healthy"
    assert "process_resident_memory_bytes" in one_host.ask("GET", "DASHBOARD", "/metrics").text


def faults(deployment: Deployment):
    """What befalls it, one after another."""
    for service in deployment.services():
        yield f"kill -9 {service}", lambda service=service: deployment.kill(service)
    edge, network = deployment.container("edge"), f"{deployment.project}_default"

    def cut_off():
        docker("network", "disconnect", network, edge)
        time.sleep(8)  # the fault's length
        docker("network", "connect", network, edge)

    def paused(service):
        deployment.compose("pause", service)
        time.sleep(5)  # the fault's length
        deployment.compose("unpause", service)

    yield "edge cut off from the gateway for 8 s", cut_off
    yield "job-repository frozen for 5 s", lambda: paused("job-repository")
    yield "postgres restarted", lambda: deployment.compose("restart", "-t", "5", "postgres")
    if "redis" in deployment.services():
        forget = ["exec", "-T", "redis", "redis-cli", "FLUSHALL"]
        yield "redis loses everything", lambda: deployment.compose(*forget)
    yield "everything restarted", lambda: deployment.compose("restart", "-t", "10")


def test_after_every_fault_every_file_comes_back_once(one_host):
    ledger = Ledger(one_host)
    ledger.round("none", lambda: None)
    for name, befall in list(faults(one_host)):
        ledger.round(name, befall)
    ledger.show(f"one host, bus {one_host.project.split('-')[1]}")
    ledger.check()


def test_strangers_pipelines_work_beside_it(one_host):
    """Two programs written from the contract alone, in a container of their own on the deployment's networks."""
    project = one_host.project
    redis = "redis" in one_host.services()
    runs = [("for-mqtt.txt", ["mqtt_pipeline.py", "mosquitto", "1883", "pipeline", "laptop-only"])]
    if redis:
        runs.append(("for-redis.txt", ["redis_pipeline.py", "redis://:laptop-only@redis:6379/0", "capitals"]))
    for name, command in runs:
        container = docker(
            "run", "-d", "--rm", "--network", f"{project}_default", "-v", f"{project}_files:/files",
            "-v", f"{HERE / 'tests' / 'strangers'}:/stranger:ro", "-u", f"{os.getuid()}:{os.getgid()}",
            "--no-healthcheck", "--entrypoint", "python", "-w", "/stranger", "cytobus:local", "-u", *command,
        ).strip()  # fmt: skip
        try:
            docker("network", "connect", f"{project}_inside", container)
            wait_for(lambda c=container: "listening" in docker("logs", c), 30, lambda c=container: docker("logs", c))
            one_host.drop(name, b"small letters")
            back = one_host.results / name.replace(".txt", "-capitals.txt")
            wait_for(back.is_file, 60, lambda c=container: docker("logs", c))
            assert back.read_text() == "SMALL LETTERS"
        finally:
            docker("kill", container)


def test_the_doctor_finds_nothing_wrong_from_inside(one_host):
    wait_for(lambda: not one_host.unwell(), 60, lambda: str(one_host.unwell()))
    for service in ("job-repository", "edge"):
        said = one_host.compose("exec", "-T", service, "cytobus", "doctor")
        assert "✗" not in said, said


def test_the_doctor_names_a_service_that_is_gone(one_host):
    one_host.compose("stop", "task-launcher")
    try:
        said = one_host.compose("exec", "-T", "job-repository", "cytobus", "doctor", check=False)
        (line,) = [line for line in said.splitlines() if "✗" in line]
        assert "task-launcher" in line
    finally:
        one_host.compose("start", "task-launcher")
        wait_for(lambda: not one_host.unwell(), 60, lambda: str(one_host.unwell()))


def test_more_runners_share_the_work_and_no_job_runs_twice(one_host):
    one_host.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "simulators=3")
    wait_for(lambda: not one_host.unwell(), 60, lambda: str(one_host.unwell()))
    names = [f"many-{number}.dat" for number in range(60)]
    for name in names:
        one_host.drop(name, name.encode() * 100)
    back = [one_host.results / name.replace(".dat", "-sim.dat") for name in names]
    wait_for(lambda: all(path.is_file() for path in back), 120, lambda: one_host.compose("logs", "--tail", "20"))
    jobs = one_host.ask("GET", "JOB_REPOSITORY", "/api/v1/job?name=many-&limit=1000").json()
    assert len(jobs) == len(names)
    starts = []
    for job in jobs:
        history = one_host.ask("GET", "JOB_REPOSITORY", f"/api/v1/job/{job['Id']}/history").json()
        starts.append([line["Why"] for line in history if line["What"] == "pipeline-started"])
    assert {len(one) for one in starts} == {1}
    assert len({one[0] for one in starts}) == 3, "all three took some"


def test_it_stops_cleanly_and_goes_on_where_it_was(one_host):
    one_host.drop("last.dat", b"before the stop")
    one_host.compose("stop")
    ends = one_host.compose("ps", "-a", "--format", "{{.Service}} {{.ExitCode}}").split("\n")
    ours = [line for line in ends if line and not line.startswith(("redis", "postgres", "mosquitto"))]
    assert {line.rpartition(" ")[2] for line in ours} == {"0"}, ours
    one_host.up()
    wait_for((one_host.results / "last-sim.dat").is_file, 60, lambda: one_host.compose("logs", "--tail", "20"))


def test_it_refuses_the_examples_passwords_where_others_can_reach_it(built):
    command = ["docker", "run", "--rm", "-e", "CYTOBUS_PUBLISHED_ON=0.0.0.0"]
    command += ["-e", "CYTOBUS_BUS_URL=redis://:laptop-only@redis:6379/0", "cytobus:local", "serve", "mqtt-export"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "set passwords of your own" in " ".join((done.stdout + done.stderr).split())
