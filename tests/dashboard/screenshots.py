"""Takes pictures of every page, for people to look at: ``make screenshots``.

``python -m tests.dashboard.screenshots --to build/screenshots``: light, dark, Chinese, on a tablet, on real images, and
at the first start; ``--only jobs,review`` some of them. ``--readme`` renews the two pictures that the README shows.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.chromium import Visit, chromium
from tests.support.instance import Instance

HERE = Path(__file__).parents[2]
SHOWN = HERE / "gateway" / "dashboard" / "pictures"
"""Where the README's pictures lie."""
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "chinese": {"locale": "zh-CN"},
    "tablet": {"viewport": {"width": 820, "height": 1180}, "has_touch": True},
}
KB = 1000
LOADED = """all => Promise.all(all.map(one => { one.loading = 'eager'
  return one.complete || new Promise(done => { one.onload = one.onerror = done }) }))"""


@dataclass(frozen=True)
class Shot:
    """A page, and what is done there before it is taken."""

    name: str
    path: str
    """``{job}`` is a job with nuclei, ``{bad}`` one that failed, ``{task}`` a task"""
    before: Callable[[Any], object] | None = None


def _image_is_there(page: Any) -> None:
    page.locator(".sheet img").first.wait_for()
    page.locator("main img").evaluate_all(LOADED)


def _rule_was_tried(page: Any) -> None:
    page.get_by_label(page.evaluate("JSON.parse(document.getElementById('builder').dataset.words).value")).fill("r0")
    page.locator("#files tr.wanted").first.wait_for()


# A new page is a line here.
SHOTS = (
    Shot("jobs", "/"),
    Shot("jobs-filtered", "/?state=complete&name=r0"),
    Shot("map", "/map"),
    Shot("jobs-none", "/?name=nothing-is-called-so"),
    Shot("job", "/jobs/{job}", _image_is_there),
    Shot("job-failed", "/jobs/{bad}"),
    Shot("review", "/review", _image_is_there),
    Shot("submit", "/submit"),
    Shot("tasks", "/tasks"),
    Shot("task", "/tasks/{task}"),
    Shot("task-new", "/tasks/new", _rule_was_tried),
    Shot("pipelines", "/pipelines"),
    Shot("instruments", "/instruments"),
    Shot("system", "/system"),
    Shot("missing", "/jobs/none"),
    Shot("sign-in", "/sign-in"),
)
FIRST_START = (
    Shot("jobs", "/"),
    Shot("review", "/review"),
    Shot("submit", "/submit"),
    Shot("tasks", "/tasks"),
    Shot("task-new", "/tasks/new"),
    Shot("pipelines", "/pipelines"),
    Shot("instruments", "/instruments"),
    Shot("system", "/system"),
)
README = ("jobs", "job")


@contextmanager
def _instance(side: str, **environment: str) -> Iterator[Instance]:
    folder = Path(tempfile.gettempdir()) / "cytobus"  # pages show it: the same on each computer
    shutil.rmtree(folder, ignore_errors=True)
    made = Instance(folder / "data", side=side, CYTOBUS_PIPELINES__WORKERS="1", **environment)
    try:
        made.start()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def _fill(instance: Instance) -> dict[str, str]:
    """Real images processed, one that is none, some judged, one without a task; what paths name."""
    instance.wait_for(lambda: instance.counts().get("complete", 0) >= 10, 240, "the samples were not processed")
    task = {
        "Description": "Plates of the second week",
        "JobSelector": '{"in": ["torn", {"var": "InputFile.Name"}]}',
        "PipelineId": "nuclei",
        "ResultFileFolder": "output",
    }
    assert instance.ask("POST", "task-launcher", "/api/v1/task", json=task).is_success
    instance.drop("r04c01-torn.dat", b"this is no image")
    instance.drop("notes.docx", b"nobody wants this")
    ended = lambda: sum(instance.counts().get(one, 0) for one in ("failed", "quarantined"))  # noqa: E731
    instance.wait_for(ended, 120, "the bad image did not end")
    done = instance.ask("GET", "job-repository", "/api/v1/job?state=complete").json()
    for verdict, job in zip((1, 2, 1), done, strict=False):
        instance.ask("PUT", "job-repository", f"/api/v1/job/{job['Id']}/review", json={"Verification": verdict})
    bad = instance.ask("GET", "job-repository", "/api/v1/job?state=failed,quarantined&limit=1").json()[0]
    tasks = instance.ask("GET", "task-launcher", "/api/v1/task").json()
    (cells,) = instance.ask("GET", "job-repository", "/api/v1/job?name=r01c03&limit=1").json()
    return {"job": cells["Id"], "bad": bad["Id"], "task": tasks[0]["Id"]}


def taken(visit: Visit, shot: Shot, names: Mapping[str, str], file: Path, *, whole: bool = True) -> None:
    """One picture, once the page can be used and nothing moves any more."""
    page = visit.go(shot.path.format(**names))
    page.locator("html[data-ready]").wait_for()
    if shot.before:
        shot.before(page)
    page.wait_for_load_state("load")
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file, full_page=whole, animations="disabled")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        print(f"{file}: wider than the window")  # noqa: T201


def _all(browser: Any, instance: Instance, shots: Collection[Shot], names: Mapping[str, str], to: Path) -> None:
    for look, options in LOOKS.items():
        visit = Visit(browser, instance.url("dashboard"), **options)
        for shot in shots:
            taken(visit, shot, names, to / look / f"{shot.name}.png")
        visit.close()


def _for_readme(browser: Any, instance: Instance, names: Mapping[str, str]) -> None:
    visit = Visit(browser, instance.url("dashboard"), color_scheme="light")
    for shot in (one for one in SHOTS if one.name in README):
        whole, file = instance.data / f"{shot.name}.png", SHOWN / f"{shot.name}.webp"
        taken(visit, shot, names, whole, whole=False)
        SHOWN.mkdir(exist_ok=True)
        with Image.open(whole) as picture:
            picture.convert("RGB").save(file, quality=88, method=6)
        assert file.stat().st_size <= 200 * KB, f"{file} has {file.stat().st_size} bytes"
    visit.close()


def main() -> None:
    """Takes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=HERE / "build" / "screenshots")
    parser.add_argument("--only", default="", help="names of pages, with commas between them")
    parser.add_argument("--readme", action="store_true")
    asked = parser.parse_args()
    only = set(filter(None, asked.only.split(",")))

    def wanted(shots: Collection[Shot]) -> list[Shot]:
        return [one for one in shots if not only or one.name in only]

    with chromium() as browser:
        with _instance("up --samples") as instance:
            names = _fill(instance)
            if asked.readme:
                _for_readme(browser, instance, names)
                return
            _all(browser, instance, wanted(SHOTS), names, asked.to)
        nothing = json.dumps([])
        with _instance("up", CYTOBUS_PIPELINES__TOPICS=nothing) as instance:
            _all(browser, instance, wanted(FIRST_START), {}, asked.to / "first-start")


if __name__ == "__main__":
    main()
