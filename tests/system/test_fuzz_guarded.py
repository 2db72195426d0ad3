"""A guarded deployment is asked all that its descriptions offer: by strangers, by people and by instruments."""

import base64
import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import pytest
import requests

from contracts import policy
from contracts.guard import COOKIE
from contracts.identity import EDGE, Role, launch_word, new_word, service_word
from tests.support.contents import Contents, contents, differences, is_shown
from tests.support.fuzzing import Drawn, Entry, Outcome, distinct, drawn, fuzz, is_meant
from tests.support.guarded import PASSWORD, Guarded
from tests.support.laboratory import CONTENT, Laboratory
from tests.support.mosquitto import Mosquitto

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2"))
SEED = None if "FUZZ_EXAMPLES" in os.environ else 1
MARK = "mine-of-scope-1-alone"
"""The name of a file that no request names, so that it is only in answers that tell of its job."""
REFUSED = {400, 401, 413, 414, 431}
"""400 and above 401: what is no HTTP, or too much of it, is refused before anybody looks who it is."""
OF_ONESELF = {"POST /api/v1/login", "POST /api/v1/logout", "POST /api/v1/password"}
QUESTIONS = {"POST /api/v1/map/selection", "POST /api/v1/map/export"}
"""They change nothing: a line is too long for a query string."""


def _any(_: Drawn) -> bool:
    return True


def _first(one: Drawn) -> bool:
    return one.first


def _looks(one: Drawn) -> bool:
    return not one.changes


@dataclass
class Guardroom:
    """The deployment, who is known there, and the requests that were made up for each of its services."""

    lab: Guarded
    laboratory: Laboratory
    edges: dict[str, str]
    foreign: set[str]
    made: dict[str, list[Drawn]] = field(default_factory=dict)

    @property
    def authority(self) -> str:
        return str(self.lab.gateway.authority)

    def known(self, service: str) -> dict[str, list[str]]:
        """Values worth trying; users and instruments are such whom nobody misses."""
        found = self.laboratory.known(service)
        return found | {"path.name": ["spare"], "body.Name": ["spare"]}

    def draw(self) -> None:
        """Requests for every operation of every service; once, they are what takes the time."""
        for service in self.lab.gateway.ports():
            url, known = self.lab.gateway.url(service), self.known(service)
            entry = Entry(authority=self.lab.gateway.authority)
            self.made[service] = drawn(url, known, examples=EXAMPLES, seed=SEED, entry=entry)

    def ask(
        self, headers: Mapping[str, str], take: Callable[[Drawn], bool] = _any
    ) -> Iterator[tuple[str, Drawn, requests.Response]]:
        """Every request that is to be taken, sent with what says who one is."""
        for service, some in self.made.items():
            with requests.Session() as session:
                session.trust_env = False
                for one in filter(take, some):
                    asked = one.request.copy()
                    asked.headers.update(headers)
                    yield service, one, session.send(asked, verify=self.authority, timeout=30, allow_redirects=False)

    def contents(self) -> Contents:
        return contents(self.lab.gateway.data)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guardroom]:
    broker = Mosquitto()
    lab = Guarded(tmp_path_factory.mktemp("guarded"), "up", CYTOBUS_EXPORT_URL=broker.url)
    try:
        lab.start()
        user = lab.gateway.ask("PUT", "job-repository", "/api/v1/users/spare", json={"Role": "viewer"})
        assert user.status_code == 200, user.text
        edges = {name: _enrolled(lab, name) for name in ("scope-1", "scope-2", "revoked", "spare")}
        laboratory = Laboratory(lab.gateway, "scope-1", edges["scope-1"])
        laboratory.fill()
        job_id, _ = laboratory.waiting(f"{MARK}.tif")
        laboratory.upload(job_id, len(CONTENT))
        lab.gateway.wait_for(lambda: lab.gateway.counts().get("delivering") == 1, 60, "there is no result to fetch")
        made = Guardroom(lab, laboratory, edges, set())
        made.draw()
        made.foreign = {job["Id"] for job in lab.gateway.jobs()}
        lab.gateway.wait_for(lambda: is_shown(lab.gateway.data), 120, "there are images without a preview")
        lab.gateway.wait_for(Quiet(made.contents), 120, "it does not come to rest")
        yield made
    finally:
        lab.close()
        broker.close()


