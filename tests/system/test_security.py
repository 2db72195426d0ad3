"""Off the laptop nobody comes in who is not known: a gateway and an instrument over TLS, and those who try."""

import json
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from contracts.identity import launch_word
from tests.support.guarded import PASSWORD, Guarded

GATEWAYS = ("job-repository", "task-launcher", "file-receiver-gateway", "file-sender-gateway", "pipeline-sim")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    lab = Guarded(tmp_path_factory.mktemp("lab"))
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def scope(guarded: Guarded) -> Iterator:
    """An instrument at work, of which one file came back."""
    guarded.gateway.add_task("only-file")
    edge = guarded.enroll("scope-1")
    edge.start()
    edge.drop("first.dat", b"first")
    edge.wait_for(lambda: (edge.output / "first-sim.dat").is_file(), 60, "the result did not come back")
    return edge


def edge_word(scope) -> str:
    return json.loads((scope.data / "membership.json").read_text())["word"]


def visitor(guarded: Guarded) -> httpx.Client:
    """A browser of somebody that has not logged in."""
    context = ssl.create_default_context(cafile=str(guarded.gateway.authority))
    return httpx.Client(base_url=guarded.gateway.url("job-repository"), verify=context, timeout=30)


@contextmanager
def browser(guarded: Guarded, name: str) -> Iterator[tuple[httpx.Client, str]]:
    """A session of a user, and what its pages say beside the cookie."""
    with visitor(guarded) as client:
        answer = client.post("/api/v1/login", json={"Name": name, "Password": PASSWORD})
        assert answer.status_code == 200, answer.text
        yield client, answer.json()["Check"]


def a_job(guarded: Guarded) -> dict:
    return guarded.gateway.ask("GET", "job-repository", "/api/v1/job?limit=1").json()[0]


@pytest.mark.system
def test_an_enrolled_instrument_sends_and_receives_over_tls(guarded, scope):
    assert (scope.output / "first-sim.dat").read_bytes() == b"first"
    assert a_job(guarded)["InputFile"]["Hostname"] in ("gateway", "scope-1")
    assert "scope-1" in guarded.command("edges", "list")


@pytest.mark.system
@pytest.mark.parametrize("service", GATEWAYS)
def test_strangers_learn_nothing(guarded, service):
    for path in ("/api/v1/job", "/metrics", "/api/v2/config", "/api/v1/task", "/nowhere"):
        answer = guarded.gateway.ask("GET", service, path, headers={"Authorization": "Bearer nonsense"})
        assert answer.status_code == 401, (path, answer.text)
        assert answer.headers["www-authenticate"] == "Bearer"
    health = guarded.gateway.ask("GET", service, "/api/v1/health", headers={"Authorization": ""})
    assert health.json() == {"service": service, "state": "ok", "troubles": {}}
    ready = guarded.gateway.ask("GET", service, "/api/v1/ready", headers={"Authorization": ""})
    assert ready.json() == {"service": service, "ready": True, "troubles": {}}
    # And without TLS there is nobody to talk to.
    with pytest.raises(httpx.HTTPError):
        httpx.get(guarded.gateway.url(service).replace("https", "http") + "/api/v1/health")


@pytest.mark.system
def test_each_role_may_what_it_may(guarded, scope):
    job = a_job(guarded)["Id"]
    task = {"Description": "d", "JobSelector": "false", "PipelineId": "p"}
    asked = [
        ("GET", "job-repository", "/api/v1/job", None, (200, 200, 200)),
        ("PUT", "job-repository", f"/api/v1/job/{job}", {"Verification": 1}, (403, 200, 200)),
        ("PUT", "job-repository", f"/api/v1/job/{job}", {"Owner": "none"}, (403, 403, 200)),
        ("POST", "task-launcher", "/api/v1/task", task, (403, 403, 201)),
        ("GET", "job-repository", "/api/v1/users", None, (403, 403, 200)),
        ("GET", "job-repository", "/api/v1/audit", None, (403, 403, 200)),
        ("POST", "job-repository", "/api/v1/claims", {"worker": "w", "pipelines": ["only-file"]}, (403, 403, 403)),
        ("POST", "job-repository", "/api/v1/introspect", {"Word": "x"}, (403, 403, 403)),
        ("DELETE", "job-repository", f"/api/v1/job/{job}x", None, (403, 403, 404)),
    ]
    for verb, service, path, body, expected in asked:
        got = []
        for role in ("viewer", "operator", "admin"):
            word = {"Authorization": f"Bearer {guarded.words[role]}"}
            got.append(guarded.gateway.ask(verb, service, path, json=body, headers=word).status_code)
        assert tuple(got) == expected, (verb, path)
    told = guarded.command("audit", "--limit", "200")
    assert "viktor" in told
    assert "refused" in told
    assert any("olga" in line and f"PUT /api/v1/job/{job}" in line and "allowed" in line for line in told.splitlines())
    history = guarded.gateway.ask("GET", "job-repository", f"/api/v1/job/{job}/history").json()
    assert "olga" in {line["By"] for line in history}


