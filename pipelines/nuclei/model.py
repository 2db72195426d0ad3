"""The network that ships with this package: checked, and run wherever the settings say."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.backends.address import Address
from pipelines.backends.blocking import Blocking
from pipelines.backends.factory import backend
from pipelines.backends.predictor import Predictor
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from pipelines.model_folder import BrokenModel as BrokenModel
from pipelines.model_folder import ModelFolder as ModelFolder
from pipelines.nuclei.normalise import Plane
from pipelines.nuclei.proof import Known, Proof
from pipelines.nuclei.tiling import Maps

MODELS = Path(__file__).parent.parent / "models" / "nuclei"
VERSION = "2"
PRECISIONS = ("fp32", "int8")
NAMES: Mapping[str, str] = {"fp32": "nuclei", "int8": "nuclei-int8"}
"""What the models are called at a server, by precision."""
AT_ONCE = 4
"""Tiles of an image that are under way to a server, unless ``?at_once=`` says otherwise: while it computes one, the
next is on its way, and a server that batches has something to put together."""
WANTED = Signature(
    (Tensor("image", "float32", (None, 1, None, None)),), (Tensor("maps", "float32", (None, 3, None, None)),)
)
"""A batch of planes in 0..1, nuclei bright; the probability of a nucleus, that of its boundary, and the distance to the
edge as a share of the largest in the nucleus."""


def shipped() -> ModelFolder:
    """The model that comes with this package."""
    return ModelFolder(MODELS / VERSION)


class Model:
    """A function from a plane to maps. Not to be shared between threads."""

    def __init__(
        self, folder: ModelFolder | None = None, precision: str = "fp32", address: Address | None = None
    ) -> None:
        """Where ``address`` says, or by OpenVINO in this process. Raises ``BrokenModel`` if that needs files that are
        not those described, ``BadAddress`` if it is no place for this machine."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self.folder, self.precision, address = folder or shipped(), precision, address or Address()
        # The precision that was measured when the model was exported; bfloat16 is for the settings to choose.
        self._place = Blocking(backend(address, self._files, "f32"))
        self._name, self._where = address.text("model", NAMES[precision]), str(address)
        here = address.scheme == "openvino"
        self._proof = None if here else Proof(self._known, binding=self._name == NAMES[precision])
        # What runs here one after the other is no quicker for being asked ahead.
        one_by_one = here and address.text("hint", "latency") == "latency"
        at_once = address.count("at_once", 1 if one_by_one else AT_ONCE)
        ref = ModelRef(self._name, address.text("version", ""))
        self._predict = Predictor(self._place, ref, WANTED, proof=self._proof, at_once=at_once)
        self._batch = address.count("batch", 1)
        if here:
            self.ready()

    def ready(self) -> None:
        """Raises what is wrong with the model, or with where it runs, before any work is done. What follows is one
        image, which one version of the model sees: ``Exchanged`` where that cannot be."""
        self._predict.ready()

    def __call__(self, plane: Plane) -> Maps:
        """From float32 (H, W) in 0..1, sides multiples of 16, to float32 (3, H, W), each map in 0..1.

        The maps are the probability of a nucleus, that of its boundary, and the distance to the edge as a
        share of the largest in the nucleus.
        """
        (maps,) = self.several([plane])
        return maps

    def several(self, planes: Iterable[Plane]) -> Iterator[Maps]:
        """As for one plane, for each of them, all of one shape; several are under way at once, or in one batch, as the
        address says."""
        for answer in self._predict.several({"image": batch} for batch in _batches(planes, self._batch)):
            yield from np.require(answer.outputs["maps"], np.float32, "W")

    def used(self) -> dict[str, str]:
        """Which model has answered since ``ready``: ``version``, ``sha256`` of its ``metadata.json`` (empty: it is none
        that is known here), ``name`` and ``place``."""
        version = self._predict.version or ""
        digest = self.folder.sha256 if self._proof is None else self._proof.digests.get(version, "")
        return {"version": version, "sha256": digest, "name": self._name, "place": self._where}

    def close(self) -> None:
        """Let go of where it runs."""
        self._place.close()

    def _known(self, version: str, plane: Plane) -> Known | None:
        """What our model of a version sees in a plane."""
        folder = ModelFolder(MODELS / version)
        if not version.isdecimal() or not folder.path.is_dir():
            return None
        model = Model(folder, self.precision)
        try:
            return Known(folder.sha256, model(plane))
        finally:
            model.close()

    def _files(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        version = str(self.folder.metadata.get("version", ""))
        if ref.version not in ("", version):
            raise BrokenModel(f"{ref} is not at {self.folder.path}, which has version {version}; name that, or none")
        return version, self.folder.read(f"{self.precision}/model.xml"), self.folder.read(f"{self.precision}/model.bin")


def _batches(planes: Iterable[Plane], size: int) -> Iterator[Any]:
    """float32 (n, 1, H, W), n up to ``size``."""
    rest = iter(planes)
    while group := list(islice(rest, size)):
        yield np.stack(group).astype(np.float32, copy=False)[:, None]
