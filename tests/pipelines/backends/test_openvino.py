"""Models in this process."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from pipelines.backends.address import parsed
from pipelines.backends.blocking import Blocking
from pipelines.backends.errors import BadAddress, BadModel, BadOutput, Mismatch, Refused, TooSlow
from pipelines.backends.openvino import CACHE, OpenVino, Settings, checked_device, repository
from pipelines.backends.predictor import Predictor
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from tests.pipelines.backends.networks import logarithm, reshaped, save, scaled

ROWS = np.array([[1, 2, 3]], np.float32)
WANTED = Signature((Tensor("x", "float32", (None, None)),), (Tensor("y", "float32", (None, None)),))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for version, factor in ((1, 2.0), (2, 3.0), (10, 4.0)):
        save(scaled(factor), folder / "scaled" / str(version))
    save(logarithm(), folder / "logarithm/1")
    save(reshaped(), folder / "reshaped/1")
    save(scaled(1.0, "z"), folder / "other/1")
    (folder / "broken/1").mkdir(parents=True)
    (folder / "broken/1/model.xml").write_text("<net>")
    (folder / "broken/1/model.bin").write_bytes(b"")
    (folder / "empty/3").mkdir(parents=True)
    return folder


@pytest.fixture
def backend(models: Path) -> OpenVino:
    return OpenVino(repository(models), Settings(precision="f32", timeout=20.0))


async def test_several_versions_and_models_are_asked_at_once(backend: OpenVino) -> None:
    refs = [ModelRef("scaled", "1"), ModelRef("scaled", "2"), ModelRef("scaled"), ModelRef("logarithm")]
    signature = await backend.load(refs[2])
    assert (signature.inputs, signature.outputs, signature.versions) == (WANTED.inputs, WANTED.outputs, ("10",))

    answers = await asyncio.gather(*(backend.infer(ref, {"x": ROWS}) for ref in refs * 20))

    firsts = [float(answer.outputs["y"][0, 0]) for answer in answers]
    assert firsts == [2.0, 3.0, 4.0, 0.0] * 20
    assert [answer.version for answer in answers[:4]] == ["1", "2", "10", "1"]


async def test_more_shapes_than_are_kept_are_all_right(backend: OpenVino) -> None:
    ref = ModelRef("scaled", "1")
    for width in (*range(1, 12), 1):
        rows = np.ones((2, width), np.float32)
        assert (await backend.infer(ref, {"x": rows})).outputs["y"].tolist() == (rows * 2).tolist()
        assert backend.infer_now(ref, {"x": rows}).outputs["y"].shape == (2, width)


async def test_an_answer_is_not_changed_by_the_next_question(backend: OpenVino) -> None:
    ref = ModelRef("scaled", "1")
    first, here = await backend.infer(ref, {"x": ROWS}), backend.infer_now(ref, {"x": ROWS})
    await backend.infer(ref, {"x": ROWS + 10})
    backend.infer_now(ref, {"x": ROWS + 10})

    assert first.outputs["y"].tolist() == here.outputs["y"].tolist() == [[2, 4, 6]]


@pytest.mark.parametrize(
    ("ref", "named"),
    [
        (ModelRef("nothing"), r"model 'nothing' is not in .* none of that name"),
        (ModelRef("scaled", "7"), r"model 'scaled' version 7 is not in .* versions 1, 2, 10"),
        (ModelRef("broken"), r"model 'broken' version 1 cannot be read by OpenVINO .* export it again"),
        (ModelRef("empty"), r"model 'empty' version 3: .* export it again"),
    ],
)
async def test_a_model_that_is_not_there_or_broken_is_named_with_the_remedy(
    backend: OpenVino, ref: ModelRef, named: str
) -> None:
    with pytest.raises(BadModel, match=named):
        await backend.load(ref)


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({}, "input 'x' is missing"),
        ({"x": ROWS, "w": ROWS}, "input 'w' is none of its inputs"),
        ({"x": ROWS.astype(np.float64)}, r"input 'x' is float64 \[1, 3\], the model takes float32 \[any, any\]"),
        ({"x": ROWS[0]}, r"input 'x' is float32 \[3\]"),
    ],
)
async def test_inputs_that_do_not_fit_are_named(backend: OpenVino, inputs: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(Mismatch, match=f"model 'scaled' version 2: {named}"):
        await backend.infer(ModelRef("scaled", "2"), inputs)


def test_a_model_that_is_not_meant_for_the_pipeline_is_refused_before_it_runs(models: Path) -> None:
    place = Blocking(OpenVino(repository(models)))
    larger = Signature((Tensor("x", "float32", (None, 3, None)),), ())

    with pytest.raises(Mismatch, match=r"model 'other' at openvino .* has no input 'x' \(it has 'z'\)"):
        Predictor(place, ModelRef("other"), WANTED).ready()
    with pytest.raises(Mismatch, match=r"model 'reshaped' at openvino .* also wants input 'shape'"):
        Predictor(place, ModelRef("reshaped"), Signature((Tensor("x", "float32", (4,)),), ())).ready()
    with pytest.raises(
        Mismatch, match=r"input 'x' is float32 \[any, any\], the pipeline means float32 \[any, 3, any\]"
    ):
        Predictor(place, ModelRef("scaled"), larger).ready()


def test_numbers_that_are_none_are_an_error_that_names_the_output(models: Path) -> None:
    ask = Predictor(Blocking(OpenVino(repository(models))), ModelRef("logarithm"), WANTED)

    assert ask({"x": ROWS}).outputs["y"][0, 0] == 0
    for bad in (-ROWS, np.zeros((1, 1), np.float32)):  # NaN, and infinity
        with pytest.raises(BadOutput, match=r"model 'logarithm' version 1 at openvino .* output 'y'"):
            ask({"x": bad})


async def test_a_request_that_fails_while_it_runs_stops_no_other(models: Path) -> None:
    backend = OpenVino(repository(models), Settings(timeout=1.0))
    ref, four = ModelRef("reshaped"), np.ones(4, np.float32)

    with pytest.raises((TooSlow, Refused), match="model 'reshaped' at openvino"):
        await backend.infer(ref, {"x": four, "shape": np.array([2, 3])})

    patient = OpenVino(repository(models))
    answer = await patient.infer(ref, {"x": four, "shape": np.array([2, 2])})
    assert answer.outputs["y"].shape == (2, 2)


def test_a_device_that_is_not_there_is_refused_with_those_that_are(models: Path) -> None:
    with pytest.raises(BadAddress, match=r"no device 'NPU', only .*CPU"):
        OpenVino(repository(models), Settings.of(parsed("openvino?device=npu")))
    there = ["CPU", "GPU.0", "GPU.1"]
    for good in ("CPU", "GPU", "GPU.1", "AUTO:GPU,CPU", "HETERO:GPU.0,CPU", "AUTO", "AUTO:-CPU"):
        assert checked_device(good, there) == good
    for bad in ("GPU.2", "NPU", "HETERO:NPU,CPU", ""):
        with pytest.raises(BadAddress, match=r"CPU, GPU\.0, GPU\.1"):
            checked_device(bad, there)


def test_precision_threads_hint_pinning_and_cache_are_said_never_left_to_the_default(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYTOBUS_INFERENCE_THREADS", "2")
    plain = OpenVino(repository(models))
    assert plain.properties["INFERENCE_PRECISION_HINT"] in ("f32", "bf16")
    assert (plain.properties["INFERENCE_NUM_THREADS"], plain.properties["PERFORMANCE_HINT"]) == ("2", "LATENCY")

    monkeypatch.setenv(CACHE, str(tmp_path))
    chosen = OpenVino(
        repository(models), Settings.of(parsed("openvino?hint=throughput&threads=1&precision=bf16"), "f32")
    )
    assert chosen.properties == {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": "1",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "ENABLE_CPU_PINNING": "NO",
        "CACHE_DIR": str(tmp_path),
    }
    asked = OpenVino(repository(models), Settings.of(parsed("openvino"), "f32"))
    assert asked.properties["INFERENCE_PRECISION_HINT"] == "f32"
    asked.infer_now(ModelRef("scaled"), {"x": ROWS})
    assert list(tmp_path.iterdir()), "the compiled model is in the cache"