@pytest.mark.system
def test_a_viewers_session_looks_and_does_no_more(guarded, scope):
    with browser(guarded, "viktor") as (client, check):
        assert client.get("/api/v1/whoami").json()["Role"] == "viewer"
        assert client.get("/api/v1/job").status_code == 200
        job = a_job(guarded)["Id"]
        refused = client.put(f"/api/v1/job/{job}", json={"Verification": 1}, headers={"x-cytobus-check": check})
        assert (refused.status_code, refused.text) == (403, f"viktor is viewer and may not PUT /api/v1/job/{job}\n")


@pytest.mark.system
def test_another_site_cannot_make_a_session_do_anything(guarded, scope):
    with browser(guarded, "olga") as (client, check):
        path, body = f"/api/v1/job/{a_job(guarded)['Id']}", {"Verification": 1}
        assert client.put(path, json=body).status_code == 403  # the cookie alone
        assert client.put(path, json=body, headers={"x-cytobus-check": "x" * 43}).status_code == 403
        evil = {"Origin": "https://evil.example", "x-cytobus-check": check}
        assert client.put(path, json=body, headers=evil).status_code == 403
        assert client.put(path, json=body, headers={"x-cytobus-check": check}).status_code == 200
        asked = client.get("/api/v1/job", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in asked.headers
        assert client.post("/api/v1/logout", headers={"x-cytobus-check": check}).status_code == 200
        # What was in the cookie is worth nothing any more, whoever kept it.
        assert client.get("/api/v1/job").status_code == 401


@pytest.mark.system
def test_passwords_are_not_guessed_for_long(guarded):
    guarded.command("users", "add", "otto")
    with visitor(guarded) as client:
        codes = [
            client.post("/api/v1/login", json={"Name": "otto", "Password": f"guess {n}"}).status_code for n in range(8)
        ]
    assert codes[:5] == [401] * 5
    assert codes[-1] == 429
    assert guarded.command("users", "remove", "otto") == ""


@pytest.mark.system
def test_an_instrument_is_confined_to_its_own_jobs(guarded, scope):
    other = guarded.enroll("scope-2")
    word = {"Authorization": f"Bearer {edge_word(other)}"}
    job = a_job(guarded)["Id"]
    assert guarded.gateway.ask("GET", "job-repository", "/api/v1/job", headers=word).json() == []
    for verb, service, path, body in [
        ("GET", "job-repository", f"/api/v1/job/{job}", None),
        ("GET", "job-repository", f"/api/v1/job/{job}/history", None),
        ("GET", "file-sender-gateway", f"/api/v1/transmitFile/{job}/0", None),
        ("POST", "file-sender-gateway", f"/api/v1/archiveFile/{job}", None),
        ("PUT", "job-repository", f"/api/v1/job/{job}", {"Verification": 1}),
        ("DELETE", "job-repository", f"/api/v1/job/{job}", None),
        ("GET", "task-launcher", "/api/v1/task", None),
        ("GET", "job-repository", "/api/v1/users", None),
        ("POST", "job-repository", "/api/v1/claims", {"worker": "w", "pipelines": ["only-file"]}),
    ]:
        assert guarded.gateway.ask(verb, service, path, json=body, headers=word).status_code == 403, path
    message = {"topic": "t", "payload": "p"}
    file = {"Hostname": "scope-1", "DirName": "d", "Name": "n", "Extension": ".x"}
    for fact in [
        {"kind": "transfer-started", "job_id": job, "by": "data-organizer"},
        {"kind": "job-created", "job_id": "new", "by": "data-organizer", "input_file": file},
        {"kind": "job-created", "job_id": job, "by": "data-organizer", "input_file": file | {"Hostname": "scope-2"}},
        {"kind": "job-released", "job_id": job, "by": "file-sender-oem"},
        {"kind": "transfer-started", "job_id": "none", "by": "task-launcher"},
        {"kind": "transfer-started", "job_id": "none", "by": "data-organizer", "messages": [message]},
    ]:
        answer = guarded.gateway.ask("POST", "job-repository", "/api/v1/facts", json=[fact], headers=word)
        assert answer.status_code == 403, fact
    metadata = "jobid " + b64encode(job.encode()).decode()
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "5", "Upload-Metadata": metadata}
    answer = guarded.gateway.ask("POST", "file-receiver-gateway", "/api/v1/files", headers=word | tus)
    assert answer.status_code == 403


@pytest.mark.system
def test_a_code_brings_in_one_instrument_once(guarded):
    code = guarded.invite("scope-3")
    where = {"CYTOBUS_PORT_OFFSET": str(guarded.offset)}
    guarded.command("enroll", "https://127.0.0.1", code, data=guarded.folder / "scope-3", **where)
    refused = guarded.command("enroll", "https://127.0.0.1", code, data=guarded.folder / "thief", code=1, **where)
    assert "not good (any more)" in refused
    secret, _, mark = guarded.invite("scope-4").partition("#")
    forged = f"{secret}#{'0' * len(mark)}"
    refused = guarded.command("enroll", "https://127.0.0.1", forged, data=guarded.folder / "fooled", code=1, **where)
    assert "is not the gateway" in refused


