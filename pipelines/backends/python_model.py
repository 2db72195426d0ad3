"""For Triton's Python backend: runs an OpenVINO network of the same folder. Copied into repositories as ``model.py``.

It runs inside the server, with nothing of cytobus beside it: it needs ``openvino`` and ``numpy<2`` there.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
import triton_python_backend_utils as pb

SHAPES_KEPT = 8


class TritonPythonModel:
    """What the backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the network. Raises if it could not be run correctly."""
        if int(np.__version__.split(".")[0]) >= 2:
            # Arrays would come out of it with other numbers in them, without an error.
            raise RuntimeError(f"the Python backend needs numpy<2, this is {np.__version__}: pip install 'numpy<2'")
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        # Instances are processes of their own, each of which would be bound to the same core.
        bound = {"ENABLE_CPU_PINNING": "NO"}
        self._settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1", **bound}
        for name in self._settings.keys() & config.get("parameters", {}).keys():
            self._settings[name] = config["parameters"][name]["string_value"]
        self._inputs = [one["name"] for one in config["input"]]
        self._outputs = [one["name"] for one in config["output"]]
        self._core = ov.Core()
        self._files = (folder / "model.xml").read_bytes(), (folder / "model.bin").read_bytes()
        self._core.read_model(*self._files)
        self._compiled: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Requests that the server has put together are run as one batch where their pictures are of one size."""
        given = [[pb.get_input_tensor_by_name(one, name).as_numpy() for name in self._inputs] for one in requests]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for at, arrays in enumerate(given):
            groups.setdefault(tuple(array.shape[1:] for array in arrays), []).append(at)
        answers: list[Any] = [None] * len(requests)
        for members in groups.values():
            together = [np.concatenate(arrays) for arrays in zip(*(given[at] for at in members), strict=True)]
            outputs, begin = self._run(together), 0
            for at in members:
                end = begin + len(given[at][0])
                tensors = [
                    pb.Tensor(name, np.ascontiguousarray(array[begin:end]))
                    for name, array in zip(self._outputs, outputs, strict=True)
                ]
                answers[at], begin = pb.InferenceResponse(tensors), end
        return answers

    def _run(self, arrays: list[Any]) -> list[Any]:
        request = self._request(tuple(array.shape for array in arrays))
        request.infer(arrays, share_inputs=True)
        return [np.array(request.get_output_tensor(at).data) for at in range(len(self._outputs))]

    def _request(self, shapes: tuple[Any, ...]) -> Any:
        request = self._compiled.pop(shapes, None)
        if request is None:
            network = self._core.read_model(*self._files)
            network.reshape({at: list(shape) for at, shape in enumerate(shapes)})
            request = self._core.compile_model(network, "CPU", self._settings).create_infer_request()
        self._compiled[shapes] = request
        if len(self._compiled) > SHAPES_KEPT:
            self._compiled.popitem(last=False)
        return request
