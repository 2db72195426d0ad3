"""The network that ships with this package: checked, and run wherever the settings say."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.backends.address import Address
from pipelines.backends.blocking import Blocking, Predictor
from pipelines.backends.errors import BadModel
from pipelines.backends.factory import backend
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from pipelines.nuclei.normalise import Plane
from pipelines.nuclei.tiling import Maps

MODELS = Path(__file__).parent.parent / "models" / "nuclei"
VERSION = "2"
PRECISIONS = ("fp32", "int8")
NAMES: Mapping[str, str] = {"fp32": "nuclei", "int8": "nuclei-int8"}
"""What the models are called at a server, by precision."""
WANTED = Signature(
    (Tensor("image", "float32", (None, 1, None, None)),), (Tensor("maps", "float32", (None, 3, None, None)),)
)
"""A batch of planes in 0..1, nuclei bright; the probability of a nucleus, that of its boundary, and the distance to the
edge as a share of the largest in the nucleus."""


class BrokenModel(BadModel):
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


class Model:
    """A function from a plane to maps. Not to be shared between threads."""

    def __init__(
        self, folder: ModelFolder | None = None, precision: str = "fp32", address: Address | None = None
    ) -> None:
        """Where ``address`` says, or by OpenVINO in this process. Raises ``BrokenModel`` if that needs files that are
        not those described, ``BadAddress`` if it is no place for this machine."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self.folder, self.precision, address = folder or ModelFolder(), precision, address or Address()
        # The precision that was measured when the model was exported; bfloat16 is for the settings to choose.
        self._place = Blocking(backend(address, self._files, "f32"))
        name = address.text("model", NAMES[precision])
        self._predict = Predictor(self._place, ModelRef(name, address.text("version", "")), WANTED)
        if address.scheme == "openvino":
            self.ready()

    def ready(self) -> None:
        """Raises what is wrong with the model, or with where it runs, before any work is done."""
        self._predict.ready()

    def __call__(self, plane: Plane) -> Maps:
        """From float32 (H, W) in 0..1, sides multiples of 16, to float32 (3, H, W), each map in 0..1.

        The maps are the probability of a nucleus, that of its boundary, and the distance to the edge as a
        share of the largest in the nucleus.
        """
        answer = self._predict({"image": np.ascontiguousarray(plane, np.float32)[None, None]})
        maps: Maps = np.require(answer.outputs["maps"][0], np.float32, "W")
        return maps

    def close(self) -> None:
        """Let go of where it runs."""
        self._place.close()

    def _files(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        version = str(self.folder.metadata.get("version", ""))
        if ref.version not in ("", version):
            raise BrokenModel(f"{ref} is not at {self.folder.path}, which has version {version}; name that, or none")
        return version, self.folder.read(f"{self.precision}/model.xml"), self.folder.read(f"{self.precision}/model.bin")
