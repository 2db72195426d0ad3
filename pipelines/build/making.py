"""Builds the targets of a model: PyTorch to ONNX to what runs, those in INT8 under accuracy control."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import openvino as ov  # type: ignore[import-untyped]
from onnx import ModelProto

from pipelines.build import onnx_export, onnx_int8, openvino_int8, sensitivity, source, tensorrt_engine, variants
from pipelines.build.accuracy import Scores, cautious_loss, controlled
from pipelines.build.compiling import can_compile
from pipelines.build.errors import NoCompiler
from pipelines.build.measure import Plan
from pipelines.build.nuclei import Nuclei
from pipelines.build.onnx_int8 import Form
from pipelines.build.targets import Target
from pipelines.build.variants import Variant
from pipelines.nuclei.normalise import Plane

log = logging.getLogger(__name__)
COMPARED = 8
"""Of the calibration crops, by which the error of layers is compared."""


@dataclass(frozen=True)
class Order:
    """How targets are to be built."""

    limit: float = 0.001
    """Of the loss of F1 to FP32, as a share."""
    calibration: int = 192
    """Crops of the training split from which ranges are read."""
    seed: int = 10
    control: str = "val"
    """Split by which layers are spared; never that on which is reported."""
    engine: bool = True
    """Compile for TensorRT; without, its ONNX file is the product."""


@dataclass(frozen=True)
class Product:
    """What was built: the files of a version, how it is judged and measured here, and which layers stayed in FP32."""

    target: Target
    backend: str
    files: Mapping[str, bytes] = field(repr=False)
    variant: Variant = field(repr=False)
    spared: tuple[str, ...] = ()


class Workshop:
    """The steps that targets share are done once."""

    def __init__(self, recipe: Nuclei, order: Order, told: Callable[[str], None] = log.info) -> None:
        self.recipe, self.order, self._told = recipe, order, told

    @cached_property
    def network(self) -> Any:
        """In PyTorch."""
        return self.recipe.network()

    @cached_property
    def graph(self) -> ModelProto:
        """In ONNX, FP32."""
        return onnx_export.exported(self.network)

    @cached_property
    def single(self) -> ov.Model:
        """For OpenVINO, FP32."""
        return openvino_int8.converted(self.graph)

    @cached_property
    def crops(self) -> Plane:
        """To calibrate with."""
        return self.recipe.crops(self.order.calibration, self.order.seed)

    @cached_property
    def reference(self) -> Variant:
        """All others are compared with it."""
        return variants.openvino("openvino-fp32", openvino_int8.saved(self.single))

    @cached_property
    def _wanted(self) -> Scores:
        return self.recipe.scores(self.order.control, self.reference.predict(), self.reference.name)

    @cached_property
    def _errors(self) -> list[float]:
        """Of each layer, in the order in which they run."""
        return sensitivity.errors(self.network, self.crops[:COMPARED])

    def made(self, target: Target) -> Product:
        """One target. Raises ``BuildError`` with what is wrong and what to do."""
        self._told(f"{target.name}: building")
        return _MAKERS[target.name](self, target)

    def openvino(self, target: Target) -> Product:
        if not target.rounded:
            files = openvino_int8.saved(self.single)
            return Product(target, target.backend, files, variants.openvino(target.name, files))
        model, spared = self._controlled(
            target,
            openvino_int8.convolutions(self.single),
            lambda some: openvino_int8.quantised(self.single, self.crops, some),
            lambda model: variants.openvino(target.name, openvino_int8.saved(model)),
        )
        files = openvino_int8.saved(model)
        return Product(target, target.backend, files, variants.openvino(target.name, files), spared)

    def onnx(self, target: Target) -> Product:
        graph, spared = (self.graph, ()) if not target.rounded else self._rounded(target, onnx_int8.ONNXRUNTIME, False)
        variant = variants.onnxruntime_cpu(target.name, graph)
        return Product(target, target.backend, {"model.onnx": graph.SerializeToString()}, variant, spared)

    def tensorrt(self, target: Target) -> Product:
        compiler = tensorrt_engine.compiler() if self.order.engine else None
        spared: tuple[str, ...] = ()
        if target.rounded:
            graph, spared = self._rounded(target, onnx_int8.TENSORRT, True)
        else:
            graph = onnx_export.exported(onnx_export.Half(self.network))
        content = graph.SerializeToString()
        variant = variants.onnxruntime_cpu(target.name, graph, as_written=True)
        if compiler is None:
            return Product(target, "onnxruntime", {"model.onnx": content}, variant, spared)
        plan = tensorrt_engine.engine(content, tensorrt_engine.Profile(), compiler)
        return Product(target, target.backend, {"model.plan": plan, "source.onnx": content}, variant, spared)

    def _rounded(self, target: Target, form: Form, as_written: bool) -> tuple[ModelProto, tuple[str, ...]]:
        return self._controlled(
            target,
            onnx_export.convolutions(self.graph),
            lambda some: onnx_int8.quantised(self.graph, self.crops, form, some),
            lambda graph: variants.onnxruntime_cpu(target.name, graph, as_written),
        )

    def _controlled(
        self,
        target: Target,
        layers: Sequence[str],
        build: Callable[[tuple[str, ...]], Any],
        variant: Callable[[Any], Variant],
    ) -> tuple[Any, tuple[str, ...]]:
        """The build, and all layers that stayed in FP32.

        The first layer and the last always do: they are cheap, the first would round the picture itself, the last shift
        every threshold.
        """
        kept = (layers[0], layers[-1])

        def order() -> list[str]:
            sensitive = sorted(zip(self._errors, layers, strict=True), reverse=True)
            return [name for _, name in sensitive if name not in kept]

        def lost(built: Any) -> float:
            scores = self.recipe.scores(self.order.control, variant(built).predict(), target.name)
            return cautious_loss(self._wanted, scores)

        step = controlled(
            order,
            lambda some: build((*kept, *some)),
            lost,
            self.order.limit,
            lambda line: self._told(f"{target.name}: {line}"),
        )
        return step.built, (*kept, *step.spared)


_MAKERS: Mapping[str, Callable[[Workshop, Target], Product]] = {
    "openvino-fp32": Workshop.openvino,
    "openvino-int8": Workshop.openvino,
    "onnx-fp32": Workshop.onnx,
    "onnx-int8": Workshop.onnx,
    "tensorrt-fp16": Workshop.tensorrt,
    "tensorrt-int8": Workshop.tensorrt,
}


def rivals(workshop: Workshop, plan: Plan, compile_seconds: float) -> tuple[list[Variant], dict[str, str]]:
    """The same network at other libraries, to compare with; those that this machine cannot run, with the reason.

    ``compile_seconds``: how long ``torch.compile`` may take, 0: it is left out.
    """
    found = [
        variants.openvino("openvino-bf16", openvino_int8.saved(workshop.single), "bf16"),
        variants.onnxruntime_cpu("onnx-fp32", workshop.graph),
        variants.pytorch("pytorch-eager", workshop.network),
    ]
    absent = {}
    if compile_seconds > 0:
        try:
            can_compile(workshop.recipe.folder.path / source.FILE, plan.side, plan.threads, compile_seconds)
            found.append(variants.pytorch("pytorch-compiled", workshop.network, True, judged_as="pytorch-eager"))
        except NoCompiler as error:
            absent["pytorch-compiled"] = str(error)
    else:
        absent["pytorch-compiled"] = "it was left out (--compile-seconds 0)"
    return found, absent
