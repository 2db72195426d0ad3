"""The nuclei models as a bento: built offline, served, called by the product, and by a stranger in AiCSD's way."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from compose.cli import app
from pipelines.backends.address import parsed
from pipelines.nuclei.model import Model, shipped
from tests.support.bento import BentoServer, environment
from tests.support.instance import Instance
from tests.support.mosquitto import Mosquitto

PROGRAM = Path(__file__).parents[1] / "strangers" / "mqtt_bento_pipeline.py"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bento's folder."""
    try:
        bentoml = environment() / "bin" / "bentoml"
    except LookupError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("packed")
    command = ["package", "bento", "nuclei", "--out", str(out), "--bentoml", str(bentoml)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (folder,) = out.iterdir()
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "is there already" in " ".join(again.output.split())
    return folder


@pytest.fixture(scope="module")
def served(packed: Path) -> Iterator[BentoServer]:
    server = BentoServer(str(packed))
    yield server
    server.close()


@pytest.mark.serving
def test_a_bento_holds_the_code_and_the_model_as_it_was_described(packed: Path) -> None:
    code = packed / "src" / "pipelines"
    assert (code / "nuclei" / "bento.py").is_file()
    assert not (code / "training").exists()
    for name, digest in shipped().metadata["files"].items():
        assert hashlib.sha256((code / "models" / "nuclei" / "1" / name).read_bytes()).hexdigest() == digest
    assert shipped().sha256 in (packed / "bento.yaml").read_text()


@pytest.mark.serving
def test_a_served_bento_is_a_place_for_the_pipelines_model(served: BentoServer) -> None:
    plane = np.random.default_rng(4).random((64, 64), np.float32)
    there, here = Model(address=parsed(served.address)), Model()
    there.ready()
    np.testing.assert_allclose(there(plane), here(plane), atol=1e-4)
    assert there.used() == {
        "version": "1",
        "sha256": shipped().sha256,
        "name": "nuclei",
        "place": served.address,
    }
    there.close()


@pytest.mark.serving
@pytest.mark.system
def test_orders_by_mqtt_are_carried_out_with_a_bento_and_reported_by_callbacks(
    served: BentoServer, tmp_path: Path
) -> None:
    broker = Mosquitto()
    settings = {"CYTOBUS_EXPORT_URL": broker.url, "CYTOBUS_PIPELINES__TOPICS": '["only-results"]'}
    instance = Instance(tmp_path / "data", **settings)
    url = served.address.removeprefix("bentoml+")
    stranger = subprocess.Popen(
        [sys.executable, str(PROGRAM), "127.0.0.1", str(broker.port), url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "listening\n"
        instance.start()
        instance.add_task("ovms/bento-nuclei")
        instance.drop("three.png", nuclei(3))
        instance.drop("broken.txt", b"not a picture")
        instance.drop("five.png", nuclei(5))
        ended = ("complete", "failed", "quarantined")
        instance.wait_for(
            lambda: sum(instance.counts().get(state, 0) for state in ended) == 3, 120, "not all orders were reported"
        )
        jobs = {job["InputFile"]["Name"]: job["PipelineDetails"] for job in instance.jobs()}
        for name, count in (("three.png", 3), ("five.png", 5)):
            told = json.loads(jobs[name]["Results"])
            assert told == {"count": count, "model": {"name": "nuclei", "version": "1", "place": url}}
        assert jobs["broken.txt"]["Status"] == "PipelineFailed"
        assert "UnidentifiedImageError" in jobs["broken.txt"]["Results"]
        assert sorted(path.name for path in instance.output.glob("*.png")) == [
            "five-bento-mask.png",
            "three-bento-mask.png",
        ]
    finally:
        stranger.kill()
        stranger.communicate()
        instance.close()
        broker.close()


def nuclei(count: int) -> bytes:
    """A PNG with so many bright discs."""
    from PIL import Image

    pixels, rows, columns = np.full((64, 64 * count), 20, np.uint8), *np.mgrid[:64, :64]
    for at in range(count):
        pixels[:, 64 * at : 64 * at + 64][(rows - 32) ** 2 + (columns - 32) ** 2 < 15**2] = 200
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_what_cannot_be_packed_is_said_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for arguments, words in (
        (["nuclei", "--out", str(tmp_path)], "pip install 'cytobus[bento]'"),
        (["nuclei", "--out", str(tmp_path), "--bentoml", str(tmp_path / "none")], "cannot be run"),
        (["cells", "--out", str(tmp_path)], "nuclei"),
    ):
        done = CliRunner().invoke(app, ["package", "bento", *arguments])
        assert done.exit_code != 0
        assert words in " ".join(done.output.split())
