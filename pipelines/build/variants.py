"""One network as each library runs it: to be judged and measured side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import openvino as ov  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.nuclei.tiling import Predict

Batch = NDArray[np.float32]
"""(N, channels, H, W)."""
Run = Callable[[Batch], Batch]
"""To be called from one thread."""
Properties = Mapping[str, str]


@dataclass(frozen=True)
class Variant:
    """A network in a precision at a library: ``opened(threads, streams)`` gives so many ``Run`` that work at once and
    have all these threads together."""

    name: str
    size: int
    """Bytes of its files."""
    opened: Callable[[int, int], Sequence[Run]]
    note: str = ""
    judged_as: str = ""
    """Another variant with the same numbers, whose accuracy is its own too."""

    def predict(self, threads: int = 1) -> Predict:
        """For pictures of any size, one at a time."""
        (run,) = self.opened(threads, 1)
        return lambda plane: np.require(run(np.ascontiguousarray(plane[None, None], np.float32))[0], np.float32, "W")


def openvino(name: str, files: Mapping[str, bytes], precision: str = "f32") -> Variant:
    """By OpenVINO on the processor. The note says in which precision it really computes, where that is another."""
    core = ov.Core()
    graph = core.read_model(files["model.xml"], files["model.bin"])

    def opened(threads: int, streams: int) -> Sequence[Run]:
        properties = {
            "PERFORMANCE_HINT": "THROUGHPUT" if streams > 1 else "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": str(streams),
        }
        compiled: dict[tuple[int, ...], Any] = {}
        return [_OpenVino(core, graph, properties, compiled) for _ in range(streams)]

    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    lacks = precision == "bf16" and "BF16" not in able
    note = "this processor has no BF16: OpenVINO computes in FP32, or emulates" if lacks else ""
    return Variant(name, sum(map(len, files.values())), opened, note)


class _OpenVino:
    def __init__(self, core: Any, graph: Any, properties: Properties, compiled: dict[tuple[int, ...], Any]) -> None:
        self._core, self._graph, self._properties, self._compiled = core, graph, properties, compiled
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, batch: Batch) -> Batch:
        request = self._requests.get(batch.shape) or self._request(batch.shape)
        request.infer([batch], share_inputs=True)
        return np.array(request.get_output_tensor(0).data)

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._compiled:
            graph = self._graph.clone()
            graph.reshape(list(shape))
            self._compiled[shape] = self._core.compile_model(graph, "CPU", dict(self._properties))
        self._requests[shape] = self._compiled[shape].create_infer_request()
        return self._requests[shape]


def onnxruntime_cpu(name: str, graph: onnx.ModelProto, as_written: bool = False) -> Variant:
    """By ONNX Runtime on the processor. ``as_written``: node by node, Q/DQ in FP32 between, as the graph says:
    slow, but exactly what a compiler for other hardware is asked to compute."""
    content = graph.SerializeToString()
    level = onnxruntime.GraphOptimizationLevel

    def opened(threads: int, streams: int) -> Sequence[Run]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, threads // streams)
        options.log_severity_level = 3
        options.graph_optimization_level = level.ORT_DISABLE_ALL if as_written else level.ORT_ENABLE_ALL
        return [_OnnxRuntime(content, options) for _ in range(streams)]

    return Variant(name, len(content), opened)


class _OnnxRuntime:
    def __init__(self, content: bytes, options: Any) -> None:
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: Batch) -> Batch:
        (result,) = self._session.run(None, {self._input: batch})
        return result  # type: ignore[no-any-return]


def pytorch(name: str, network: nn.Module, compiled: bool = False, judged_as: str = "") -> Variant:
    """By PyTorch as it is, or compiled by ``torch.compile`` for each shape of input."""

    def opened(threads: int, streams: int) -> Sequence[Run]:
        run = torch.compile(network.eval(), dynamic=False) if compiled else network.eval()
        return [_Torch(run, max(1, threads // streams)) for _ in range(streams)]

    return Variant(name, sum(4 * part.numel() for part in network.parameters()), opened, judged_as=judged_as)


class _Torch:
    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], threads: int) -> None:
        self._network, self._threads = network, threads

    def __call__(self, batch: Batch) -> Batch:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            result: Batch = self._network(torch.from_numpy(batch)).numpy()
        return result
