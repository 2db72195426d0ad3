"""TensorRT engines of the nuclei model, built and run on this machine's GPU, beside FP32 on its processor."""

import statistics
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("torch", reason="engines need the extra [train], and torch for CUDA")
pytest.importorskip("onnxruntime", reason="engines need the extra [train]")

from pipelines.build import source
from pipelines.build.onnx_export import Half, Probabilities, convolutions, exported
from pipelines.build.onnx_int8 import TENSORRT, quantised
from pipelines.build.tensorrt_engine import Profile, compiler, engine
from pipelines.nuclei.model import Model, shipped
from pipelines.nuclei.normalise import normalise
from pipelines.nuclei.watershed import segment
from pipelines.samples import render_field
from tests.gpu.engines import Engine, missing

console = Console()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(missing()), reason=missing() or "a GPU is here")]
FURTHEST = {"fp32": (2e-2, 2e-3), "fp16": (5e-2, 3e-3), "int8": (0.6, 1e-2)}
"""From FP32 on the processor: at any pixel, and on average. TensorRT may compute FP32 in TF32."""


def fields(count: int, side: int) -> np.ndarray:
    """Rendered pictures of nuclei, (count, side, side)."""
    made = [render_field(seed, shape=(side, side), bits=8, nuclei=side * side // 4000)[0] for seed in range(count)]
    return np.stack([normalise(one) for one in made])


@cache
def built(form: str) -> Engine:
    network = Probabilities(source.load(shipped().path / source.FILE))
    graph = exported(Half(network) if form == "fp16" else network)
    if form == "int8":
        names = convolutions(graph)
        graph = quantised(graph, fields(32, 256), TENSORRT, (names[0], names[-1]))
    return Engine(engine(graph.SerializeToString(), Profile(), compiler(("tensorrt",))))


@pytest.mark.parametrize("form", FURTHEST)
@pytest.mark.parametrize("shape", [(1, 256, 256), (8, 256, 256), (3, 320, 192), (1, 1024, 1024)])
def test_an_engine_gives_what_the_processor_gives(form: str, shape: tuple[int, int, int]) -> None:
    count, height, width = shape
    planes = fields(count, max(height, width))[:, :height, :width]
    on_processor = Model()

    maps = built(form)(np.ascontiguousarray(planes[:, None]))

    wanted = np.stack([on_processor(plane) for plane in planes])
    most, mean = FURTHEST[form]
    off = np.abs(maps - wanted)
    console.print(f"{form} {shape}: furthest {off.max():.4f}, on average {off.mean():.6f}")
    assert maps.shape == wanted.shape
    assert off.max() <= most
    assert off.mean() <= mean


@pytest.mark.parametrize("form", FURTHEST)
def test_an_engine_finds_the_same_nuclei(form: str) -> None:
    planes, on_processor, run = fields(8, 512), Model(), built(form)

    counts = [
        (int(segment(run(plane[None, None])[0]).max()), int(segment(on_processor(plane)).max())) for plane in planes
    ]

    assert sum(b for _, b in counts) > 100
    assert abs(sum(a - b for a, b in counts)) <= 0.01 * sum(b for _, b in counts)


def test_figures_of_this_gpu() -> None:
    import torch

    for form in FURTHEST:
        for count in (1, 8):
            image = torch.rand(count, 1, 256, 256, device="cuda")
            seconds = _median(lambda image=image, form=form: built(form).on_gpu(image))
            console.print(f"{torch.cuda.get_device_name()} {form} batch {count}: {count / seconds:,.0f} images/s")
            assert seconds < 1


def _median(run: Callable[[], object]) -> float:
    for _ in range(20):
        run()
    taken = []
    for _ in range(200):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
