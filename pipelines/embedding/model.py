"""The encoder that ships with this package: checked, and run in batches wherever the settings say."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.address import Address
from pipelines.backends.blocking import Blocking
from pipelines.backends.factory import backend
from pipelines.backends.predictor import Predictor
from pipelines.backends.tensors import ModelRef, Signature, Tensor
from pipelines.embedding.crops import SIDE, Crops
from pipelines.nuclei.model import BrokenModel, ModelFolder

MODELS = Path(__file__).parent.parent / "models" / "cells"
VERSION = "1"
WIDTH = 128
"""Numbers in a vector."""
BATCHES = (64, 8, 1)
"""Crops given at once: few shapes, so that each is compiled once."""
FILES = ("fp32/model.xml", "fp32/model.bin")


@dataclass(frozen=True)
class Embedded:
    """What an encoder makes of n cells."""

    vectors: NDArray[np.float32]
    """(n, 128), of length one."""
    probabilities: NDArray[np.float32]
    """(n, classes), each row adds up to 1."""


def shipped() -> ModelFolder:
    """The folder of the encoder that comes with this package."""
    return ModelFolder(MODELS / VERSION)


def classes_of(folder: ModelFolder) -> tuple[str, ...]:
    """Names of the classes, in the order of the probabilities. Raises ``BrokenModel``."""
    names = folder.metadata.get("classes")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise BrokenModel(f"{folder.path}: metadata.json must list the names of the classes as 'classes'")
    return tuple(names)


class Encoder:
    """A function from crops to vectors and probabilities. Not to be shared between threads."""

    def __init__(self, folder: ModelFolder | None = None, address: Address | None = None) -> None:
        """Where ``address`` says, or by OpenVINO in this process. Raises ``BrokenModel`` if that needs files that are
        not those described, ``BadAddress`` if it is no place for this machine."""
        self.folder, address = folder or shipped(), address or Address()
        self.classes = classes_of(self.folder)
        self.version = str(self.folder.metadata.get("version", ""))
        # The precision that was measured; vectors of another are other vectors.
        self._place = Blocking(backend(address, self._files, "f32"))
        name = address.text("model", "cells")
        self._predict = Predictor(self._place, ModelRef(name, address.text("version", "")), signature(self.classes))
        if address.scheme == "openvino":
            self.ready()

    def ready(self) -> None:
        """Raises what is wrong with the model, or with where it runs, before any work is done."""
        self._predict.ready()

    def __call__(self, crops: Crops) -> Embedded:
        """From uint8 (n, 64, 64), cells bright on dark."""
        vectors, probabilities = [np.zeros((0, WIDTH), np.float32)], [np.zeros((0, len(self.classes)), np.float32)]
        done = 0
        while done < len(crops):
            size = next(size for size in BATCHES if size <= len(crops) - done)
            scaled = crops[done : done + size, None].astype(np.float32) * np.float32(1 / 255)
            answer = self._predict({"crops": np.ascontiguousarray(scaled)})
            vectors.append(np.array(answer.outputs["vectors"], np.float32))
            probabilities.append(np.array(answer.outputs["probabilities"], np.float32))
            done += size
        return Embedded(np.concatenate(vectors), np.concatenate(probabilities))

    def close(self) -> None:
        """Let go of where it runs."""
        self._place.close()

    def _files(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        if ref.version not in ("", self.version):
            raise BrokenModel(
                f"{ref} is not at {self.folder.path}, which has version {self.version}; name that, or none"
            )
        network, weights = (self.folder.read(name) for name in FILES)
        return self.version, network, weights


def signature(classes: tuple[str, ...]) -> Signature:
    """What an encoder takes, crops in 0..1, and gives."""
    return Signature(
        (Tensor("crops", "float32", (None, 1, SIDE, SIDE)),),
        (
            Tensor("vectors", "float32", (None, WIDTH)),
            Tensor("probabilities", "float32", (None, len(classes))),
        ),
    )
