"""Small networks for tests of backends."""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as op


def save(graph: ov.Model, folder: Path) -> Path:
    """As a version of a model repository."""
    folder.mkdir(parents=True)
    ov.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    return folder


def scaled(factor: float, name: str = "x") -> ov.Model:
    """``y = factor * x`` for float32 rows of any length."""
    given = op.parameter([-1, -1], np.float32, name)
    given.output(0).set_names({name})
    made = op.multiply(given, op.constant(np.array(factor, np.float32)))
    made.output(0).set_names({"y"})
    return ov.Model([made], [given], "scaled")


def logarithm() -> ov.Model:
    """``y = log x``: NaN for what is negative."""
    given = op.parameter([-1, -1], np.float32, "x")
    given.output(0).set_names({"x"})
    made = op.log(given)
    made.output(0).set_names({"y"})
    return ov.Model([made], [given], "logarithm")


def reshaped() -> ov.Model:
    """Four numbers in the shape of the other input: one that does not fit fails while it runs."""
    shape, given = op.parameter([-1], np.int64, "shape"), op.parameter([4], np.float32, "x")
    shape.output(0).set_names({"shape"})
    given.output(0).set_names({"x"})
    made = op.reshape(given, shape, False)
    made.output(0).set_names({"y"})
    return ov.Model([made], [shape, given], "reshaped")


def flat_maps(value: float) -> ov.Model:
    """What takes and gives what the nuclei models do, and sees the same everywhere."""
    given = op.parameter([-1, 1, -1, -1], np.float32, "image")
    given.output(0).set_names({"image"})
    three = op.concat([given] * 3, 1)
    made = op.add(op.multiply(three, op.constant(np.float32(0))), op.constant(np.array(value, np.float32)))
    made.output(0).set_names({"maps"})
    return ov.Model([made], [given], "flat")
