"""Whether a model at a server is the one that it says it is: it must see in a small picture what ours sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from pipelines.backends.errors import Mismatch
from pipelines.backends.tensors import Answer, Arrays, ModelRef, Signature
from pipelines.nuclei.normalise import Plane
from pipelines.nuclei.tiling import Maps, mirrored

SIDE = 64
USUAL = 256
"""Side of what a server is asked with, unless its model takes another: repositories of ours warm up with it."""
NEAR = 0.004
"""Mean difference of the maps that may come of the server's arithmetic. INT8 of the same network differs by 0.0015,
weights that are off by a twentieth by 0.0055, another network by more."""
NUCLEI = ((14, 16, 9, 0.9), (20, 44, 11, 0.7), (44, 24, 12, 0.8), (48, 50, 7, 0.5), (33, 33, 5, 0.35))
"""Row, column, radius (pixels) and brightness."""


@cache
def probe() -> Plane:
    """A plane (64, 64) with some nuclei on an uneven ground, always the same."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    plane = np.zeros((SIDE, SIDE), np.float32)
    for row, column, radius, bright in NUCLEI:
        depth = radius - np.hypot(rows - row, columns - column)
        plane = np.maximum(plane, bright * np.clip(depth / 3 + 0.5, 0, 1))
    texture = 0.85 + 0.15 * np.sin(columns * 0.9) * np.cos(rows * 0.7)
    ground = 0.06 + 0.03 * np.sin(columns * 1.7 + rows * 1.3)
    made: Plane = np.clip(plane * texture + ground, 0, 1).astype(np.float32)
    return made


def sized(shape: Sequence[int | None]) -> Plane:
    """The probe mirrored to the (height, width) that a model wants; None: any."""
    height, width = (USUAL if side is None else side for side in shape)
    return mirrored(probe()[:height, :width], (height, width))


@dataclass(frozen=True)
class Known:
    """A version that lies here: the digest of its ``metadata.json``, and what it sees in a plane."""

    sha256: str
    maps: Maps


@dataclass
class Proof:
    """What is known of the versions of one model at a server."""

    known: Callable[[str, Plane], Known | None]
    """A version as it lies here, and what it sees; None: there is none of that number."""
    binding: bool
    """Whether the server's model goes by our name, so that its version must be ours of that number."""
    digests: dict[str, str] = field(default_factory=dict)
    """By version, of those that were seen; empty: it is none that is known here."""
    _here: dict[tuple[str, tuple[int, ...]], Known | None] = field(default_factory=dict)

    def inputs(self, signature: Signature) -> Arrays:
        """The probe, as the model takes it."""
        shape = signature.inputs[0].shape or (None, None)
        return {"image": sized(shape[-2:])[None, None]}

    def judge(self, ref: ModelRef, place: str, inputs: Arrays, answer: Answer) -> None:
        """Note who has answered. Raises ``Mismatch`` where it bears our name and number and is another."""
        plane = inputs["image"][0, 0]
        key = answer.version, plane.shape
        if key not in self._here:
            self._here[key] = self.known(answer.version, plane) if answer.version else None
        here = self._here[key]
        gap = float(np.abs(answer.outputs["maps"][0] - here.maps).mean()) if here is not None else 0.0
        if here is not None and gap > NEAR and self.binding:
            raise Mismatch(
                f"{ModelRef(ref.name, answer.version)} at {place} is not the version {answer.version} that is known "
                f"here: for the same input 'image' its 'maps' differ by {gap:.2g} in the mean, {NEAR:g} is allowed; "
                f"serve the files of this version, or give what is served a version, or by ?model= a name, of its own"
            )
        self.digests[answer.version] = here.sha256 if here is not None and gap <= NEAR else ""
