"""The guard before a service, on a laptop and off it."""

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from contracts import web
from contracts.errors import Unavailable
from contracts.guard import Entry, Watch
from contracts.hosting import app_of
from contracts.identity import Identity, Role, service_word, session_check

SECRET, NOW = b"a secret of sixteen", 1_800_000_000.0


class Door:
    """A service that says who came in, and counts them."""

    name = "job-repository"

    def __init__(self) -> None:
        self.came: list[str] = []

    def routes(self) -> list[Route]:
        async def answer(request: Request) -> Response:
            self.came.append(web.actor(request, "nobody in particular"))
            return web.text(self.came[-1])

        return [Route("/{path:path}", answer, methods=["GET", "POST", "PUT", "DELETE"])]


class Known:
    """People by their words, and what is noted of them; ``away`` is what the database says when it is asked."""

    away = ""

    def __init__(self) -> None:
        self.noted: list[Entry] = []

    async def identify(self, word: str) -> Identity | None:
        name, _, role = word.partition("-")
        if name in ("anna", "olga", "scope"):
            return Identity(name, Role(role))
        return Identity("olga", Role.OPERATOR, session=True) if word == "cbs_session" else None

    async def record(self, entry: Entry) -> None:
        if self.away:
            raise Unavailable(self.away)
        self.noted.append(entry)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def known() -> Known:
    return Known()


