"""The compiler of TensorRT for RTX, which works without a GPU: the engines are built here, and cannot be run here.

It lives in an environment of its own: 90 MB of download.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="building needs the extra [train]: make test-train")

import onnx

from pipelines.build import source
from pipelines.build.onnx_export import Half, Probabilities, convolutions, exported
from pipelines.build.onnx_int8 import ONNXRUNTIME, TENSORRT, Form, quantised
from pipelines.nuclei.model import shipped
from tests.support.environments import made

pytestmark = pytest.mark.serving
ROOT = Path(__file__).parents[3]
PYTHON = Path("/usr/bin/python3.11")
PACKAGES = ("--no-deps", "tensorrt-rtx-cu12-bindings==1.7.1.116", "tensorrt-rtx-cu12-libs==1.7.1.116")
Compile = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def network() -> Probabilities:
    return Probabilities(source.load(shipped().path / source.FILE))


@pytest.fixture
def compile_with_rtx(tmp_path: Path) -> Compile:
    """Skips with the reason where the compiler cannot be had."""
    try:
        environment = made("tensorrt-rtx", PYTHON, PACKAGES)
    except LookupError as error:
        pytest.skip(str(error))

    def compile_it(graph: onnx.ModelProto, *words: str) -> "subprocess.CompletedProcess[str]":
        onnx.save(graph, tmp_path / "model.onnx")
        command = [
            environment / "bin/python",
            "-m",
            "pipelines.build.tensorrt_engine",
            "model.onnx",
            "model.plan",
            *words,
        ]
        variables = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=600)

    return compile_it


def rounded(network: Probabilities, form: Form) -> onnx.ModelProto:
    graph = exported(network)
    names = convolutions(graph)
    return quantised(graph, np.random.default_rng(0).random((2, 64, 64), np.float32), form, (names[0], names[-1]))


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8"])
def test_engines_are_built_for_gpus_that_are_not_here(
    network: Probabilities, compile_with_rtx: Compile, tmp_path: Path, form: str
) -> None:
    graphs = {
        "fp32": lambda: exported(network),
        "fp16": lambda: exported(Half(network)),
        "int8": lambda: rounded(network, TENSORRT),
    }

    done = compile_with_rtx(graphs[form](), "--for", "8.6", "--for", "8.9")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.plan").stat().st_size > 500_000


def test_rounded_biases_are_refused_with_the_layer(network: Probabilities, compile_with_rtx: Compile) -> None:
    done = compile_with_rtx(rounded(network, ONNXRUNTIME), "--for", "8.9")

    assert done.returncode == 1
    assert "TensorRT cannot read the ONNX file" in done.stderr
    assert "DequantizeLinear" in done.stderr


def test_a_gpu_that_it_does_not_know_is_refused_with_those_it_does(
    network: Probabilities, compile_with_rtx: Compile
) -> None:
    done = compile_with_rtx(exported(network), "--for", "9.0")

    assert done.returncode == 1
    assert "does not compile for compute capability 9.0, only for" in done.stderr
    assert "8.9" in done.stderr