def _enrolled(lab: Guarded, name: str) -> str:
    """The word of an instrument that came in by a code."""
    word = new_word(EDGE)
    invited = lab.gateway.ask("POST", "job-repository", "/api/v1/enrolments", json={"Name": name})
    body = {"Code": invited.json()["Code"], "Digest": hashlib.sha256(word.encode()).hexdigest()}
    answer = lab.gateway.ask("POST", "job-repository", "/api/v1/enrolments/redeem", json=body)
    assert answer.status_code == 201, answer.text
    return word


class Quiet:
    """Whether nothing has changed for some seconds: what was begun (previews, announcements, closing) is over."""

    def __init__(self, look: Callable[[], Contents], seconds: float = 3.0) -> None:
        self._look, self._seconds = look, seconds
        self._seen, self._since = look(), time.monotonic()

    def __call__(self) -> bool:
        if (now := self._look()) != self._seen:
            self._seen, self._since = now, time.monotonic()
        return time.monotonic() - self._since > self._seconds


def _bearer(word: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {word}"}


def _strangers(room: Guardroom) -> Mapping[str, dict[str, str]]:
    """Everything that is no (longer a) proof of who one is, as headers."""
    lab, secret = room.lab, (room.lab.gateway.data / "secret").read_bytes().strip()

    def ask(verb: str, path: str, **options: object) -> httpx.Response:
        answer = lab.gateway.ask(verb, "job-repository", f"/api/v1{path}", **options)
        assert answer.is_success, answer.text
        return answer

    job = next(job for job in lab.gateway.jobs() if job["State"] == "running")
    launch = launch_word(secret, job["Id"], job["PipelineDetails"]["TaskId"], job["PipelineDetails"]["Launch"])
    ask("PUT", "/users/former", json={"Role": "admin"})
    former, revoked = (ask("POST", f"/users/{name}/tokens").json()["Token"] for name in ("former", "spare"))
    ask("DELETE", "/users/former")
    ask("DELETE", "/users/spare/tokens")
    ask("DELETE", "/edges/revoked")
    login = ask("POST", "/login", json={"Name": "anna", "Password": PASSWORD})
    session, check = login.cookies[COOKIE], login.json()["Check"]
    ask("POST", "/logout", headers={"Cookie": f"{COOKIE}={session}", "X-Cytobus-Check": check, "Authorization": ""})
    basic = base64.b64encode(f"anna:{PASSWORD}".encode()).decode()
    return {
        "nobody": {},
        "nonsense": _bearer("nonsense"),
        "nothing": {"Authorization": "Bearer "},
        "a service's word that is too old": _bearer(service_word(secret, "task-launcher", time.time() - 3600)),
        "a service's word by another secret": _bearer(service_word(b"another secret" * 2, "x", time.time())),
        "a pipeline's word where a token belongs": _bearer(launch),
        "a user's token that was revoked": _bearer(revoked),
        "the token of a user who is gone": _bearer(former),
        "an instrument's word that was revoked": _bearer(room.edges["revoked"]),
        "name and password, as browsers send them": {"Authorization": f"Basic {basic}"},
        "a session that was ended": {"Cookie": f"{COOKIE}={session}", "X-Cytobus-Check": check},
        "an administrator's token in the cookie": {"Cookie": f"{COOKIE}={lab.words['admin']}"},
        "an instrument's word in the cookie": {"Cookie": f"{COOKIE}={room.edges['scope-1']}"},
        "a service's word in the cookie": {"Cookie": f"{COOKIE}={service_word(secret, 'x', time.time())}"},
    }


def _broken(service: str, one: Drawn, answer: requests.Response) -> bool:
    status = answer.status_code
    return status >= 500 and not is_meant(service, one.operation, status, answer.text)


def _told(who: str, service: str, one: Drawn, answer: requests.Response) -> str:
    return f"{who}: {service}: {one.operation} ({one.request.url}): {answer.status_code} {answer.text[:200]}"


def _kept_out(service: str, outcome: Outcome) -> list[str]:
    """Operations that are an administrator's by the policy, and to which none of the requests was admitted."""
    out = [one for one, statuses in outcome.seen.items() if statuses <= {401, 403}]
    return [one for one in out if one not in OF_ONESELF and policy.may(Role.ADMIN, service, *one.split(" ", 1))]


@pytest.mark.system
def test_a_stranger_gets_nothing_and_changes_nothing(room: Guardroom) -> None:
    strangers = _strangers(room)
    before, wrong, asked = room.contents(), [], defaultdict(int)

    for who, headers in strangers.items():
        for service, one, answer in room.ask(headers, _any if who == "nobody" else _first):
            asked[who] += 1
            good = answer.status_code < 500 if one.public else answer.status_code in REFUSED
            if not good:
                wrong.append(_told(who, service, one, answer))

    assert wrong[:10] == []
    assert differences(before, room.contents()) == []
    assert set(room.made) == set(room.lab.gateway.ports())
    assert asked["nobody"] > 1.5 * min(asked.values()) > 200, asked  # an operation each at least


@pytest.mark.system
def test_a_viewer_changes_nothing(room: Guardroom) -> None:
    before, wrong, looked = room.contents(), [], 0

    for service, one, answer in room.ask(_bearer(room.lab.words["viewer"])):
        status = answer.status_code
        looked += status < 300 and not one.changes
        done = one.changes and status < 400 and one.operation not in OF_ONESELF | QUESTIONS
        unknown = status == 401 and not one.public
        if done or unknown or _broken(service, one, answer):
            wrong.append(_told("viktor", service, one, answer))

    assert wrong[:10] == []
    assert differences(before, room.contents()) == []
    assert looked >= 50


@pytest.mark.system
def test_an_instrument_learns_and_changes_nothing_of_anothers_jobs(room: Guardroom) -> None:
    before, wrong, seen = room.contents(), [], set()

    for service, one, answer in room.ask(_bearer(room.edges["scope-2"])):
        theirs = any(job_id in (one.request.path_url or "") for job_id in room.foreign)
        shown = f"{answer.text} {answer.headers}"
        seen.add(answer.status_code)
        if (theirs and answer.status_code < 400) or MARK in shown or _broken(service, one, answer):
            wrong.append(_told("scope-2", service, one, answer))

    assert wrong[:10] == []
    # Its own word it may replace; of nothing else there is anything to see.
    changed = [line for line in differences(before, room.contents()) if "| word |" not in line or "scope-2" not in line]
    assert changed == []
    assert {200, 403} <= seen
    # The same requests, made by those whose job it is, do tell.
    looks = room.ask(_bearer(room.edges["scope-1"]), _looks)
    told = {one.operation for _, one, answer in looks if MARK in answer.text}
    assert "GET /api/v1/job" in told


@pytest.mark.system
def test_an_administrator_gets_answers_that_are_described(room: Guardroom) -> None:
    """The last test here: it changes a lot."""
    gateway, before = room.lab.gateway, room.contents()
    faults: list[str] = []
    out: list[str] = []
    well: set[str] = set()
    entry = Entry(room.lab.words["admin"], gateway.authority)
    for service in gateway.ports():
        known, task_of = room.known(service), room.laboratory.task_of()
        outcome = fuzz(
            gateway.url(service),
            service,
            known,
            task_of,
            examples=EXAMPLES,
            seed=SEED,
            phases=("examples", "fuzzing"),
            entry=entry,
        )
        faults += [f"{service}: {fault}" for fault in outcome.faults]
        out += [f"{service}: {one}" for one in _kept_out(service, outcome)]
        well |= {one for one, statuses in outcome.seen.items() if min(statuses) < 300}

    assert distinct(faults) == []
    assert out == []
    assert {"GET /api/v1/authority", "PUT /api/v1/users/{name}", "GET /api/v1/audit"} <= well
    assert len(well) >= 40
    assert differences(before, room.contents()) != []
    still = gateway.ask("GET", "job-repository", "/api/v1/whoami")
    assert still.json()["Role"] == "admin"
