"""Whole builds, small: the shipped network on drawn images; what is published, what is refused, what is written."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="building needs the extra [train]: make test-train")
pytest.importorskip("nncf", reason="building needs the extra [train]: make test-train")

from typer.testing import CliRunner

from compose.cli import app
from contracts.models_of_pipelines import Package, opened
from pipelines.backends.openvino import OpenVino, repository
from pipelines.backends.tensors import ModelRef
from pipelines.build import reported, source
from pipelines.build.compiling import can_compile
from pipelines.build.errors import BuildError, NoCompiler
from pipelines.build.reported import Contest, Order, Plan, Wanted
from pipelines.build.running import Outcome
from pipelines.build.tensorrt_engine import Profile, compiler
from pipelines.nuclei.model import shipped
from pipelines.nuclei.trial import tried
from tests.support.drawn import drawn_set

SMALL = Order(limit=0.5, calibration=3, engine=False)
JUDGED = Contest(compared=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_set(tmp_path_factory.mktemp("set"), ("train", "val", "test"))


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Both precisions by OpenVINO and one for each other compiler, with all that is written of them."""
    folder = tmp_path_factory.mktemp("built")
    targets = ("openvino-fp32", "openvino-int8", "onnx-int8", "tensorrt-fp16")
    wanted = Wanted(targets, folder / "models", 0, folder / "report.json", folder / "CARD.md", folder / "package.zip")
    contest = Contest(plan=Plan(side=64, rounds=2, requests=2), compile_seconds=0)
    return folder, reported.built(None, data, wanted, SMALL, contest)


def test_each_target_is_a_version_that_says_what_it_was_made_of(built: tuple[Path, Outcome]) -> None:
    folder, outcome = built

    assert {path.parent.name for path in outcome.folders.values()} == {
        *("nuclei", "nuclei-int8", "nuclei-onnx-int8", "nuclei-tensorrt-fp16")
    }
    for target, version in outcome.folders.items():
        said = json.loads((version / "metadata.json").read_text())
        assert (said["target"], said["version"], said["pipeline"]) == (target, "1", "nuclei")
        for name, digest in said["files"].items():
            assert hashlib.sha256((version / name).read_bytes()).hexdigest() == digest
        assert len(said["source"]["sha256"]) == 64
        assert said["commit"]
        assert {"torch", "openvino"} <= said["made_with"].keys()
        assert said["data"]["sha256"] != "", "of the pictures"
        assert (said["calibration"] is None) == (not target.endswith("int8"))
    calibration = json.loads((outcome.folders["openvino-int8"] / "metadata.json").read_text())["calibration"]
    assert len(calibration["sha256"]) == 64
    assert calibration["layers_in_fp32"][0].startswith("/network/stem/")
    assert (folder / "models" / "nuclei-tensorrt-fp16" / "config.pbtxt").read_text().count("KIND_GPU") == 1


def test_what_is_built_runs_from_the_repository(built: tuple[Path, Outcome]) -> None:
    place = OpenVino(repository(built[0] / "models"))
    picture = {"image": np.random.default_rng(3).random((2, 1, 64, 64), np.float32)}

    maps = {
        name: place.infer_now(ModelRef(name), picture).outputs["maps"]
        for name in ("nuclei", "nuclei-int8", "nuclei-onnx-int8")
    }

    assert maps["nuclei"].shape == (2, 3, 64, 64)
    for name in ("nuclei-int8", "nuclei-onnx-int8"):
        assert 0 < np.abs(maps[name] - maps["nuclei"]).mean() < 0.05


def test_the_report_compares_libraries(built: tuple[Path, Outcome]) -> None:
    folder, _ = built
    said = json.loads((folder / "report.json").read_text())

    rows = {row["name"]: row for row in said["rows"]}
    assert [*rows][:4] == ["openvino-fp32", "openvino-bf16", "onnx-fp32", "pytorch-eager"]
    assert rows["openvino-fp32"]["speed"]["ratio"] == 1
    assert rows["pytorch-eager"]["speed"]["images_per_second"] > 0
    assert rows["tensorrt-fp16"]["speed"] is None
    assert all(row["figures"]["fluo"] > 0.5 for row in rows.values())
    assert said["absent"] == {"pytorch-compiled": "it was left out (--compile-seconds 0)"}
    card = (folder / "CARD.md").read_text()
    assert card.count("## Variants") == 1
    assert "| openvino-int8 | 0." in card
    assert "pytorch-compiled was not measured" in card


