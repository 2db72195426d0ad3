"""The pages of pipelines and instruments in a real browser: every button once, on a real model and a real edge."""

import os
import re

import pytest
from playwright.sync_api import expect

from pipelines.nuclei.model import VERSION
from tests.support.models import nuclei
from tests.support.samples import nuclei_image

pytestmark = [pytest.mark.browser, pytest.mark.system]


def upload(page, content: bytes) -> None:
    page.get_by_label("Zip file").set_input_files(
        {"name": "model.zip", "mimeType": "application/zip", "buffer": content}
    )
    page.get_by_role("button", name="Upload", exact=True).click()


def processed_with(instance, name: str) -> str:
    """Drops an image; the version of the model by which it was done."""
    instance.drop(name, nuclei_image())

    def done() -> list:
        return instance.ask("GET", "job-repository", f"/api/v1/job?name={name}&state=complete").json()

    instance.wait_for(lambda: bool(done()), 120, f"{name} was not processed")
    found = re.search(r'"model": {"version": "(\w+)", "sha256": "(\w+)"', done()[0]["PipelineDetails"]["Results"])
    assert found is not None
    shown = instance.ask("GET", "dashboard", f"/jobs/{done()[0]['Id']}").text
    assert re.search(rf"<dt>Model</dt><dd>nuclei {found[1]} .*{found[2][:12]}</span> .*openvino", shown)
    return found[1]


def test_a_model_is_uploaded_tried_used_rolled_back_and_deleted_and_a_pipeline_pauses(visit, instance):
    instance.add_task("nuclei")
    assert processed_with(instance, "first.png") == VERSION
    page = visit().go("/pipelines")
    page.locator("html[data-ready]").wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    card = page.locator("section.instrument").filter(has=page.get_by_role("heading", name="Nuclei"))
    expect(card).to_contain_text("f1")
    upload(page, nuclei("7"))
    line = card.locator("tbody tr", has_text="dense").or_(card.locator("tbody tr").nth(1))
    expect(line).to_contain_text("ready", timeout=60_000)
    expect(line).to_contain_text("ms an inference")
    page.get_by_role("button", name="Use Nuclei 7").click()
    expect(line).to_contain_text("in use")
    version = ""
    for number in range(20):  # a runner looks every two seconds
        if (version := processed_with(instance, f"second-{number}.png")) == "7":
            break
    assert version == "7"
    page.get_by_role("button", name="Roll back Nuclei").click()
    expect(card.locator("tbody tr").first).to_contain_text("in use")
    page.get_by_role("button", name="Delete Nuclei 7").click()
    expect(card.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Pause Nuclei").click()
    expect(card).to_contain_text("paused")
    page.get_by_role("button", name="Go on Nuclei").click()
    expect(page.get_by_role("button", name="Pause Nuclei")).to_be_visible()
    upload(page, nuclei("3", fp32_xml=b"<net/>"))
    expect(card.locator("tbody tr").nth(1)).to_contain_text("OpenVINO cannot run", timeout=60_000)
    expect(page.get_by_role("button", name="Use Nuclei 3")).to_have_count(0)


def test_what_is_no_model_is_refused_on_the_page_with_the_reason(visit):
    someone = visit()
    page = someone.go("/pipelines")
    page.locator("html[data-ready]").wait_for()
    upload(page, b"hello")
    expect(page.locator("#failed")).to_contain_text("no zip file")
    assert "400" in someone.complaint()


def test_an_instrument_says_how_it_is_without_a_reload(visit, instance):
    page = visit().go("/instruments")
    card = page.locator("section.instrument", has_text="oem")
    expect(card).to_contain_text("online", timeout=60_000)
    expect(card).to_contain_text(str(instance.input))
    expect(card).to_contain_text("free")
    held = os.fsencode(instance.input) + b"/no-unicode-\xff.tif"
    with open(held, "wb") as file:
        file.write(nuclei_image())
    expect(card.locator("tbody td:nth-child(4)")).to_have_text(re.compile("[1-9]"), timeout=60_000)
    expect(card).to_contain_text("no-unicode-")
    os.unlink(held)
