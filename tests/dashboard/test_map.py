"""The map of cells in a real browser: drawn, coloured, selected, named, gated, live; and where nothing can be drawn."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.cell_tables import bring, on_map, rows_of
from tests.support.chromium import Visit, chromium
from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.system]
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""A browser without a graphics card draws by the processor."""


@pytest.fixture(scope="module")
def browser():
    with chromium(FLAGS) as found:
        yield found


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """With 600 cells of two jobs on the map, of a kind that the map of their model does not know."""
    data = tmp_path_factory.mktemp("map") / "data"
    told = {"CYTOBUS_PIPELINES__TOPICS": '["only-file"]', "CYTOBUS_PIPELINES__WORKERS": "1"}
    made = Instance(data, **told, CYTOBUS_GATEWAY__CELLS__REFIT="false")
    made.start()
    made.add_task("cells")
    for seed, name in enumerate(("first", "second")):
        bring(made, name, rows_of(300, seed, name, dimension=128))
    made.wait_for(lambda: on_map(made) == 600, 60, "the cells are not on the map")
    yield made
    made.close()


@pytest.fixture
def page(visit):
    return opened(visit())


def opened(someone: Visit, query: str = ""):
    page = someone.go("/map" + query)
    page.locator("#map[data-loaded]").wait_for()
    return page


def around(page, left: float, top: float, right: float, bottom: float, steps: int = 12) -> None:
    """Draws along a box, in parts of the stage."""
    box = page.locator("#stage").bounding_box()
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 0.01)]
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=steps)
    page.mouse.up()


def boxed(page) -> None:
    """Draws a box around nearly all."""
    page.get_by_role("button", name="Box").click()
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.02 * box["width"], box["y"] + 0.02 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + 0.98 * box["height"], steps=5)
    page.mouse.up()


def colours_of(page) -> int:
    """How many colours the map has now; one: nothing is drawn."""
    return page.evaluate(
        """() => new Promise(done => {
             const canvas = document.getElementById('points'), sheet = document.createElement('canvas')
             document.getElementById('stage').dispatchEvent(new WheelEvent('wheel', { deltaY: 0.01, cancelable: true }))
             requestAnimationFrame(() => { // in the frame in which it was drawn anew
               sheet.width = canvas.width; sheet.height = canvas.height
               const drawn = sheet.getContext('2d', { willReadFrequently: true })
               drawn.drawImage(canvas, 0, 0)
               const all = new Uint32Array(drawn.getImageData(0, 0, sheet.width, sheet.height).data.buffer)
               done(new Set(all).size) }) })"""
    )


def test_every_cell_is_drawn_and_classes_can_be_hidden(page):
    expect(page.locator("#told")).to_have_text("600 cells")
    legend = page.locator("#legend")
    for name in ("normal", "burr", "sickle"):
        expect(legend.get_by_label(name)).to_be_checked()
    page.get_by_role("button", name="Select what is in view").click()
    expect(page.locator("#count")).to_contain_text("cells are selected")
    before = int(page.locator("#count").inner_text().split()[0])
    assert before >= 590  # a stray cell may lie outside
    legend.get_by_label("burr").uncheck()
    expect(page.locator("#counts")).not_to_contain_text("burr")
    expect(page.locator("#counts")).to_contain_text("sickle")


def test_a_lasso_gives_the_pictures_the_counts_and_the_histogram_of_what_is_in_it(page):
    page.get_by_role("button", name="Lasso").click()
    around(page, 0.01, 0.01, 0.99, 0.99)
    expect(page.locator("#gallery canvas")).to_have_count(120)
    expect(page.locator("#counts")).to_contain_text("burr")
    page.locator("#feature").select_option("area")
    expect(page.locator("#bars rect")).to_have_count(40)
    expect(page.locator("#bars")).to_have_attribute("aria-label", re.compile("^area: 100 . 399, median 249.5$"))
    grey = page.locator("#gallery canvas").first.evaluate(
        "one => [...one.getContext('2d').getImageData(32, 32, 1, 1).data]"
    )
    assert grey[0] == grey[1] == grey[2] >= 60  # its own crop: see rows_of
    page.locator("#gallery button").first.click()
    expect(page.locator("#one")).to_contain_text("Cell 1")
    expect(page.locator("#one").get_by_role("link", name="Open the job")).to_have_attribute(
        "href", "/jobs/" + job(page)
    )


def job(page) -> str:
    return page.locator("#one a").get_attribute("href").removeprefix("/jobs/")


def test_similar_cells_are_found_and_shown_first_to_last(page):
    boxed(page)
    page.locator("#gallery button").nth(1).click()
    expect(page.locator("#one span")).to_contain_text("Cell")
    kind = page.locator("#one span").inner_text().split()[0]
    page.locator("#one").get_by_role("button", name="Find similar cells").click()
    expect(page.locator("#said")).to_contain_text("119 similar cells")
    expect(page.locator("#count")).to_have_text("120 cells are selected.")
    expect(page.locator("#counts dt")).to_have_text([kind])


