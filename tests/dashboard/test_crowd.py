"""The list of jobs among a million: paged, filtered and alive in a real browser."""

import re
import time

import pytest
from playwright.sync_api import expect

from gateway.database import migrate, open_engine
from tests.support.crowd import fill
from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.heavy]
MILLION = 1_000_000


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """A gateway with a million jobs, made a second apart."""
    data = tmp_path_factory.mktemp("crowd") / "data"
    data.mkdir()
    engine = open_engine(f"sqlite:///{data / 'gateway.db'}")
    migrate(engine)
    engine.dispose()
    fill(data / "gateway.db", MILLION, time.time_ns())
    made = Instance(data, side="gateway --no-with-pipelines")
    made.start()
    yield made
    made.close()
    (data / "gateway.db").unlink()  # a gigabyte


def test_a_million_jobs_are_paged_and_filtered_and_stay_alive(visit, instance):
    page = visit().go("/")
    names = page.locator("html[data-ready] #jobs td.name")
    expect(names).to_have_count(50)
    expect(names.first).to_have_text("plate-00000-1000000.tif")
    expect(page.locator(".chips [data-state=complete] b")).to_have_text("970000")
    for number in (999_950, 999_900, 999_850):
        page.get_by_role("link", name="Next page").click()
        expect(names.first).to_have_text(re.compile(f"-{number}.tif"))
    page.get_by_role("link", name="Page before").click()
    expect(names.first).to_have_text(re.compile("-999900.tif"))

    page.get_by_label("Name contains").fill("plate-04242-50")
    page.get_by_role("button", name="Search").click()
    expect(names).to_have_text(["plate-04242-504242.tif"])
    page.get_by_role("link", name="Clear").click()
    expect(names).to_have_count(50)

    page.get_by_label("Instrument").fill("scope-19")
    page.get_by_role("combobox", name="State").select_option("quarantined")
    expect(names.first).to_have_text("plate-09999-999999.tif")
    page.get_by_role("link", name="Next page").click()
    expect(names.first).to_have_text("plate-04999-994999.tif")

    # A page from the middle, by its address, and the way on from there.
    someone = visit()
    page = someone.go("/?state=complete&after=500000")
    expect(names := page.locator("html[data-ready] #jobs td.name")).to_have_count(50)
    expect(names.first).to_have_text(re.compile("-49999[0-9].tif"))
    page.get_by_role("link", name="Next page").click()
    expect(names.first).to_have_text(re.compile("-4999[0-9]{2}.tif"))
    page = someone.go("/?order=asc")
    expect(page.locator("#jobs td.name").first).to_have_text("plate-00001-1.tif")


def test_what_changes_among_a_million_is_seen_without_a_reload(visit, instance):
    page = visit().go("/")
    file = {"Hostname": "oem", "DirName": "/in/", "Name": "newcomer.tif", "Extension": ".tif"}
    job = instance.ask("POST", "job-repository", "/api/v1/job", json={"InputFile": file}).text
    row = page.locator(f"#jobs tr[data-id='{job}']")
    expect(row).to_contain_text("found")
    instance.ask("POST", "job-repository", f"/api/v1/job/{job}/cancel", json={"Reason": "wrong plate"})
    expect(row).to_contain_text("cancelled")
    expect(page.locator(".chips [data-state=cancelled] b")).to_have_text("1")
