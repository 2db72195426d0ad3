"""The dashboard of a gateway that restarts, and of one that wants to know who comes."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.chromium import Visit
from tests.support.fleet import free_offset
from tests.support.guarded import PASSWORD, Guarded
from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.system]


def make(instance, name: str) -> str:
    file = {"Hostname": "oem", "DirName": "/in/", "Name": name, "Extension": ".tiff"}
    return instance.ask("POST", "job-repository", "/api/v1/job", json={"InputFile": file}).text


GATEWAY = "serve job-repository task-launcher file-receiver-gateway file-sender-gateway"
ALL = (
    "/",
    "/jobs/{job}",
    "/review",
    "/submit",
    "/tasks",
    "/tasks/new",
    "/pipelines",
    "/instruments",
    "/system",
    "/sign-in",
)
"""Each page; a new one is added here."""


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A gateway, and a dashboard in a process of its own."""
    folder, offset = tmp_path_factory.mktemp("apart"), free_offset()
    gateway = Instance(folder / "gateway", side=GATEWAY, offset=offset)
    dashboard = Instance(folder / "dashboard", side="serve dashboard", offset=offset)
    gateway.start()
    dashboard.start()
    yield gateway, dashboard
    dashboard.close()
    gateway.close()


def test_a_page_says_that_the_gateway_is_gone_and_goes_on_when_it_is_back(browser, apart):
    gateway, dashboard = apart
    someone = Visit(browser, dashboard.url("dashboard"))
    page = someone.go("/")
    page.locator("html[data-ready]").wait_for()
    make(gateway, "before.tif")
    expect(page.locator("#jobs tbody tr", has_text="before.tif")).to_be_visible()
    page.get_by_label("Name contains").fill("half a sea")
    for one, said in ((gateway, "The gateway does not answer"), (dashboard, "The connection is lost")):
        assert one.stop() == 0
        expect(page.locator("#line")).to_contain_text(said, timeout=30_000)
        one.start()
        expect(page.locator("#line")).to_be_hidden(timeout=30_000)
        make(gateway, f"after {said}.tif")
        expect(page.locator("#jobs tbody tr", has_text=said)).to_be_visible()
    expect(page.get_by_label("Name contains")).to_have_value("half a sea")
    assert all("error: Failed to load resource" in words for words in someone.complaints)
    someone.close()


def test_every_page_says_that_the_gateway_is_gone_and_recovers(browser, apart):
    gateway, dashboard = apart
    someone, job = Visit(browser, dashboard.url("dashboard")), make(gateway, "a.tif")
    tabs = {path: someone.context.new_page() for path in ALL}
    for path, tab in tabs.items():
        tab.goto(someone.base + path.format(job=job))
        tab.locator("html[data-ready]").wait_for()
    for one, shows in ((gateway, [path for path in ALL if path != "/sign-in"]), (dashboard, ALL)):
        assert one.stop() == 0
        for path in shows:
            expect(tabs[path].locator("#line"), path).to_be_visible(timeout=60_000)
        one.start()
        for path in shows:
            expect(tabs[path].locator("#line"), path).to_be_hidden(timeout=60_000)
            assert tabs[path].locator("h1").is_visible(), path
    someone.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    made.start()
    yield made
    made.close()


def sign_in(browser, guarded, name: str) -> Visit:
    someone = Visit(browser, guarded.gateway.url("dashboard"), ignore_https_errors=True)
    page = someone.go("/review")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("html[data-ready]").wait_for()
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{someone.base}/review")
    return someone


def test_who_is_not_known_signs_in_and_may_do_what_the_role_allows(browser, guarded):
    job = make(guarded.gateway, "a.tif")
    operator = sign_in(browser, guarded, "olga")
    page = operator.go(f"/jobs/{job}")
    expect(page.locator(".person")).to_have_text("olga (operator)")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Comment or reason").fill("wrong plate")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".line li").last).to_contain_text("by olga")
    expect(page.locator(".line li").last).to_contain_text("wrong plate")
    expect(operator.go("/tasks/new").get_by_text("Only administrators change tasks.")).to_be_visible()

    viewer = sign_in(browser, guarded, "viktor")
    page = viewer.go(f"/jobs/{job}")
    expect(page.locator("[data-part=state] .state").first).to_have_text("cancelled")
    expect(page.locator("[data-part=state] button")).to_have_count(0)
    asked = "{method: 'POST', headers: {'X-Cytobus-Check': document.querySelector('meta[name=cytobus-check]').content}}"
    told = page.evaluate(f"fetch('/gateway/job-repository/api/v1/job/{job}/release', {asked}).then(a => a.status)")
    assert told == 403, "and the gateway says so, whatever a page shows"
    assert [words for words in viewer.complaints if "403" not in words] == []
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("/sign-in"))
    assert operator.complaints == []
    audit = guarded.gateway.ask("GET", "job-repository", "/api/v1/audit").json()
    cancelled = [line["What"] for line in audit if line["Actor"] == "olga" and "/cancel" in line["What"]]
    assert cancelled == [f"job-repository POST /api/v1/job/{job}/cancel"], "once, by the service that did it"
    for one in (operator, viewer):
        one.close()


def test_a_change_without_the_word_of_a_page_of_ours_is_refused(browser, guarded):
    job = make(guarded.gateway, "b.tif")
    someone = sign_in(browser, guarded, "anna")
    told = someone.page.evaluate(
        f"fetch('/gateway/job-repository/api/v1/job/{job}/cancel', {{method: 'POST'}}).then(a => a.status)"
    )
    assert told == 403
    someone.close()
    answer = guarded.gateway.ask("GET", "dashboard", "/", headers={"Authorization": ""}, follow_redirects=False)
    assert answer.status_code == 401
