"""The list of jobs in a real browser: alive, filtered, paged, in two languages and two themes."""

import time

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.system]


@pytest.fixture(scope="module", autouse=True)
def task(instance):
    return instance.add_task("only-results", '{"in": ["live", {"var": "InputFile.Name"}]}')


def make(instance, name: str) -> str:
    """A job made by a client of the API."""
    file = {"Hostname": "oem", "DirName": "/in/", "Name": name, "Extension": ".tiff"}
    answer = instance.ask("POST", "job-repository", "/api/v1/job", json={"InputFile": file})
    assert answer.status_code == 201, answer.text
    return answer.text


def test_the_first_page_of_an_empty_gateway_says_what_to_do_next(visit):
    page = visit().go("/")
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
    expect(page.locator("#first").get_by_role("link", name="Tasks")).to_have_attribute("href", "/tasks")
    expect(page.locator("#jobs")).to_be_hidden()


def test_a_new_job_appears_and_its_row_follows_it_to_the_end_without_a_reload(visit, instance):
    page = visit().go("/")
    expect(page.locator("#line")).to_be_hidden()
    instance.drop("live-1.txt", b"no image, but only-results does not mind")
    row = page.locator("#jobs tbody tr", has_text="live-1.txt")
    expect(row).to_be_visible()
    expect(row).to_contain_text("complete")
    expect(page.locator(".chips [data-state=complete] b")).to_have_text("1")


def test_a_change_is_on_the_screen_of_two_people_within_a_second(visit, instance):
    job = make(instance, "seen-by-two.tif")
    pages = [visit().go("/"), visit().go("/")]
    rows = [page.locator(f"#jobs tr[data-id='{job}']") for page in pages]
    for row in rows:
        expect(row).to_contain_text("found")
    begun = time.monotonic()
    instance.ask("POST", "job-repository", f"/api/v1/job/{job}/cancel", json={"Reason": "wrong plate"})
    for row in rows:
        expect(row).to_contain_text("cancelled", timeout=5000)
        expect(row).to_contain_text("wrong plate")
    assert time.monotonic() - begun < 2.0, "a second, and one for the test itself"


def test_filters_narrow_and_pages_lead_on_and_back(visit, instance):
    for number in range(60):
        make(instance, f"many-{number:02}.tif")
    page = visit().go("/")
    page.get_by_label("Name contains").fill("many-")
    page.get_by_role("button", name="Search").click()
    names = page.locator("html[data-ready] #jobs td.name")
    expect(names).to_have_count(50)
    expect(names.first).to_have_text("many-59.tif")
    page.get_by_role("link", name="Next page").click()
    expect(names).to_have_count(10)
    expect(names.last).to_have_text("many-00.tif")
    page.get_by_role("link", name="Page before").click()
    expect(names.first).to_have_text("many-59.tif")
    page.get_by_role("combobox", name="State").select_option("complete")
    expect(page.get_by_text("No job fits these filters.")).to_be_visible()


def test_it_speaks_chinese_and_can_be_dark(visit):
    page = visit(locale="zh-CN").go("/")
    expect(page.get_by_role("heading", name="作业")).to_be_visible()
    page.locator("html[data-ready]").wait_for()
    page.get_by_label("主题").select_option("dark")
    expect(page.locator("html[data-ready]")).to_have_attribute("data-theme", "dark")  # the page listens by now
    page.get_by_label("语言").select_option("en")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_times_are_those_of_the_readers_zone(visit, instance):
    make(instance, "zone.tif")
    page = visit(timezone_id="Asia/Tokyo").go("/?name=zone")
    when = page.locator("#jobs tbody time").first
    expect(when).not_to_contain_text("UTC")
    hour = page.evaluate("new Date(document.querySelector('#jobs time').dateTime).getHours()")
    assert f"{hour:02}:" in when.inner_text()
