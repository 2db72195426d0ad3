"""The blood-cell classifier as the stream asks it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.tensors import Arrays, ModelRef, Signature, Tensor
from pipelines.bloodcells.classes import CLASSES
from pipelines.bloodcells.normalise import SIDE, absorption
from pipelines.model_folder import BrokenModel, ModelFolder
from pipelines.stream.port import Findings

MODELS = Path(__file__).parent.parent / "models" / "bloodcells"
VERSION = "1"
WANTED = Signature(
    (Tensor("cells", "float32", (None, 1, SIDE, SIDE)),),
    (Tensor("probabilities", "float32", (None, len(CLASSES))),),
)
"""A batch of absorptions, see ``normalise``; the probability of each class."""


class BloodCells:
    """Fifteen classes of single cells on brightfield frames of 64x64 pixels, grey or colour."""

    name, classes, vector, side, wanted, precision = "bloodcells", CLASSES, 0, SIDE, WANTED, "f32"

    def __init__(self, folder: ModelFolder | None = None, files: str = "fp32") -> None:
        """The shipped model unless a folder is named; ``files``: fp32 or int8."""
        self.folder, self._files = folder or ModelFolder(MODELS / VERSION), files

    @classmethod
    def int8(cls) -> "BloodCells":
        """The shipped model in INT8: about twice as fast where the processor has no more than AVX2."""
        return cls(files="int8")

    def source(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        """Raises ``BrokenModel`` if the files are not those that were described when it was exported."""
        version = str(self.folder.metadata.get("version", ""))
        if ref.version not in ("", version):
            raise BrokenModel(f"{ref} is not at {self.folder.path}, which has version {version}; name that, or none")
        kind = self._files
        return version, self.folder.read(f"{kind}/model.xml"), self.folder.read(f"{kind}/model.bin")

    def prepare(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """See ``absorption``."""
        return absorption(frames)

    def read(self, outputs: Arrays) -> Findings:
        """The most probable class of each frame."""
        found = outputs["probabilities"]
        labels = found.argmax(axis=1)
        best: NDArray[np.float32] = found[np.arange(len(found)), labels]
        return Findings(labels, best, np.empty((len(found), 0), np.float32))