def test_a_package_is_one_that_the_gateway_and_the_pipeline_take(built: tuple[Path, Outcome], tmp_path: Path) -> None:
    with opened(built[0] / "package.zip") as archive:
        package = Package(archive, 2**30)
        package.check()
    with zipfile.ZipFile(built[0] / "package.zip") as archive:
        archive.extractall(tmp_path)

    assert package.metadata.pipeline == "nuclei"
    assert tried(tmp_path) > 0


def test_what_loses_more_than_the_limit_is_not_published(data: Path, tmp_path: Path) -> None:
    nothing_is_good_enough = Order(limit=-0.1, engine=False)

    outcome = reported.built(None, data, Wanted(("tensorrt-fp16",), tmp_path / "m"), nothing_is_good_enough, JUDGED)

    assert not outcome.folders
    assert not (tmp_path / "m").exists()
    assert "tensorrt-fp16 is not published: F1 of" in str(outcome.refused["tensorrt-fp16"])


def test_a_version_is_never_overwritten(built: tuple[Path, Outcome], data: Path) -> None:
    models = built[0] / "models"
    before = (models / "nuclei" / "1" / "model.bin").read_bytes()

    with pytest.raises(FileExistsError, match="leave out --model-version"):
        reported.built(None, data, Wanted(("openvino-fp32",), models, number=1), SMALL, JUDGED)
    outcome = reported.built(None, data, Wanted(("openvino-fp32",), models), SMALL, JUDGED)

    assert outcome.folders["openvino-fp32"] == models / "nuclei" / "2"
    assert (models / "nuclei" / "1" / "model.bin").read_bytes() == before


def test_a_split_that_chose_layers_cannot_judge(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'val' chooses the layers"):
        reported.built(None, data, Wanted(("onnx-fp32",), tmp_path), SMALL, Contest("val"))


def test_a_package_of_one_precision_is_refused_before_any_work(data: Path, tmp_path: Path) -> None:
    wanted = Wanted(("openvino-fp32",), tmp_path, package=tmp_path / "p.zip")

    with pytest.raises(BuildError, match="build --to openvino-int8 too"):
        reported.built(None, data, wanted, SMALL, JUDGED)


def test_tensorrt_that_is_not_here_is_named_with_the_remedy() -> None:
    with pytest.raises(NoCompiler, match=r"no_such_module.*--without-engine"):
        compiler(("no_such_module",))


def test_a_profile_must_grow() -> None:
    with pytest.raises(ValueError, match="must grow"):
        Profile(least=(1, 1, 64, 64), usual=(16, 1, 64, 64), most=(8, 1, 64, 64))


def test_torch_compile_is_given_up_when_it_takes_too_long() -> None:
    with pytest.raises(NoCompiler, match=r"within 0\.01 s"):
        can_compile(shipped().path / source.FILE, 64, 1, 0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "openvino-int4"), "there is no target 'openvino-int4'; there are: openvino-fp32"),
        (("--to", "onnx-fp32", "--split", "val"), "take another"),
        (("--to", "onnx-fp32", "--model", "."), "model.safetensors: no weights can be read"),
    ],
)
def test_the_command_says_what_is_wrong(data: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, ["build", "nuclei", "--data", str(data), "--out", str(tmp_path / "m"), *words])

    assert result.exit_code == 1
    assert said in result.output


def test_the_command_builds_and_refuses_by_its_exit_code(data: Path, tmp_path: Path) -> None:
    words = ["build", "nuclei", "--data", str(data), "--out", str(tmp_path / "m"), "--no-compare"]

    result = CliRunner().invoke(app, [*words, "--to", "onnx-fp32"])

    assert result.exit_code == 0, result.output
    assert (tmp_path / "m" / "nuclei-onnx" / "1" / "model.onnx").exists()
