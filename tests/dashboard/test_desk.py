"""What people do with tasks, jobs and results, in a real browser on real images."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.system]
RULES = [
    {"in": ["dapi", {"var": "InputFile.Name"}]},
    {"!": {"matches": [{"var": "InputFile.Name"}, "a.*"]}},
    {"and": [{"==": [{"var": ["InputFile.Attributes.channel"]}, "1"]}, {">": [{"var": "InputFile.Size"}, 1000]}]},
    {"or": [{"in": [{"var": "InputFile.Extension"}, [".tif", ".tiff"]]},
            {"!": [{"and": [{"==": [{"var": "InputFile.Attributes.LabName"}, "north"]},
                            {"or": [{"<=": [{"var": "InputFile.Attributes.row"}, 3]},
                                    {"!=": [{"var": "PipelineDetails.QCFlags"}, "x"]}]}]}]}]},
]  # fmt: skip
OWN = [
    True, {"some": [{"var": "x"}, True]}, {"<": [1, {"var": "InputFile.Size"}, 5]}, {"==": [{"var": "x"}, None]},
    {"in": [{"var": "InputFile.Name"}, ["a,b"]]}, {"and": [{"var": "x"}]},
    {"!": [{"!": [{"==": [{"var": "x"}, "1"]}]}]},
    {">": [{"var": "InputFile.Size"}, "5"]}, {"in": [{"var": "x"}, ["a", 1]]},
]  # fmt: skip
LOOK = """async rules => { const rule = await import('/static/rule.js')
  return rules.map(one => { const found = rule.read(one); return found ? rule.write(found) : 'raw' }) }"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """Everything, with two small images processed by a pipeline that gives an image back, and one that gives none."""
    made = Instance(tmp_path_factory.mktemp("desk") / "data", CYTOBUS_PIPELINES__WORKERS="1")
    made.start()
    made.add_task("file-and-results", '{"in": ["image", {"var": "InputFile.Name"}]}')
    made.add_task("only-results", '{"in": ["words", {"var": "InputFile.Name"}]}')
    for number in range(3):
        made.drop(f"image-{number}.png", picture(number))
    made.drop("words.txt", b"no image")
    made.wait_for(lambda: made.counts().get("complete", 0) == 4, 120, "not all was processed")
    yield made
    made.close()


def picture(number: int) -> bytes:
    import io

    from PIL import Image

    target = io.BytesIO()
    Image.effect_noise((300, 200), 40 + number).save(target, "PNG")
    return target.getvalue()


def job_of(instance, name: str) -> dict:
    (job,) = instance.ask("GET", "job-repository", f"/api/v1/job?name={name}&limit=1").json()
    return job


def plain(rule: object) -> object:
    """With all arguments in lists."""
    if isinstance(rule, list):
        return [plain(one) for one in rule]
    if isinstance(rule, dict):
        return {name: plain(said if isinstance(said, list) else [said]) for name, said in rule.items()}
    return rule


def test_rules_are_read_back_as_they_were_or_left_as_text(visit):
    page = visit().go("/tasks/new")
    page.locator("html[data-ready]").wait_for()
    found = page.evaluate(LOOK, [*RULES, *OWN])
    assert [plain(one) for one in found[: len(RULES)]] == [plain(one) for one in RULES]
    assert found[len(RULES) :] == ["raw"] * len(OWN)


def test_a_nested_rule_is_built_and_says_which_condition_decides(visit):
    someone = visit()
    page = someone.go("/tasks/new")
    page.get_by_label("value", exact=True).fill("image")
    page.get_by_role("button", name="Add a group").click()
    group = page.locator("#conditions > li.group")
    values = group.get_by_label("value", exact=True)
    values.nth(0).fill("-1")
    values.nth(1).fill("-2")
    expect(page.locator("#tried")).to_have_text("The rule matches 2 of the last 4 files.")
    row = page.locator("#files tr", has_text="image-0.png")
    expect(row).to_contain_text('Does not match: {"in": ["-1", {"var": "InputFile.Name"}]} is false')
    expect(row).to_contain_text('InputFile.Name is "image-0.png"')
    group.get_by_label("not").first.check()
    expect(page.locator("#tried")).to_have_text("The rule matches 1 of the last 4 files.")
    part = {"or": [{"in": [word, {"var": "InputFile.Name"}]} for word in ("-1", "-2")]}
    expected = {"and": [{"in": ["image", {"var": "InputFile.Name"}]}, {"!": [part]}]}
    assert json.loads(page.get_by_label("The rule as JSONLogic").input_value()) == expected
    page.get_by_label("Description").fill("nested")
    page.get_by_role("combobox", name="Pipeline").select_option("nuclei")
    page.get_by_label("The rule as JSONLogic").fill('{"nonsense": [1]}')
    with page.expect_console_message(lambda message: "400" in message.text):  # trying it says the reason sooner
        page.get_by_role("button", name="Save").click()
    expect(page.locator("#wrong")).to_contain_text("there is no operator")
    assert page.url.endswith("/tasks/new"), "what is refused is not left"
    assert "400" in someone.complaint()


def test_tasks_are_put_in_order_disabled_and_deleted_by_who_knows_what_hangs_on_them(visit, instance):
    task = instance.add_task("only-results", '{"in": ["nothing", {"var": "InputFile.Name"}]}', threshold="1")
    page = visit().go("/tasks")
    rows = page.locator("#tasks tr")
    expect(rows).to_have_count(3)
    mine = page.locator(f"#tasks tr[data-id='{task}']")
    mine.get_by_role("button", name=re.compile("one place up")).click()
    expect(rows.nth(1)).to_have_attribute("data-id", task)
    mine.drag_to(rows.nth(0))
    expect(rows.nth(0)).to_have_attribute("data-id", task)
    mine.get_by_role("button", name=re.compile("^Disable")).click()
    expect(mine).to_contain_text("disabled")
    listed = instance.ask("GET", "task-launcher", "/api/v1/task").json()
    assert (listed[0]["Id"], listed[0]["Disabled"], listed[0]["Order"]) == (task, True, 1)
    mine.get_by_role("button", name=re.compile("^Enable")).click()
    expect(mine).not_to_contain_text("disabled")
    file = {"Hostname": "oem", "DirName": "/in/", "Name": "nothing.tif", "Extension": ".tif"}
    job = instance.ask("POST", "job-repository", "/api/v1/job", json={"InputFile": file}).text
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
    mine.get_by_role("button", name=re.compile("^Delete")).click()
    expect(rows).to_have_count(2)
    assert "1 files on their way would go to it" in said[0]
    instance.ask("DELETE", "job-repository", f"/api/v1/job/{job}")


def test_columns_sort_and_times_narrow(visit, instance):
    page = visit().go("/")
    names = page.locator("#jobs td.name")
    page.get_by_role("link", name="File", exact=True).click()
    expect(page.get_by_role("columnheader", name="File")).to_have_attribute("aria-sort", "ascending")
    expect(names).to_have_text(["image-0.png", "image-1.png", "image-2.png", "words.txt"])
    page.get_by_role("link", name="File", exact=True).click()
    expect(names.first).to_have_text("words.txt")
    page.get_by_label("Changed from").fill("2199-01-01T00:00")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No job fits these filters.")).to_be_visible()
    page = visit().go("/?sort=changed")
    page.locator("html[data-ready]").wait_for()
    oldest = job_of(instance, "image-0")["Id"]
    instance.ask("PUT", "job-repository", f"/api/v1/job/{oldest}/review", json={"Verification": 0})
    expect(page.locator("#jobs td.name").first).to_have_text("image-0.png")


def test_an_output_stands_beside_its_input_and_moves_with_it(visit, instance):
    page = visit().go(f"/jobs/{job_of(instance, 'image-1')['Id']}")
    panes = page.locator(".pane")
    expect(panes).to_have_count(1)
    page.get_by_role("combobox", name="Compare with").select_option(index=2)
    expect(panes.nth(1).locator(".sheet img").first).to_have_js_property("complete", True, timeout=30_000)
    panes.nth(1).press("1")
    expect(panes.nth(0).locator(".told")).to_contain_text("100 %")
    expect(panes.nth(1).locator(".told")).to_contain_text("100 %")
    panes.nth(1).press("ArrowLeft")
    moved = "all => new Set(all.map(one => one.style.transform)).size"
    page.wait_for_function(f"({moved})([...document.querySelectorAll('.sheet')]) === 1")
    path = f"/api/v1/job/{job_of(instance, 'image-1')['Id']}/review"
    for word, said in ((1, "accepted"), (0, "to be reviewed")):
        instance.ask("PUT", "job-repository", path, json={"Verification": word})
        expect(page.locator("[data-part=state]")).to_contain_text(said)
        expect(panes).to_have_count(2)


def test_a_job_is_run_again_by_another_task_and_keeps_what_was(visit, instance):
    job = job_of(instance, "image-2")["Id"]
    page = visit().go(f"/jobs/{job}")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Run again with the task").select_option("test only-results")
    page.get_by_label("Comment or reason").fill("only the numbers")
    page.get_by_role("button", name="Run again").click()
    expect(page.locator(".line li").filter(has_text="task-applied")).to_contain_text("only the numbers")
    expect(page.locator("[data-part=state] .state").first).to_have_text("complete", timeout=60_000)
    expect(page.get_by_role("heading", name="Earlier results")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("heading", name="Earlier results")).to_be_visible()


def test_two_reviewers_see_each_other_and_a_whole_filter_is_judged_at_once(visit, instance):
    one, other = visit().go("/review?name=image"), visit().go("/review?name=image")
    for page in (one, other):
        page.locator("html[data-ready]").wait_for()
        expect(page.locator("#queue-list li")).to_have_count(3)
    name = other.locator("[data-part=current] h2 a").inner_text()
    one.keyboard.press("a")
    expect(other.locator("#queue-list li")).to_have_count(2)
    expect(other.locator("[data-part=current] h2")).to_contain_text("accepted")
    expect(other.locator("[data-part=current] h2 a")).to_have_text(name)
    other.keyboard.press("r")
    expect(other.locator("[data-part=current] h2 a")).not_to_have_text(name)
    job = job_of(instance, name)
    history = instance.ask("GET", "job-repository", f"/api/v1/job/{job['Id']}/history").json()
    assert (job["Verification"], [line["What"] for line in history[-2:]]) == (
        2,
        ["review: accepted", "review: rejected"],
    )
    said: list[str] = []
    one.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
    one.locator("#queue-list input").first.check()
    one.get_by_role("button", name="Reject all found").click()
    expect(one.get_by_text("Nothing left to review")).to_be_visible()
    assert said[0].startswith("Reject all 2 results")
    rejected = {path.name for path in (instance.data / "gateway" / "reject").rglob("*.png")}
    assert rejected == {"image-0.png", "image-1.png", "image-2.png"}
    words = visit().go("/review?name=words")
    words.locator("html[data-ready]").wait_for()
    expect(words.get_by_text("This result has no files.")).to_be_visible()
    words.locator("#queue-list input").first.check()
    words.keyboard.press("c")
    words.keyboard.type("plausible")
    words.keyboard.press("Enter")
    words.keyboard.press("r")
    expect(words.get_by_text("Nothing left to review")).to_be_visible()
    assert job_of(instance, "words")["Verification"] == 2
