"""Files submitted in a real browser at a gateway without instruments: cut, resumed, unpacked, processed, downloaded."""

import hashlib
import io
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pipelines.samples import package_samples
from tests.support.chromium import Visit
from tests.support.fleet import free_offset
from tests.support.instance import Instance

pytestmark = [pytest.mark.browser, pytest.mark.system]
BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "dsb2018" / "images"
PATIENT = 180_000
"""ms; a pipeline starts and works meanwhile."""


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """A gateway on ports that stay the same, and its pipelines; no edge."""
    made = Instance(
        tmp_path_factory.mktemp("submit") / "data",
        side="gateway",
        offset=free_offset(),
        CYTOBUS_PIPELINES__WORKERS="1",
        CYTOBUS_PIPELINES__TOPICS='["nuclei", "only-file"]',
    )
    made.start()
    made.add_task("only-file", '{"in": ["large", {"var": "InputFile.Name"}]}')
    made.add_task("nuclei", '{"!": {"in": ["unwanted", {"var": "InputFile.Name"}]}}', threshold="0.5")
    yield made
    made.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Three small ones, real where they are there."""
    if BESIDE.is_dir():
        return sorted(BESIDE.iterdir(), key=lambda path: (path.stat().st_size, path.name))[:3]
    return sorted(package_samples(tmp_path_factory.mktemp("samples")), key=lambda path: path.stat().st_size)[:3]


def ready(page):
    page.locator("html[data-ready] #submission[data-ready]").wait_for(state="attached")
    return page


def batch_of(page) -> str:
    page.wait_for_url(re.compile(r"/batches/[0-9a-f-]{36}"))
    return page.url.partition("/batches/")[2]


def drop(page, files: list[tuple[str, bytes]]) -> None:
    """Onto the page, as from a file manager."""
    script = """files => {
      const carried = new DataTransfer()
      for (const [name, hex] of files) {
        const bytes = new Uint8Array((hex.match(/../g) || []).map(pair => parseInt(pair, 16)))
        carried.items.add(new File([bytes], name, { lastModified: 1700000000000 }))
      }
      return carried
    }"""
    carried = page.evaluate_handle(script, [[name, content.hex()] for name, content in files])
    page.dispatch_event("#drop", "drop", {"dataTransfer": carried})


def without_broken_lines(visit: Visit) -> None:
    """A browser complains of each request that a cut line has broken."""
    visit.complaints[:] = [words for words in visit.complaints if "Failed to load resource" not in words]


def test_dropped_images_and_an_archive_come_back_as_one_zip_of_results(visit, instance, images):
    someone = visit()
    page = ready(someone.go("/submit"))
    page.get_by_label("Name of the batch").fill("plate 7")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("deep/er/" + images[2].name, images[2].read_bytes())
        archive.writestr("deep/notes.txt", "no image")
    drop(page, [*((path.name, path.read_bytes()) for path in images[:2]), ("more.zip", packed.getvalue())])
    batch = batch_of(page)
    expect(page.get_by_role("heading", name="plate 7")).to_be_visible()
    expect(page.locator("#far")).to_have_text("3 of 3 jobs have ended", timeout=PATIENT)
    expect(page.locator(".chips")).to_contain_text(re.compile("complete 3"))
    expect(page.locator("li", has_text="more.zip/deep/notes.txt")).to_contain_text("it is not an image")
    expect(page.locator("td.name", has_text=f"deep/er/{images[2].name}")).to_be_visible()
    with page.expect_download() as found:
        page.get_by_role("link", name="Download the results as one zip").click()
    jobs = instance.ask("GET", "job-repository", f"/api/v1/job?batch={batch}").json()
    outputs = [(job, one) for job in jobs for one in job["PipelineDetails"]["OutputFiles"]]
    assert len(outputs) == 9
    with zipfile.ZipFile(found.value.path()) as results:
        assert results.testzip() is None
        for job, one in outputs:
            name = f"{job['OriginDir']}/{one['Name']}" if job["OriginDir"] else one["Name"]
            assert hashlib.sha256(results.read(name)).hexdigest() == one["Sha256"]
        assert set(results.namelist()) - {"jobs.csv", "SHA256SUMS"} == {
            f"{job['OriginDir']}/{one['Name']}".lstrip("/") for job, one in outputs
        }
    page.locator("td.name a").first.click()
    with page.expect_download() as found:
        page.get_by_role("link", name="Download all").click()
    with zipfile.ZipFile(found.value.path()) as results:
        assert len(results.namelist()) == 4
    page.get_by_role("link", name=batch[:8]).click()
    expect(page.get_by_role("heading", name="plate 7")).to_be_visible()


def test_an_upload_survives_a_lost_line_a_restart_of_the_gateway_and_a_pause(visit, instance, tmp_path):
    content = b"II*\0" + bytes(range(256)) * 100_000
    large = tmp_path / "large.tif"
    large.write_bytes(content)
    someone = visit()
    page = ready(someone.go("/submit"))
    offsets: list[int] = []

    def passing(route):
        if route.request.method == "PATCH":
            offsets.append(int(route.request.headers["upload-offset"]))
        if len(offsets) >= 3:
            route.abort("internetdisconnected")
        else:
            route.continue_()

    page.route("**/api/v1/submissions/**", passing)
    page.locator("#pick-files").set_input_files(large)
    line = page.locator("#uploads li", has_text="large.tif")
    expect(line).to_contain_text("trying again")
    instance.kill()
    instance.start()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#told")).to_contain_text("paused")
    cut = len(offsets)
    page.unroute("**/api/v1/submissions/**")
    page.on(
        "request",
        lambda asked: offsets.append(int(asked.headers["upload-offset"])) if asked.method == "PATCH" else None,
    )
    page.get_by_role("button", name="Go on").click()
    batch = batch_of(page)
    assert offsets[cut] == offsets[2] > 0, "it goes on where it was"
    expect(page.locator("#far")).to_have_text("1 of 1 jobs have ended", timeout=PATIENT)
    (job,) = instance.ask("GET", "job-repository", f"/api/v1/job?batch={batch}").json()
    assert job["State"] == "complete"
    assert job["InputFile"]["Sha256"] == hashlib.sha256(content).hexdigest()
    without_broken_lines(someone)


def test_who_has_left_the_page_goes_on_with_the_same_files(visit, instance, tmp_path):
    folder = tmp_path / "plate"
    (folder / "row").mkdir(parents=True)
    (folder / "row" / "large-2.tif").write_bytes(b"II*\0" + bytes(12 * 2**20))
    (folder / "large-1.tif").write_bytes(b"II*\0" + bytes(50))
    (folder / "Thumbs.db").write_bytes(b"x")
    someone = visit()
    page = ready(someone.go("/submit"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Name of the batch").fill("left alone")
    offsets: list[int] = []

    def passing(route):
        offsets.append(int(route.request.headers.get("upload-offset", "0")))
        route.abort() if max(offsets) else route.continue_()

    page.route("**/api/v1/submissions/**", passing)
    page.locator("#pick-folder").set_input_files(folder)
    expect(page.locator("#uploads li", has_text="large-2.tif")).to_contain_text("trying again")
    expect(page.locator("#uploads li", has_text="large-1.tif")).to_contain_text("there")
    page = ready(someone.go("/submit"))
    page.get_by_role("link", name="left alone").first.click()
    ready(page)
    batch = batch_of(page)
    expect(page.locator("#far")).to_contain_text("of 1 jobs")
    page.unroute("**/api/v1/submissions/**")
    sent: list[int] = []
    page.on(
        "request", lambda asked: sent.append(int(asked.headers["upload-offset"])) if asked.method == "PATCH" else None
    )
    page.locator("#pick-folder").set_input_files(folder)
    expect(page.locator("#told")).to_contain_text("2 of 2 files", timeout=PATIENT)
    assert sent[0] == max(offsets), "what was there is not sent again"
    expect(page.locator("#far")).to_have_text("2 of 2 jobs have ended", timeout=PATIENT)
    jobs = instance.ask("GET", "job-repository", f"/api/v1/job?batch={batch}").json()
    assert {(job["OriginDir"], job["InputFile"]["Name"]) for job in jobs} == {
        ("plate/row", "large-2.tif"), ("plate", "large-1.tif")
    }  # fmt: skip
    without_broken_lines(someone)


def test_what_nobody_wants_and_what_is_refused_is_said_and_hinders_nothing(visit, instance):
    someone = visit(locale="zh-CN")
    page = ready(someone.go("/submit"))
    drop(page, [("unwanted.tif", b"II*\0x"), ("CON.tif", b"x"), ("nothing.tif", b"")])
    expect(page.locator("#uploads li.failed", has_text="CON.tif")).to_contain_text("cannot be a file name on Windows")
    expect(page.locator("#uploads li.failed", has_text="nothing.tif")).to_contain_text("为空")
    expect(page.locator("#told")).to_contain_text("2 个被拒绝")
    page.get_by_role("link", name="查看批次进度").click()
    row = page.locator("tr", has_text="unwanted.tif")
    expect(row).to_contain_text("no task's rule matches this file", timeout=PATIENT)
    assert "400" in someone.complaint(), "the one refusal"
    assert someone.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_a_screen_reader(visit, instance, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra 'test')")
    someone = visit(color_scheme=scheme, viewport={"width": 820, "height": 1180})
    batch = instance.ask("GET", "job-repository", "/api/v1/batches").json()[0]["Id"]
    for path in ("/submit", f"/batches/{batch}"):
        page = ready(someone.go(path))
        found = axe.Axe().run(page).response["violations"]
        grave = [
            (path, one["id"], one["nodes"][0]["target"]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert grave == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