@pytest.mark.system
def test_a_pipelines_word_is_good_for_one_launch_of_one_job(guarded, scope):
    guarded.gateway.add_task("somebody-elses", '{"in": ["foreign", {"var": "InputFile.Name"}]}')
    # The task that takes every file comes first: it goes.
    for task in guarded.gateway.ask("GET", "task-launcher", "/api/v1/task").json():
        if task["PipelineId"] == "only-file":
            guarded.gateway.ask("DELETE", "task-launcher", f"/api/v1/task/{task['Id']}")
    scope.drop("foreign.dat", b"foreign")

    def running() -> list[dict]:
        listed = guarded.gateway.ask("GET", "job-repository", "/api/v1/job?state=running").json()
        return [job for job in listed if job["InputFile"]["Name"] == "foreign.dat"]

    guarded.gateway.wait_for(lambda: bool(running()), 60, "the job was not launched")
    job = running()[0]
    secret = (guarded.gateway.data / "secret").read_bytes().strip()
    job_id, details = job["Id"], job["PipelineDetails"]
    task_id, launch = details["TaskId"], details["Launch"]
    good = launch_word(secret, job_id, task_id, launch)

    def call(verb: str, service: str, path: str, token: str | None, **body: object) -> int:
        query = f"?token={token}" if token is not None else ""
        nobody = {"Authorization": ""}
        return guarded.gateway.ask(verb, service, path + query, headers=nobody, **body).status_code

    update, status = f"/api/v1/job/pipeline/{job_id}/{task_id}", f"/api/v1/pipelineStatus/{job_id}/{task_id}"
    result = {"json": {"Status": "PipelineComplete", "QCFlags": "", "OutputFiles": None, "Results": "42"}}
    done = {"content": "PipelineComplete"}
    elsewhere = launch_word(secret, "another-job", task_id, launch)
    earlier = launch_word(secret, job_id, task_id, "0123456789abcdef")
    by_others = launch_word(b"another secret", job_id, task_id, launch)
    for token in (None, "", "~", good[:-1], good + "x", elsewhere, by_others):
        assert call("PUT", "job-repository", update, token, **result) == 401, token
        assert call("POST", "task-launcher", status, token, **done) == 401, token
    assert call("PUT", "job-repository", update, earlier, **result) == 403
    assert call("POST", "task-launcher", status, earlier, **done) == 403
    # It opens these two doors only.
    assert call("GET", "job-repository", f"/api/v1/job/{job_id}", good) == 401
    assert running()
    assert call("PUT", "job-repository", update, good, **result) == 200
    assert call("PUT", "job-repository", update, good, **result) == 200  # its answer may have been lost
    assert call("POST", "task-launcher", status, good, **done) == 200

    def ended() -> bool:
        found = guarded.gateway.ask("GET", "job-repository", f"/api/v1/job/{job_id}").json()
        return found["State"] == "complete" and found["PipelineDetails"]["Results"] == "42"

    guarded.gateway.wait_for(ended, 60, "the job did not end")
    # Replayed, to change what was reported:
    result["json"]["Results"] = "43"
    assert call("PUT", "job-repository", update, good, **result) == 403
    assert ended()


@pytest.mark.system
def test_no_word_and_no_password_is_in_any_log(guarded, scope):
    said = [*guarded.words.values(), edge_word(scope), PASSWORD, (guarded.gateway.data / "secret").read_text().strip()]
    for log in (guarded.gateway.log, scope.log):
        text = log.read_text()
        assert not [word for word in said if word in text]


@pytest.mark.system
def test_a_revoked_instrument_is_out_and_loses_nothing(guarded, scope):
    """The last test here: it shuts the instrument out."""
    word = {"Authorization": f"Bearer {edge_word(scope)}"}
    assert guarded.gateway.ask("GET", "job-repository", "/api/v1/job?limit=1", headers=word).status_code == 200
    guarded.command("edges", "revoke", "scope-1")
    assert guarded.gateway.ask("GET", "job-repository", "/api/v1/job?limit=1", headers=word).status_code == 401

    def out() -> bool:
        answer = guarded.gateway.ask("GET", "file-sender-gateway", "/api/v1/transmitFile/x/0", headers=word)
        return answer.status_code == 401

    guarded.gateway.wait_for(out, 10, "the file sender lets it in still")
    scope.drop("later.dat", b"later")

    def waits() -> bool:
        files = scope.ask("GET", "file-watcher", "/api/v1/files").json()["counts"]
        return files.get("hashed", 0) == 1

    scope.wait_for(waits, 60, "the file is not kept for later")
    # Invited again, it goes on with what it has kept.
    scope.stop()
    guarded.gateway.add_task("only-file")
    words = ("enroll", "https://127.0.0.1", guarded.invite("scope-1"))
    guarded.command(*words, data=scope.data, CYTOBUS_PORT_OFFSET=str(guarded.offset))
    scope.start()
    scope.wait_for(lambda: (scope.output / "later-sim.dat").is_file(), 60, "what was kept did not come back")
