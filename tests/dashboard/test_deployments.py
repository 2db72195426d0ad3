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


@pytest.fixture
def instance(tmp_path):
    made = Instance(tmp_path / "data", offset=free_offset(), CYTOBUS_PIPELINES__WORKERS="1")
    made.start()
    yield made
    made.close()


def test_a_page_says_that_the_gateway_is_gone_and_goes_on_when_it_is_back(browser, instance):
    someone = Visit(browser, instance.url("dashboard"))
    page = someone.go("/")
    page.locator("html[data-ready]").wait_for()
    make(instance, "before.tif")
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    page.get_by_label("Name contains").fill("half a sea")
    assert instance.stop() == 0
    expect(page.locator("#line")).to_contain_text("The connection is lost")
    instance.start()
    expect(page.locator("#line")).to_be_hidden(timeout=30_000)
    make(instance, "after.tif")
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    expect(page.get_by_label("Name contains")).to_have_value("half a sea")
    assert all("error: Failed to load resource" in words for words in someone.complaints)
    someone.close()


@pytest.fixture
def guarded(tmp_path):
    made = Guarded(tmp_path)
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
    job = make(guarded.gateway, "a.tif")
    someone = sign_in(browser, guarded, "anna")
    told = someone.page.evaluate(
        f"fetch('/gateway/job-repository/api/v1/job/{job}/cancel', {{method: 'POST'}}).then(a => a.status)"
    )
    assert told == 403
    someone.close()
    answer = guarded.gateway.ask("GET", "dashboard", "/", headers={"Authorization": ""}, follow_redirects=False)
    assert answer.status_code == 401
