"""A job's page, reviews and tasks in a real browser, on real images."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.chromium import Visit
from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.system]


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """Everything, with the sample images processed."""
    data = tmp_path_factory.mktemp("pages") / "data"
    made = Instance(data, side="up --samples", CYTOBUS_PIPELINES__WORKERS="1")
    made.start()
    made.wait_for(lambda: made.counts().get("complete", 0) >= 10, 240, "the samples were not processed")
    yield made
    made.close()


def job_of(instance, name: str) -> dict:
    (job,) = instance.ask("GET", "job-repository", f"/api/v1/job?name={name}&limit=1").json()
    return job


def opened(visit: Visit, path: str):
    page = visit.go(path)
    # The first look at an image starts the process that decodes.
    expect(page.locator(".sheet img").first).to_have_js_property("complete", True, timeout=30_000)
    return page


def test_a_jobs_page_shows_its_image_with_labels_over_it_and_what_was_measured(visit, instance):
    job = job_of(instance, "r01c03")
    page = opened(visit(), f"/jobs/{job['Id']}")
    expect(page.locator(".told")).to_contain_text(re.compile("512 . 512 · uint16"))
    expect(page.locator(".sheet img[src*='labels=true']").first).to_have_js_property("complete", True)
    place = "all => all.map(one => new URL(one.src).pathname.split('/').at(-2))"
    places = page.eval_on_selector_all(".sheet img", place)
    assert set(places) == {"input", "0"}, "the image, and its labels over it"
    expect(page.get_by_role("img", name=re.compile("Histogram of area_um2"))).to_be_visible()
    page.get_by_role("combobox", name="Column").select_option("eccentricity")
    expect(page.get_by_role("img", name=re.compile("Histogram of eccentricity"))).to_be_visible()
    steps = page.locator(".line li")
    expect(steps.first).to_contain_text("job-created")
    expect(steps.filter(has_text="outputs-archived")).to_contain_text("complete")


def test_contrast_overlay_and_zoom_change_what_is_fetched(visit, instance):
    page = opened(visit(), f"/jobs/{job_of(instance, 'r01c01')['Id']}")
    page.get_by_label("White level").fill("900")
    with page.expect_response(lambda answer: "high=900" in answer.url and answer.ok):
        page.get_by_label("White level").press("Enter")
    before = page.locator(".told").inner_text()
    page.locator(".pane").press("+")
    expect(page.locator(".told")).not_to_have_text(before)
    page.locator(".pane").press("1")
    expect(page.locator(".told")).to_contain_text("100 %")
    page.get_by_role("combobox", name="Overlay").select_option("")
    expect(page.locator(".sheet img[src*='labels=true']")).to_have_count(0)


def test_news_of_a_job_does_not_undo_what_was_done_to_its_image(visit, instance):
    job = job_of(instance, "r01c02")
    page = opened(visit(), f"/jobs/{job['Id']}")
    page.locator("html[data-ready]").wait_for()
    page.locator(".pane").press("1")
    expect(page.locator(".told")).to_contain_text("100 %")
    review = f"/api/v1/job/{job['Id']}/review"
    for verdict, said in ((1, "accepted"), (0, "to be reviewed")):
        instance.ask("PUT", "job-repository", review, json={"Verification": verdict})
        expect(page.locator("[data-part=state]")).to_contain_text(said)
        expect(page.locator(".told")).to_contain_text("100 %")


def test_outputs_are_downloaded_as_they_were_made(visit, instance):
    job = job_of(instance, "r02c01")
    page = visit().go(f"/jobs/{job['Id']}")
    with page.expect_download() as found:
        page.get_by_role("link", name=re.compile(r"_cells\.csv$")).click()
    output = job["PipelineDetails"]["OutputFiles"][2]
    assert found.value.suggested_filename == output["Name"]
    assert found.value.path().stat().st_size == output["Size"]


def test_a_reviewer_works_through_the_queue_with_the_keyboard(visit, instance):
    page = visit().go("/review")
    names = page.locator("#queue-list a")
    count = names.count()
    first, second = (names.nth(n).inner_text().split("\n")[0] for n in range(2))
    current = page.locator("html[data-ready] #queue-list [aria-current]")
    expect(current).to_contain_text(first)
    page.keyboard.press("n")
    expect(current).to_contain_text(second)
    page.keyboard.press("p")
    expect(current).to_contain_text(first)
    page.keyboard.press("c")
    page.keyboard.type("well segmented")
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    expect(current).to_contain_text(second)
    expect(names).to_have_count(count - 1)
    page.keyboard.press("r")
    expect(names).to_have_count(count - 2)
    accepted, rejected = job_of(instance, first), job_of(instance, second)
    assert (accepted["Verification"], rejected["Verification"]) == (1, 2)
    history = instance.ask("GET", "job-repository", f"/api/v1/job/{accepted['Id']}/history").json()
    assert (history[-1]["What"], history[-1]["Why"]) == ("review: accepted", "well segmented")
    instance.wait_for(
        lambda: list((instance.data / "gateway" / "reject").rglob(second)), 10, "the image is not among the rejects"
    )
    page = visit().go("/review?verification=2")
    page.locator("html[data-ready]").wait_for()
    page.get_by_role("button", name="Reopen").click()
    expect(page.get_by_text("No results found")).to_be_visible()
    assert not list((instance.data / "gateway" / "reject").rglob(second))


def test_many_are_accepted_at_once(visit, instance):
    page = visit().go("/review?name=r03")
    page.locator("html[data-ready]").wait_for()
    page.get_by_label("Select all").check()
    page.get_by_role("button", name="Accept selected").click()
    expect(page.get_by_text("Nothing left to review")).to_be_visible()


def test_a_task_is_built_tried_saved_changed_and_deleted(visit, instance):
    page = visit().go("/tasks/new")
    page.get_by_label("Description").fill("Only phase contrast")
    page.get_by_role("combobox", name="Pipeline").select_option("nuclei")
    page.locator("fieldset:visible").get_by_label(re.compile("threshold")).fill("0.7")
    value = page.get_by_label("value", exact=True)
    value.fill("phase")
    expect(page.locator("#tried")).to_have_text("The rule matches 1 of the last 10 files.")
    expect(page.locator("#files tr.wanted")).to_contain_text("phase-cell.png")
    expect(page.locator("#files tr").filter(has_text="colon-ihc")).to_contain_text("Does not match")
    page.get_by_role("button", name="Add a condition").click()
    second = page.locator("#conditions li").last
    second.get_by_label("What", exact=True).select_option("extension")
    second.get_by_label("How").select_option("==")
    second.get_by_label("value", exact=True).fill(".tif")
    expect(page.locator("#tried")).to_have_text("The rule matches 0 of the last 10 files.")
    second.get_by_label("not").check()
    expect(page.locator("#tried")).to_have_text("The rule matches 1 of the last 10 files.")
    page.get_by_role("button", name="Save").click()
    line = page.locator("tbody tr", has_text="Only phase contrast")
    expect(line).to_contain_text('Name contains "phase" and not (Extension = ".tif")')
    expect(line).to_contain_text("threshold = 0.7")
    line.get_by_role("link", name="Only phase contrast").click()
    expect(page.locator("#conditions li")).to_have_count(2)
    page.get_by_label("Description").fill("Phase contrast")
    page.get_by_role("button", name="Save").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete Phase contrast").click()
    expect(page.locator("tbody tr", has_text="Phase contrast")).to_have_count(0)


def test_a_bad_rule_is_refused_with_the_reason_as_it_is_written(visit):
    page = visit().go("/tasks/new")
    page.get_by_label("The rule as JSONLogic").fill('{"contains": ["a", "b"]}')
    expect(page.locator("#wrong")).to_contain_text("there is no operator")
    page.get_by_label("The rule as JSONLogic").fill('{"some": [{"var": "x"}, true]}')
    expect(page.get_by_text("This rule says more than the conditions above can")).to_be_visible()


def test_pipelines_instruments_and_the_system_are_shown(visit):
    someone = visit()
    page = someone.go("/pipelines")
    expect(page.locator("section", has_text="Nuclei").locator(".state").first).to_have_text("alive")
    page = someone.go("/instruments")
    expect(page.locator("section", has_text="oem")).to_contain_text(re.compile(r"\.(tif|png)"))
    page = someone.go("/system")
    expect(page.locator("li", has_text="job-repository")).to_contain_text("OK")
    expect(page.get_by_text("No job has failed or is in quarantine.")).to_be_visible()


def test_every_page_can_be_used_on_a_tablet_without_scrolling_sideways(visit, instance):
    someone = visit(viewport={"width": 820, "height": 1180}, has_touch=True)
    for path in ("/", "/review", "/tasks", "/tasks/new", "/pipelines", "/instruments", "/system", f"/jobs/{job_of(instance, 'colon')['Id']}"):  # fmt: skip  # noqa: E501
        page = someone.go(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_a_job_that_is_not_there_is_said_to_be_missing(visit):
    someone = visit()
    page = someone.go("/jobs/none")
    expect(page.get_by_role("heading", name="That cannot be shown")).to_be_visible()
    assert "404" in someone.complaint()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_a_screen_reader(visit, instance, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra 'test')")
    someone = visit(color_scheme=scheme)
    task = instance.ask("GET", "task-launcher", "/api/v1/task").json()[0]["Id"]
    job = job_of(instance, "r01c02")["Id"]
    for path in ("/", f"/jobs/{job}", "/review", "/tasks", f"/tasks/{task}", "/pipelines", "/instruments", "/system"):
        page = someone.go(path)
        page.locator("html[data-ready]").wait_for()
        found = axe.Axe().run(page).response["violations"]
        grave = [
            (path, one["id"], one["nodes"][0]["target"]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert grave == []
