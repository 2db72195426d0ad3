"""Hostile names through a whole running cytobus, at each of its doors: nothing outside is touched or falls over."""

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from compose.cli import app
from contracts.printable import printable
from tests.hostile.names import ALL, NAMES, can_exist
from tests.support.instance import Instance

pytestmark = pytest.mark.system
ENDS = {"complete", "failed", "quarantined", "unmatched"}
SECRET = b"what lies outside is nobody's business"
LEAD_OUT = ("traversal", "absolute")
IN_PATHS = ("traversal", "absolute", "control characters", "percent", "ours")
TEXTS = [name for name in ALL if not any("\ud800" <= sign <= "\udfff" for sign in name)]


@dataclass(frozen=True)
class Names:
    """Those that are tried; ``most`` of each kind, spread over it, but all that lead out of a folder."""

    most: int

    def of(self, *kinds: str) -> list[str]:
        """Each once."""
        steps = {kind: 1 if kind in LEAD_OUT else max(1, -(-len(NAMES[kind]) // self.most)) for kind in kinds}
        chosen = (NAMES[kind][::step] for kind, step in steps.items())
        return list(dict.fromkeys(name for some in chosen for name in some))

    @property
    def once(self) -> list[str]:
        return self.of(*NAMES)

    @property
    def paths(self) -> list[str]:
        return self.of(*IN_PATHS)


@pytest.fixture(scope="module", params=[6, pytest.param(10**6, marks=pytest.mark.heavy)], ids=["some of each", "all"])
def names(request: pytest.FixtureRequest) -> Names:
    return Names(request.param)


@pytest.fixture(scope="module")
def instance(names: Names, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A fresh one for each choice of names."""
    place = tmp_path_factory.mktemp("hostile")
    (place / "outside").mkdir()
    (place / "outside" / "secret.tif").write_bytes(SECRET)
    running = Instance(place / "data", CYTOBUS_PIPELINES__TOPICS='["only-file"]', CYTOBUS_PIPELINES__WORKERS="2")
    running.start()
    running.add_task("only-file")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(autouse=True)
def _nothing_outside_is_touched_and_it_still_works(instance: Instance) -> Iterator[None]:
    before = _outside(instance)
    yield
    assert instance.alive()
    good = f"good-{uuid.uuid4().hex}.tif"
    instance.drop(good, good.encode())
    _wait(
        instance,
        lambda: any(job["InputFile"]["Name"] == good and job["State"] == "complete" for job in _newest(instance)),
    )
    assert (instance.output / good.replace(".tif", "-sim.tif")).read_bytes() == good.encode()
    assert _outside(instance) == before
    found = [path for path in instance.data.rglob("*") if path.is_file() and path.stat().st_size == len(SECRET)]
    assert not [path for path in found if path.read_bytes() == SECRET]
    log = instance.log.read_text()
    assert "Traceback" not in log, log[log.find("Traceback") - 1000 :][:4000]
    assert all(line == printable(line) for line in log.split("\n"))


def _outside(instance: Instance) -> dict[str, Any]:
    """What must stay as it is: everything beside the instance's own folders."""
    place = instance.data.parent
    around = {str(path): path.stat().st_mtime_ns for path in place.rglob("*") if not path.is_relative_to(instance.data)}
    around.pop(str(instance.log), None)
    inside = {path.name for path in instance.data.iterdir() if not path.name.endswith((".db-wal", ".db-shm"))}
    folders = {name: sorted(os.listdir(name)) for name in ("/", "/etc", str(Path.home()), str(Path.cwd()))}
    return {
        "around": around,
        "inside": inside,
        "folders": folders,
        "gateway": sorted(os.listdir(instance.data / "gateway")),
    }


def _wait(instance: Instance, condition: Any, seconds: float = 90) -> None:
    instance.wait_for(condition, seconds, "it did not come about")


def _newest(instance: Instance) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = instance.ask("GET", "job-repository", "/api/v1/job?limit=20").json()
    return found


def _jobs_of(instance: Instance, host: str) -> list[dict[str, Any]]:
    return [job for job in instance.jobs() if job["OriginHost"] == host]


def _left_alone(name: str) -> bool:
    lower = name.lower()
    return name.startswith((".", "~$")) or lower.endswith((".part", "~")) or lower in ("desktop.ini", "thumbs.db")


def test_as_files_in_the_watched_folder(instance: Instance, names: Names) -> None:
    files = [name for name in names.once if can_exist(name)]
    hidden = instance.input / ".arriving"
    for name in files:
        hidden.write_bytes(b"file of " + name.encode("utf-8", "surrogateescape"))
        hidden.rename(instance.input / name)
    wanted = {name for name in files if not _left_alone(name)}
    undecodable = {name for name in wanted if name not in TEXTS}

    def held() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = instance.ask("GET", "file-watcher", "/api/v1/files?state=held&limit=1000").json()[
            "files"
        ]
        return rows

    _wait(instance, lambda: len(held()) >= len(undecodable), 60)
    assert all("rename the file" in row["reason"] for row in held())

    def ended() -> bool:
        jobs = {job["InputFile"]["Name"]: job for job in _jobs_of(instance, "oem")}
        return wanted - undecodable <= {name for name, job in jobs.items() if job["State"] in ENDS}

    _wait(instance, ended, 150)
    returned = {path.read_bytes() for path in instance.output.rglob("*") if path.is_file()}
    for job in _jobs_of(instance, "oem"):
        name = job["InputFile"]["Name"]
        if job["State"] == "complete":
            assert name.startswith("good-") or b"file of " + name.encode() in returned, name
            continue
        assert name in wanted
        assert "\\" in name or len(name.encode()) > 240, (name, job["Reason"])
        assert name[:20].strip()[:5] in job["Reason"].replace("\\\\", "\\"), job["Reason"]
        assert any(word in job["Reason"] for word in ("shorter", "give the file", "rename")), job["Reason"]


def test_as_names_folders_and_hosts_of_jobs_that_clients_make(instance: Instance, names: Names) -> None:
    outside = str(instance.data.parent / "outside")
    files = [{"Hostname": "gateway", "DirName": f"{outside}/", "Name": "secret.tif", "Extension": ".tif"}]
    files += [
        {"Hostname": "gateway", "DirName": f"{instance.data}/gateway/input", "Name": f"../../../outside/{name}"}
        for name in ("secret.tif",)
    ]
    files += [{"Hostname": "gateway", "DirName": name or "/", "Name": "passwd"} for name in names.paths]
    files += [{"Hostname": "gateway", "DirName": "/etc/", "Name": name or "x"} for name in names.once]
    for place, file in enumerate(files):
        # With this owner its file is taken to lie on the gateway, and a pipeline to be started at once.
        body = {"Owner": "file-receiver-gateway", "Status": "Incomplete", "InputFile": {"Extension": ".tif"} | file}
        _fine(instance, "POST", "job-repository", "/api/v1/job", body, place)
    for place, name in enumerate(names.once):
        file = {"Hostname": name or "x", "DirName": "/d/", "Name": "a.tif", "Extension": name or ".tif"}
        _fine(instance, "POST", "job-repository", "/api/v1/job", {"Owner": "data-organizer", "InputFile": file}, name)
        notified = {"InputFile": {"Hostname": "oem", "DirName": str(instance.input), "Name": name}}
        doors = (("data-organizer", "/api/v1/notifyNewFile"), ("file-sender-oem", "/api/v1/dataToHandle"))
        _fine(instance, "POST", *doors[place % 2], notified, name)
    # Even one that claims to have been launched, with its results to be put outside.
    details = {"PipelineId": "only-file", "OutputFolder": outside, "TaskId": "t"}
    launched = {"Owner": "task-launcher", "InputFile": files[0] | {"Name": "secret2.tif"}, "PipelineDetails": details}
    _fine(instance, "POST", "job-repository", "/api/v1/job", launched, "launched")
    _fine(instance, "POST", "file-receiver-gateway", "/api/v1/retry", None, "retry", allowed="failed to validate files")

    def ended() -> bool:
        return all(job["State"] in ENDS for job in _jobs_of(instance, "gateway"))

    _wait(instance, ended, 120)
    for job in _jobs_of(instance, "gateway"):
        assert job["State"] in ("failed", "quarantined"), job
        assert any(
            word in job["Reason"] for word in ("leads out", "not a path", "bare file name", "bytes long", "UTF-8")
        ), job


def _fine(
    instance: Instance,
    method: str,
    service: str,
    path: str,
    body: object,
    what: object,
    *,
    allowed: str = "\0",
    **more: Any,
) -> int:
    """One request that must not be answered with a server's error; its status. ``allowed``: the contract's own 500."""
    content = None if body is None else json.dumps(body).encode()
    response = instance.ask(method, service, path, **({"content": content} | more))
    assert response.status_code < 500 or allowed in response.text, (
        what,
        method,
        path,
        response.status_code,
        response.text,
    )
    return response.status_code


def _fact(kind: str, job: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "job_id": job, "by": "test"} | fields


def test_as_names_and_folders_of_uploads(instance: Instance, names: Names) -> None:
    body = b"uploaded"
    digest = hashlib.sha256(body).hexdigest()
    facts = []
    for place, name in enumerate(names.once):
        for job, told in ((f"nameless-{place}", ""), (f"named-{place}", name if name in TEXTS else "x")):
            file = {"Hostname": "elsewhere", "DirName": f"/oem/input/{told}/", "Name": told}
            facts += [_fact("job-created", job, input_file=file), _fact("transfer-started", job)]
    _fine(instance, "POST", "job-repository", "/api/v1/facts", facts, "facts")
    for place, name in enumerate(names.once):
        # A job without a name of its own takes whatever the upload says.
        _upload(instance, {"jobid": f"nameless-{place}", "filename": name, "folder": name, "sha256": digest}, body)
        if place % 2:
            _upload(instance, {"jobid": f"named-{place}", "sha256": digest}, body)
        elif place % 4:
            _upload(instance, {"jobid": name, "sha256": name}, body)
        else:
            sendable = bytes(byte for byte in name.encode("utf-8", "replace")[:4000] if byte >= 32 and byte != 127)
            header = {"filename": sendable.strip(), "jobid": f"named-{place}".encode()}
            path, allowed = "/api/v1/transmitFile", "received job input file does not match"
            more: dict[str, Any] = {"allowed": allowed, "headers": header, "content": body}
            _fine(instance, "POST", "file-receiver-gateway", path, None, name, **more)
    stored = instance.data / "gateway" / "input" / ".uploads"
    assert not [path for path in stored.iterdir() if path.suffix == ".new"]


def _upload(instance: Instance, told: dict[str, str], body: bytes) -> None:
    coded = {
        key: value.encode("utf-8", "surrogateescape" if can_exist(value) else "replace")[:3000]
        for key, value in told.items()
    }
    metadata = ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in coded.items())
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(len(body)),
        "Upload-Metadata": metadata,
        "Content-Type": "application/offset+octet-stream",
    }
    _fine(instance, "POST", "file-receiver-gateway", "/api/v1/files", None, told, headers=headers, content=body)


def test_as_outputs_that_a_pipeline_reports(instance: Instance, names: Names) -> None:
    files = instance.data / "gateway"
    outside = str(instance.data.parent / "outside")
    outputs = [{"Name": "secret.tif", "DirName": outside}]
    outputs += [{"Name": "../../outside/secret.tif", "DirName": str(files / "output")}]
    outputs += [{"Name": name, "DirName": str(files / "output" / "nothing")} for name in names.once]
    outputs += [{"Name": "secret.tif", "DirName": f"{files}/output/{name}/../../../outside"} for name in names.once]
    batches = [outputs[start : start + 30] for start in range(0, len(outputs), 30)]
    facts = []
    for place in range(len(batches)):
        job, file = f"reports-{place}", {"Hostname": "abroad", "DirName": "/d/", "Name": f"{place}.tif"}
        there = {"hostname": "gateway", "dir_name": str(files / "input"), "sha256": "ab" * 32, "size": 1}
        order = {"task_id": "t", "pipeline_id": "foreign", "output_host": "gateway", "output_folder": outside}
        facts += [
            _fact("job-created", job, input_file=file),
            _fact("transfer-started", job),
            _fact("input-delivered", job, **there),
            _fact("pipeline-requested", job, **order),
        ]
    _fine(instance, "POST", "job-repository", "/api/v1/facts", facts, "facts")
    for place, batch in enumerate(batches):
        told = {"Status": "PipelineComplete", "OutputFiles": batch}
        put = f"/api/v1/job/pipeline/reports-{place}/t"
        strays = [file for file in batch if os.path.normpath(file["DirName"]) != os.path.normpath(outside)]
        if strays:  # refused as a whole; a runner of ours would not be
            assert _fine(instance, "PUT", "job-repository", put, told, batch) == 400
            listed = [{"dir_name": file["DirName"], "name": file["Name"]} for file in batch if _is_text(file)]
            said = {"task_id": "t", "status": "PipelineComplete", "outputs": listed}
            fact = _fact("pipeline-reported", f"reports-{place}", **said)
            _fine(instance, "POST", "job-repository", "/api/v1/facts", [fact], batch)
        else:
            _fine(instance, "PUT", "job-repository", put, told, batch)
        confirm = f"/api/v1/pipelineStatus/reports-{place}/t"
        _fine(instance, "POST", "task-launcher", confirm, None, batch, content=b"PipelineComplete")
        for nth in range(len(batch)):
            fetch = f"/api/v1/transmitFile/reports-{place}/{nth}"
            assert _fine(instance, "GET", "file-sender-gateway", fetch, None, batch[nth]) in (400, 404, 409)
    _wait(instance, lambda: all(job["State"] in ENDS for job in _jobs_of(instance, "abroad")))
    for job in _jobs_of(instance, "abroad"):
        assert job["State"] == "failed", job
        assert "outputs that cannot be sent" in job["Reason"], job
        assert {file["Status"] for file in job["PipelineDetails"]["OutputFiles"]} == {"FileInvalid"}


def _is_text(file: dict[str, str]) -> bool:
    """Whether it can be told in UTF-8: nothing else is read as a fact."""
    return not any("\ud800" <= sign <= "\udfff" for said in file.values() for sign in said)


def test_as_result_folders_of_tasks(instance: Instance, names: Names) -> None:
    task = {"Description": "hostile", "JobSelector": "false", "PipelineId": "only-file"}
    for name in names.once:
        response = instance.ask(
            "POST", "task-launcher", "/api/v1/task", content=json.dumps(task | {"ResultFileFolder": name}).encode()
        )
        assert response.status_code in (201, 400), (name, response.text)
        if response.status_code == 201:
            _fine(instance, "DELETE", "task-launcher", f"/api/v1/task/{response.text}", None, name)
        else:
            assert "below the gateway's files" in response.text
    for folder in (str(instance.data.parent / "outside"), "../../outside", "/etc"):
        answer = instance.ask("POST", "task-launcher", "/api/v1/task", json=task | {"ResultFileFolder": folder})
        assert answer.status_code == 400, answer.text


def test_in_the_addresses_of_all_routes(instance: Instance, names: Names) -> None:
    job = next(job["Id"] for job in instance.jobs() if job["State"] == "complete")
    for name in names.paths[::3] + names.of("not UTF-8", "odd"):
        part = quote(name.encode("utf-8", "surrogateescape"), safe="")
        for method, service, path in (
            ("GET", "file-sender-gateway", f"/api/v1/transmitFile/{job}/{part}"),
            ("GET", "file-sender-gateway", f"/api/v1/transmitFile/{part}/0"),
            ("POST", "file-sender-gateway", f"/api/v1/archiveFile/{part}"),
            ("POST", "file-sender-gateway", f"/api/v1/reject/{part}"),
            ("GET", "job-repository", f"/api/v1/job/{part}"),
            ("GET", "job-repository", f"/api/v1/job/{part}/history"),
            ("GET", "job-repository", f"/api/v1/job?name={part}&limit=1"),
            ("GET", "task-launcher", f"/api/v1/task/{part}"),
            ("GET", "file-watcher", f"/api/v1/files?state={part}"),
        ):
            status = _fine(instance, method, service, path, None, name)
            assert (
                status != 200
                or "?" in path
                or path.endswith("/history")
                or path.endswith(f"/{job}/0")
                or part in ("0", "-0", ".")
            ), path


def test_on_the_terminal(instance: Instance) -> None:
    result = CliRunner().invoke(
        app, ["jobs", "list", "--limit", "300", "--data", str(instance.data)], env={"COLUMNS": "4000"}
    )
    assert result.exit_code == 0, result.output
    assert all(line == printable(line) for line in result.stdout.split("\n"))
