"""A model for tests of the stream: how bright a frame is; and one that answers only when the test lets it."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from pipelines.backends.address import Address, parsed
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from pipelines.stream.inference import Inference
from pipelines.stream.port import Findings
from tests.pipelines.backends.networks import save

SIDE = 8
WANTED = Signature(
    (Tensor("cells", "float32", (None, 1, SIDE, SIDE)),),
    (Tensor("probabilities", "float32", (None, 2)), Tensor("vectors", "float32", (None, 1))),
)


def shades() -> ov.Model:
    """The mean of a frame as the probability of ``bright``, and its logarithm as the vector: none for a black one."""
    given = op.parameter([-1, 1, SIDE, SIDE], np.float32, "cells")
    given.output(0).set_names({"cells"})
    mean = op.reduce_mean(given, op.constant(np.array([2, 3], np.int64)), False)
    both = op.concat([op.subtract(op.constant(np.float32(1)), mean), mean], 1)
    both.output(0).set_names({"probabilities"})
    vectors = op.log(mean)
    vectors.output(0).set_names({"vectors"})
    return ov.Model([both, vectors], [given], "shades")


@lru_cache
def files() -> tuple[bytes, bytes]:
    with TemporaryDirectory() as folder:
        place = save(shades(), Path(folder) / "1")
        return (place / "model.xml").read_bytes(), (place / "model.bin").read_bytes()


class Shades:
    """Frames of 8x8 pixels are dark or bright."""

    name, classes, vector, side, wanted, precision = "shades", ("dark", "bright"), 1, SIDE, WANTED, "f32"

    def source(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        return "1", *files()

    def prepare(self, frames: np.ndarray) -> np.ndarray:
        return (frames.mean(axis=3) / 255).astype(np.float32)[:, None]

    def read(self, outputs: Mapping[str, Any]) -> Findings:
        found = outputs["probabilities"]
        labels = found.argmax(axis=1)
        return Findings(labels, found[np.arange(len(found)), labels], outputs["vectors"])


def inference(address: str = "openvino") -> Inference:
    made = Inference(Shades(), parsed(address))
    made.sizes = (32,)  # compiled once, not eight times for each test
    return made


class Gated(Inference):
    """Batches wait, each at its own gate, until the test opens it; they are asked in any order then."""

    def __init__(self, at_once: int = 1, model: Shades | None = None) -> None:
        super().__init__(model or Shades(), Address())
        self.at_once, self.sizes = at_once, (32,)
        self.gates: list[asyncio.Event] = []
        self.open = True

    async def ask(self, groups: Any, then: Any = None) -> Findings:
        if not self.open:
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()
        return await super().ask(groups, then)

    def release(self) -> None:
        """From now on nothing waits."""
        self.open = True
        for gate in self.gates:
            gate.set()


def frame(value: int, channels: int = 1) -> bytes:
    """A frame of one grey level."""
    return bytes([value]) * (SIDE * SIDE * channels)


class MappedShades(Shades):
    """Their places are (brightness 0..1, 0) on the map of the model of version 1."""

    measures, map_of = ("novelty",), "1"

    def warm(self) -> None:
        """Nothing is needed."""

    def read(self, outputs: Mapping[str, Any]) -> Findings:
        found = super().read(outputs)
        brightness = np.exp(found.vectors[:, 0])
        novelty = {"novelty": lambda: 1 - brightness}
        return replace(
            found, places=lambda: np.stack([brightness, np.zeros_like(brightness)], axis=1), features=novelty
        )
