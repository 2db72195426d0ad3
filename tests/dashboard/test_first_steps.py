"""A new user's way: from an empty gateway to a first own task and an accepted result, by what the pages say."""

import pytest
from playwright.sync_api import expect

from pipelines.samples import package_samples

pytestmark = [pytest.mark.browser, pytest.mark.system]


def test_from_nothing_to_an_accepted_result(visit, instance, tmp_path):
    page = visit().go("/")
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
    page.get_by_role("link", name="Make a task that says").click()
    page.get_by_role("link", name="New task").click()
    page.locator("html[data-ready]").wait_for()
    page.get_by_label("Description").fill("My nuclei")
    page.get_by_role("combobox", name="Pipeline").select_option("nuclei")
    page.get_by_label("value", exact=True).fill("mine")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("tbody tr", has_text="My nuclei")).to_contain_text('Name contains "mine"')

    page.get_by_role("link", name="Jobs", exact=True).first.click()
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
    page.locator("html[data-ready]").wait_for()
    image = next(path for path in package_samples(tmp_path) if path.name == "nuclei-r01c01f1.tif")
    instance.drop("mine.tif", image.read_bytes())
    row = page.locator("#jobs tbody tr", has_text="mine.tif")
    expect(row).to_contain_text("complete", timeout=120_000)
    expect(row).to_contain_text("My nuclei")
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_hidden()

    row.get_by_role("link").click()
    expect(page.locator(".sheet img").first).to_have_js_property("complete", True)
    page.locator("html[data-ready]").wait_for()
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("[data-part=state]")).to_contain_text("accepted")
    expect(page.locator(".line li").last).to_contain_text("review: accepted")