def test_a_selection_is_exported_named_shown_and_forgotten(page):
    page.get_by_role("button", name="Select what is in view").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    count = int(page.locator("#count").inner_text().split()[0])
    lines = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert len(lines) == count
    page.get_by_label("Name of this group").fill('odd, "ones"')
    page.get_by_role("button", name="Name it").click()
    line = page.locator("#groups li", has_text='odd, "ones"')
    expect(line).to_contain_text(f"{count} cells")
    page.get_by_role("button", name="Clear the selection").click()
    expect(page.locator("#gallery canvas")).to_have_count(0)
    line.get_by_role("button", name="Show").click()
    expect(page.locator("#count")).to_have_text(f"{count} cells are selected.")
    page.on("dialog", lambda dialog: dialog.accept())
    line.get_by_role("button", name="Delete").click()
    expect(page.locator("#groups li", has_text="odd")).to_have_count(0)


def test_a_gate_drawn_on_the_map_judges_cells_that_come_and_they_appear_by_themselves(page, instance):
    boxed(page)
    page.get_by_label("Name of the gate").fill("large ones")
    page.get_by_label("Cells within are").select_option("reject")
    page.locator("#gate-feature").select_option("area")
    page.get_by_label("at least").fill("110")
    page.get_by_role("button", name="Make the gate").click()
    line = page.locator("#gates li", has_text="large ones")
    expect(line).to_contain_text("Accepted 0, rejected 0")
    shown = int(page.locator("#map").get_attribute("data-count"))
    bring(instance, "third", rows_of(30, 7, "third", dimension=128))
    expect(page.locator("#map")).to_have_attribute("data-count", str(shown + 30))
    page.reload()
    expect(line).to_contain_text("Accepted 10, rejected 20")


def test_all_of_it_can_be_done_by_keyboard(page):
    page.locator("#stage").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#gallery canvas").first).to_be_visible()
    page.locator("#stage").focus()
    for key in ("+", "+", "ArrowLeft", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#count")).to_contain_text("selected")
    page.locator("#gallery button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#one")).to_be_visible()
    page.locator("#stage").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()
    page.keyboard.press("l")
    expect(page.get_by_role("button", name="Lasso")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("way", ["webgl", "plain"])
def test_with_a_graphics_card_or_without_cells_are_drawn_by_a_feature_by_time_and_by_density(visit, way):
    page = opened(visit(), f"?draw={way}")
    expect(page.locator("#points")).to_have_attribute("data-drawn", way)
    assert colours_of(page) > 3
    page.locator("#colour").select_option("area")
    page.locator("#map[data-loaded]").wait_for()
    expect(page.locator("#legend canvas")).to_be_visible()
    assert colours_of(page) > 30
    page.locator("#colour").select_option("at")
    expect(page.locator("#legend time").first).to_be_visible()
    page.locator("#mode").select_option("density")
    assert colours_of(page) > 1
    page.get_by_role("button", name="Select what is in view").click()
    page.locator("#gallery canvas").first.wait_for()
    assert colours_of(page) > 1


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.heavy)])
def test_nothing_serious_stands_in_the_way_of_a_screen_reader(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra 'test')")
    page = opened(visit(color_scheme=scheme))
    page.get_by_role("button", name="Select what is in view").click()
    page.locator("#gallery canvas").first.wait_for()
    page.locator("#gallery button").first.click()
    page.locator("#one a").wait_for()
    found = axe.Axe().run(page).response["violations"]
    grave = [(one["id"], one["nodes"][0]["target"]) for one in found if one["impact"] in ("serious", "critical")]
    assert grave == []


def test_on_a_tablet_nothing_has_to_be_scrolled_sideways(visit):
    page = opened(visit(viewport={"width": 820, "height": 1180}, has_touch=True, locale="zh-CN"))
    expect(page.get_by_role("heading", name="细胞图谱")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_browser_that_cannot_draw_is_told_so_and_the_rest_of_the_page_works(visit):
    someone = visit()
    someone.context.add_init_script(
        "HTMLCanvasElement.prototype.getContext = (get => function (kind, ...more) {"
        " return kind === 'webgl2' ? null : get.call(this, kind, ...more) })(HTMLCanvasElement.prototype.getContext)"
    )
    page = someone.go("/map?draw=webgl")
    expect(page.locator("#no-webgl")).to_contain_text("WebGL 2")
    expect(page.locator("#stage")).to_be_hidden()
    expect(page.locator("#gates")).not_to_be_empty()
    page = opened(someone)  # without being told how, it draws all the same
    expect(page.locator("#points")).to_have_attribute("data-drawn", "plain")
    assert colours_of(page) > 3


def test_cells_that_lie_off_the_map_are_told(page):
    told = page.locator("#drift")
    expect(told).to_contain_text(re.compile(r"[36]00 of the last [36]00 cells lie off the map\."), timeout=60_000)
    expect(told).to_contain_text("gateway.cells.refit is off")