def calling(door: Door, watch: Watch):
    async def call(verb: str, path: str, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        transport = httpx.ASGITransport(app_of(door, watch=watch))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.lab") as client:
            return await client.request(verb, path, headers=sent)

    return call


@pytest.fixture
def call(door, known):
    return calling(door, Watch(SECRET, known, known, origins=["https://ui.lab"], now=lambda: NOW))


@pytest.fixture
def on_laptop(door):
    return calling(door, Watch(origins=["https://ui.lab"], hosts=["gateway.lab"]))


async def test_nobody_comes_in_without_a_word(call, door):
    for headers in ({}, {"authorization": "Bearer"}, {"authorization": "Bearer x"}, {"authorization": "Basic YTpi"},
                    {"cookie": "cytobus_session=x"},
                    {"cookie": "cytobus_session=anna-admin"}, {"cookie": "cytobus_session=\";;"}):  # fmt: skip
        for verb in ("GET", "POST", "DELETE"):
            assert (await call(verb, "/api/v1/job", **headers)).status_code == 401
    assert door.came == []


@pytest.mark.parametrize("path", ["/api/v1/log%0Ain", "/api/v1/login%0D", "/api/v1/%09login", "/api/v1/login%3F"])
async def test_a_path_is_what_the_router_sees_not_what_it_can_be_parsed_to(call, door, path):
    assert (await call("POST", path)).status_code == 401
    assert door.came == []


@pytest.mark.parametrize("host", ["gateway.lab/api/v1/login?", "gateway.lab/api/v1/login#", "/api/v1/login?x="])
async def test_a_host_header_opens_no_door(call, door, host):
    assert (await call("DELETE", "/api/v1/job/x", host=host)).status_code == 401
    word = "anna-viewer"
    assert (await call("DELETE", "/api/v1/job/x", host=host, authorization=f"Bearer {word}")).status_code == 403
    assert door.came == []


async def test_everybody_is_called_by_their_name(call, door, known):
    word = service_word(SECRET, "task-launcher", NOW)
    assert (await call("POST", "/api/v1/claims", authorization=f"Bearer {word}")).text == "service task-launcher"
    assert (await call("POST", "/api/v1/facts", authorization="Bearer scope-edge")).text == "edge scope"
    assert known.noted == []  # what these change is in the jobs' histories
    assert (await call("PUT", "/api/v1/job/x", authorization="bearer  anna-admin")).text == "anna"
    assert known.noted == [Entry("anna", "admin", "127.0.0.1", "job-repository PUT /api/v1/job/x", "allowed")]
    assert (await call("GET", "/api/v1/job", authorization="Bearer anna-admin")).text == "anna"
    assert len(known.noted) == 1


async def test_who_is_behind_our_own_service_is_noted_by_their_own_address(call, known):
    ours = {"x_cytobus_for": "192.0.2.7", "x_cytobus_by": service_word(SECRET, "dashboard", NOW)}
    await call("PUT", "/api/v1/job/x", authorization="Bearer anna-admin", **ours)
    assert [entry.address for entry in known.noted] == ["192.0.2.7"]


@pytest.mark.parametrize("by", [
    "", "cbv_dashboard~9999999999~x", service_word(b"another secret of sixteen", "dashboard", NOW),
    service_word(SECRET, "dashboard", NOW - 3600), service_word(SECRET, "command:root", NOW), "anna-admin",
])  # fmt: skip
async def test_nobody_else_is_believed_about_an_address(call, known, by):
    said = {"x_cytobus_for": "192.0.2.7", "x_forwarded_for": "192.0.2.7", "x_cytobus_by": by}
    await call("PUT", "/api/v1/job/x", authorization="Bearer anna-admin", **said)
    assert [entry.address for entry in known.noted] == ["127.0.0.1"]


async def test_what_is_passed_on_is_noted_by_the_one_that_does_it(door, known):
    door.name = "dashboard"
    call = calling(door, Watch(SECRET, known, known, now=lambda: NOW))
    path = "/gateway/job-repository/api/v1/job/x/cancel"
    assert (await call("POST", path, authorization="Bearer olga-operator")).status_code == 200
    assert known.noted == []


async def test_what_is_refused_is_noted_and_not_done(call, door, known):
    answer = await call("DELETE", "/api/v1/job/x", authorization="Bearer olga-operator")
    assert (answer.status_code, answer.text) == (403, "olga is operator and may not DELETE /api/v1/job/x\n")
    assert [(entry.actor, entry.outcome) for entry in known.noted] == [("olga", "refused")]
    assert door.came == []


async def test_what_cannot_be_noted_is_not_done(call, door, known):
    known.away = "the database is away"
    assert (await call("PUT", "/api/v1/job/x", authorization="Bearer anna-admin")).status_code == 503
    assert door.came == []


async def test_a_session_changes_something_only_from_pages_of_ours(call, door):
    check, cookie = session_check(SECRET, "cbs_session"), {"cookie": "cytobus_session=cbs_session"}
    assert (await call("GET", "/api/v1/job", **cookie)).status_code == 200
    for headers, status in [
        ({}, 403),
        ({"x_cytobus_check": "x"}, 403),
        ({"x_cytobus_check": check}, 200),
        ({"x_cytobus_check": check, "origin": "http://gateway.lab"}, 200),
        ({"x_cytobus_check": check, "origin": "https://ui.lab"}, 200),
        ({"x_cytobus_check": check, "origin": "https://evil.example"}, 403),
        ({"x_cytobus_check": check, "origin": "null"}, 403),
        ({"x_cytobus_check": check, "sec_fetch_site": "cross-site"}, 403),
    ]:
        assert (await call("PUT", "/api/v1/job/x", **cookie, **headers)).status_code == status, headers


async def test_sites_read_nothing_that_they_are_not_named_for(call):
    ours = await call("GET", "/api/v1/job", authorization="Bearer anna-admin", origin="https://ui.lab")
    assert ours.headers["access-control-allow-origin"] == "https://ui.lab"
    others = await call("GET", "/api/v1/job", authorization="Bearer anna-admin", origin="https://evil.example")
    assert "access-control-allow-origin" not in others.headers


async def test_on_a_laptop_nobody_has_to_say_who_they_are(on_laptop):
    assert (await on_laptop("POST", "/api/v1/job")).text == "nobody in particular"
    assert (await on_laptop("POST", "/api/v1/job", origin="http://localhost:3000")).status_code == 200


@pytest.mark.parametrize(("verb", "headers", "status"), [
    ("POST", {"origin": "https://evil.example"}, 403), ("DELETE", {"origin": "null"}, 403),
    ("GET", {"host": "evil.example"}, 403), ("GET", {"host": "evil.example:59784"}, 403),
    ("GET", {"host": "127.0.0.1:59784"}, 200), ("GET", {"host": "localhost"}, 200), ("GET", {"host": "[::1]:1"}, 200),
    ("GET", {"host": "job-repository:59784"}, 200), ("GET", {"host": "172.18.0.3"}, 200),
    ("POST", {"origin": "https://ui.lab"}, 200),
])  # fmt: skip
async def test_what_other_sites_make_a_laptops_browser_do_is_refused(on_laptop, verb, headers, status):
    assert (await on_laptop(verb, "/api/v1/job", **headers)).status_code == status


async def test_on_a_laptop_other_sites_read_nothing(on_laptop):
    ours = await on_laptop("GET", "/api/v1/job", origin="http://127.0.0.1:3000")
    assert ours.headers["access-control-allow-origin"] == "http://127.0.0.1:3000"
    others = await on_laptop("GET", "/api/v1/job", origin="https://evil.example")
    assert "access-control-allow-origin" not in others.headers


async def raw(app: ASGIApp, verb: str, path: str, headers: dict[str, str]) -> int:
    """The status of a request whose path and headers are what no honest client makes."""
    sent: list[Message] = []
    scope = {
        "type": "http", "method": verb, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "https", "http_version": "1.1", "server": ("127.0.0.1", 443), "client": ("10.0.0.9", 1),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize("host", [
    "gateway.lab/api/v1/login?", "gateway.lab/api/v1/login#", "x/api/v1/authority\\?", "[", "[::1", "a@b/api/v1/login?",
])  # fmt: skip
async def test_no_host_header_leads_past_the_guard(door, known, host):
    app = app_of(door, watch=Watch(SECRET, known, known, now=lambda: NOW))
    assert await raw(app, "GET", "/api/v1/job", {"host": host}) == 401
    assert await raw(app, "GET", "/api/v1/users", {"host": host, "authorization": "Bearer olga-viewer"}) == 403
    assert door.came == []


@pytest.mark.parametrize("path", [
    "/api/v1/lo\ngin", "/api/v1/login?/../job", "/api/v1/login#", "/api/v1/login/", "//api/v1/login", "/API/v1/login",
    "/api/v1/login\\", "/api/v1/login;x", "/api/v1/job/../login", "http://x/api/v1/login", " /api/v1/login",
])  # fmt: skip
async def test_only_the_open_paths_themselves_are_open(door, known, path):
    app = app_of(door, watch=Watch(SECRET, known, known, now=lambda: NOW))
    assert await raw(app, "GET", path, {}) == 401
    assert door.came == []


@pytest.mark.parametrize("path", ["/api/v1/users", "/api/v1/users\n", "/api/v1/audit\n", "/api/v2/config\n"])
@pytest.mark.parametrize("verb", ["GET", "HEAD"])
async def test_what_is_for_administrators_has_no_side_entrance(door, known, verb, path):
    app = app_of(door, watch=Watch(SECRET, known, known, now=lambda: NOW))
    assert await raw(app, verb, path, {"authorization": "Bearer olga-operator"}) == 403
    assert await raw(app, verb, path, {"authorization": "Bearer anna-admin"}) != 403


async def test_an_upload_is_noted_once_and_not_for_each_of_its_pieces_but_what_is_refused_always(known):
    door = Door()
    door.name = "file-receiver-gateway"
    call = calling(door, Watch(SECRET, known, known, now=lambda: NOW))
    for who in ("olga-operator", "olga-viewer"):
        for verb, path in (("POST", "/api/v1/submissions"), ("PATCH", "/api/v1/submissions/x")):
            await call(verb, path, authorization=f"Bearer {who}")
    assert [(entry.role, entry.what.split()[1], entry.outcome) for entry in known.noted] == [
        ("operator", "POST", "allowed"),
        ("viewer", "POST", "refused"),
        ("viewer", "PATCH", "refused"),
    ]
