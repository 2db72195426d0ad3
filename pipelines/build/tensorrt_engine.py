"""From ONNX to a TensorRT engine, on the machine whose GPU is to run it: ``python -m pipelines.build.tensorrt_engine``.

Networks are strongly typed, as TensorRT 10 can and 11 must: what runs in INT8 or FP16 stands in the graph, as Q/DQ
nodes and as types. There is no calibration here. TensorRT for RTX has the same interface and compiles without a
GPU too.
"""

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.build.errors import BadGraph, NoCompiler

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""Python modules of TensorRT and of TensorRT for RTX; the first that is installed is taken."""
Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Profile:
    """Shapes of the input that an engine is to take, (batch, channels, height, width): it is fastest at ``usual``."""

    least: Shape = (1, 1, 64, 64)
    usual: Shape = (8, 1, 256, 256)
    most: Shape = (8, 1, 1024, 1024)

    def __post_init__(self) -> None:
        """Raises ``ValueError`` unless each side grows from ``least`` to ``most``."""
        if not all(a <= b <= c for a, b, c in zip(self.least, self.usual, self.most, strict=True)):
            raise ValueError(
                f"shapes of a profile must grow from side to side: {self.least}, {self.usual}, {self.most}"
            )


def compiler(modules: Sequence[str] = MODULES) -> Any:
    """The module of TensorRT. Raises ``NoCompiler`` where none can be imported."""
    reasons = []
    for name in modules:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{name}: {error}")
    raise NoCompiler(
        f"TensorRT is not on this machine ({'; '.join(reasons)}); pip install tensorrt where the GPU is that is to run "
        f"the engine, or publish the ONNX file it is built of (--without-engine)"
    )


def engine(graph: bytes, profile: Profile, trt: Any, capabilities: Sequence[str] = ()) -> bytes:
    """The engine of an ONNX file with one input. Raises ``BadGraph`` with what TensorRT says of it.

    ``capabilities``: compute capabilities such as ``8.9`` to compile for, which TensorRT for RTX can without a GPU;
    none: that of this machine's.
    """
    said = _log(trt)
    builder = trt.Builder(said)
    if builder is None:
        raise NoCompiler(f"TensorRT cannot be used on this machine: {said.text()}; look whether nvidia-smi works")
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, said)
    if not parser.parse(graph):
        errors = [str(parser.get_error(at)) for at in range(parser.num_errors)]
        raise BadGraph(f"TensorRT cannot read the ONNX file: {'; '.join(errors) or said.text()}")
    config = builder.create_builder_config()
    shapes = builder.create_optimization_profile()
    shapes.set_shape(network.get_input(0).name, profile.least, profile.usual, profile.most)
    config.add_optimization_profile(shapes)
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for at, one in enumerate(capabilities):
            config.set_compute_capability(_capability(trt, one), at)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BadGraph(f"TensorRT cannot build the network: {said.text()}")
    return bytes(plan)


def _strongly_typed(trt: Any) -> int:
    """The flag that TensorRT 10 needs; in 11 and for RTX networks are so without."""
    flag: Any = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    needed = flag is not None and trt.__version__.partition(".")[0] == "10" and "rtx" not in trt.__name__
    return 1 << int(flag) if needed else 0


def _capability(trt: Any, text: str) -> Any:
    name = f"SM{text.replace('.', '')}"
    known = [one for one in dir(trt.ComputeCapability) if one.startswith("SM")]
    if name not in known:
        there = ", ".join(f"{one[2:-1]}.{one[-1]}" for one in known)
        raise NoCompiler(f"{trt.__name__} does not compile for compute capability {text}, only for {there}")
    return getattr(trt.ComputeCapability, name)


def _log(trt: Any) -> Any:
    """Collects what TensorRT says of errors, to say it on."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

        def text(self) -> str:
            return "; ".join(self.errors[-3:]) or "it does not say why"

    return Log()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.build.tensorrt_engine", description=__doc__)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--for", dest="capabilities", action="append", default=[], help="compute capability, as 8.9")
    chosen = parser.parse_args(arguments)
    try:
        chosen.engine.write_bytes(engine(chosen.onnx.read_bytes(), Profile(), compiler(), chosen.capabilities))
    except (NoCompiler, BadGraph, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
