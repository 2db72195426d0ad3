"""The way from pages to the public API: with the words of who looks, and nothing else."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from gateway.dashboard.upstream import Upstream, credentials


async def echo(request: Request) -> JSONResponse:
    """What a service was asked."""
    told = {"path": request.url.path, "query": request.url.query, "headers": dict(request.headers)}
    told["body"] = (await request.body()).decode()
    return JSONResponse(told, 201, {"Set-Cookie": "a=b", "ETag": '"x"', "Server": "secret"})


@pytest.fixture
async def page():
    """A browser at the dashboard, whose job repository echoes."""
    service = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST", "DELETE"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://jobs") as client:
        ours = Starlette(routes=[Mount("/gateway", Upstream({"job-repository": client}, lambda: "our word").app)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ours), base_url="http://dashboard") as browser:
            yield browser


async def test_a_request_is_passed_on_with_its_body_and_its_words_and_the_answer_back(page):
    headers = {"Cookie": "cytobus_session=cbs_1; other=2", "X-Cytobus-Check": "c", "X-Forwarded-For": "1.2.3.4"}
    headers |= {"X-Cytobus-For": "1.2.3.4", "X-Cytobus-By": "a word of anybody's"}
    answer = await page.post("/gateway/job-repository/api/v1/job/a%20b/cancel?x=1", content=b"{}", headers=headers)
    told = answer.json()
    assert (answer.status_code, told["path"], told["query"], told["body"]) == (
        201,
        "/api/v1/job/a b/cancel",
        "x=1",
        "{}",
    )
    assert told["headers"]["cookie"] == "cytobus_session=cbs_1"
    assert told["headers"]["x-cytobus-check"] == "c"
    assert "x-forwarded-for" not in told["headers"]
    assert (told["headers"]["x-cytobus-for"], told["headers"]["x-cytobus-by"]) == ("127.0.0.1", "our word")
    assert (answer.headers["etag"], answer.headers["set-cookie"]) == ('"x"', "a=b")
    assert "server" not in answer.headers


async def test_nothing_that_comes_back_is_run_as_a_page_of_ours(page):
    answer = await page.get("/gateway/job-repository/api/v1/job")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", [
    "/gateway/elsewhere/api/v1/job", "/gateway/job-repository/metrics", "/gateway/job-repository/api/v1/../../metrics",
    "/gateway/job-repository/api/v1/%2e%2e/x", "/gateway/job-repository", "/gateway/job-repository@evil/api/v1/x",
])  # fmt: skip
async def test_only_the_public_calls_of_known_services_are_passed_on(page, path):
    assert (await page.get(path)).status_code == 404


@pytest.mark.parametrize("said", [b"Bearer \xff", b"Bearer a\x01b", b""])
def test_what_can_be_no_header_is_nobodys_word(said):
    request = Request({"type": "http", "headers": [(b"authorization", said), (b"cookie", b"cytobus_session=\xe9")]})
    assert credentials(request) == {}
