"""What can be built, and how each is called in a model repository."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A form of a model: ``backend`` runs it, as Triton calls them; ``suffix`` is added to the model's name there."""

    name: str
    backend: str
    suffix: str
    rounded: bool
    """Whether numbers are rounded to 8 bits, which wants calibration and can cost accuracy."""


TARGETS: Mapping[str, Target] = {
    one.name: one
    for one in (
        Target("openvino-fp32", "openvino", "", rounded=False),
        Target("openvino-int8", "openvino", "-int8", rounded=True),
        Target("onnx-fp32", "onnxruntime", "-onnx", rounded=False),
        Target("onnx-int8", "onnxruntime", "-onnx-int8", rounded=True),
        Target("tensorrt-fp16", "tensorrt", "-tensorrt-fp16", rounded=False),
        Target("tensorrt-int8", "tensorrt", "-tensorrt-int8", rounded=True),
    )
}


def named(names: list[str]) -> tuple[Target, ...]:
    """Targets by name, each once. Raises ``ValueError`` with those that there are."""
    if unknown := [name for name in names if name not in TARGETS]:
        raise ValueError(f"there is no target {unknown[0]!r}; there are: {', '.join(TARGETS)}")
    return tuple(TARGETS[name] for name in dict.fromkeys(names))
