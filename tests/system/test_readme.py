"""What the README tells people to type works as it stands there."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.plugin import Work
from pipelines.registry import make
from pipelines.samples import render_field
from tests.support.instance import Instance

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS='["file-and-results"]')
    yield made
    made.close()


def block(language: str, containing: str) -> str:
    """The README's code block of a language that contains some words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if containing in text)


@pytest.mark.system
def test_a_job_by_hand_with_curl(instance: Instance, tmp_path: Path) -> None:
    instance.start()
    script = block("sh", "curl-example")
    place = {
        "http://127.0.0.1:59784": instance.url("job-repository"),
        "http://127.0.0.1:59785": instance.url("task-launcher"),
        "http://127.0.0.1:59786": instance.url("file-sender-gateway"),
        "data/edge/input": str(instance.input),
        "python3": sys.executable,
    }
    for here, there in place.items():
        script = script.replace(here, there)
    first, second = script.split("# 3. watch the job")
    bash(first, tmp_path)
    instance.wait_for(lambda: instance.counts().get("complete") == 1, 60, "the job did not come to its end")
    variables = script.splitlines()[0]
    said = bash(f"{variables}\n# {second}", tmp_path)

    assert '"Status":"Complete"' in said
    assert '"Owner":"none"' in said
    assert '"What":"outputs-archived"' in said
    assert "hello" in said, "the output was not sent"
    assert '"Verification":1' in said
    assert instance.jobs() == [], "the job was not deleted"


def bash(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pipeline_of_twenty_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = block("python", "class BrightPixels")
    (tmp_path / "bright_pixels.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    pixels, _ = render_field(1, shape=(64, 64), bits=8, nuclei=2)
    from pipelines.images import write_png

    write_png(tmp_path / "field.png", pixels)
    out = tmp_path / "out"
    out.mkdir()

    result = make("bright_pixels:BrightPixels").run(Work(tmp_path / "field.png", out, {"threshold": "100"}))

    assert result.outputs == ("count.txt",)
    assert int((out / "count.txt").read_text()) == int((pixels > 100).sum())
