"""The network that ships with this package: checked, compiled once for each shape, run by OpenVINO."""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]

from pipelines.nuclei.normalise import Plane
from pipelines.nuclei.tiling import Maps

MODELS = Path(__file__).parent.parent / "models" / "nuclei"
VERSION = "1"
PRECISIONS = ("fp32", "int8")
THREADS = "CYTOBUS_INFERENCE_THREADS"
"""Environment: threads of one inference; 1 unless set, because workers are processes, one for each core."""
CACHE = "CYTOBUS_INFERENCE_CACHE"
"""Environment: a folder in which compiled models are kept between processes; none unless set."""
SHAPES_KEPT = 8
"""Compiled shapes held in memory; the one not used for longest makes room."""


class BrokenModel(Exception):
    """A model's files are missing or not those that were described when it was exported."""


@dataclass(frozen=True)
class ModelFolder:
    """One version of the model: ``metadata.json`` and, for each precision, ``model.xml`` and ``model.bin``."""

    path: Path = MODELS / VERSION

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What the exporter wrote down. Raises ``BrokenModel``."""
        try:
            content: Mapping[str, Any] = json.loads((self.path / "metadata.json").read_bytes())
        except (OSError, ValueError) as error:
            raise BrokenModel(f"{self.path}: no readable metadata.json ({error}); export the model again") from error
        return content

    @cached_property
    def sha256(self) -> str:
        """Of ``metadata.json``, which names all other files: the same digest, the same model."""
        return hashlib.sha256((self.path / "metadata.json").read_bytes()).hexdigest()

    def read(self, name: str) -> bytes:
        """The bytes of a file, such as ``fp32/model.xml``. Raises ``BrokenModel`` if they were changed."""
        described = self.metadata["files"].get(name)
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise BrokenModel(f"{self.path}: {name} cannot be read ({error}); export the model again") from error
        if hashlib.sha256(content).hexdigest() != described:
            raise BrokenModel(f"{self.path}: {name} is not the file that metadata.json describes")
        return content


@dataclass
class Model:
    """A function from a plane to maps. Not to be shared between threads."""

    folder: ModelFolder = field(default_factory=ModelFolder)
    precision: str = "fp32"
    _compiled: "OrderedDict[tuple[int, ...], ov.InferRequest]" = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        self._core = ov.Core()
        self._files = self.folder.read(f"{self.precision}/model.xml"), self.folder.read(f"{self.precision}/model.bin")

    def ends(self) -> tuple[list[ov.PartialShape], list[ov.PartialShape]]:
        """The shapes of its inputs and outputs, as far as they are known."""
        network = self._core.read_model(*self._files)
        inputs, outputs = ([end.get_partial_shape() for end in ends] for ends in (network.inputs, network.outputs))
        return inputs, outputs

    def __call__(self, plane: Plane) -> Maps:
        """From float32 (H, W) in 0..1, sides multiples of 16, to float32 (3, H, W), each map in 0..1.

        The maps are the probability of a nucleus, that of its boundary, and the distance to the edge as a
        share of the largest in the nucleus.
        """
        request = self._request(plane.shape)
        request.infer([np.ascontiguousarray(plane)[None, None]], share_inputs=True)
        # The buffer belongs to the request, which will be used again.
        return np.array(request.get_output_tensor(0).data[0], np.float32)

    def _request(self, shape: tuple[int, ...]) -> ov.InferRequest:
        request = self._compiled.pop(shape, None) or self._compile(shape)
        self._compiled[shape] = request
        if len(self._compiled) > SHAPES_KEPT:
            self._compiled.popitem(last=False)
        return request

    def _compile(self, shape: tuple[int, ...]) -> ov.InferRequest:
        network = self._core.read_model(*self._files)
        # A known shape lets the compiler plan memory and choose kernels; dynamic ones are slower.
        network.reshape([1, 1, *shape])
        return self._core.compile_model(network, "CPU", _settings()).create_infer_request()


def _settings() -> dict[str, str]:
    settings = {
        # On some processors the default is bfloat16, which would not be the model that was measured.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": os.environ.get(THREADS, "1"),
    }
    if cache := os.environ.get(CACHE):
        settings["CACHE_DIR"] = cache
    return settings
