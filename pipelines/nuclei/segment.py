"""From an image to labelled nuclei: normalise, predict, flood. The pipeline and the evaluation share it."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipelines.nuclei.normalise import Plane, normalise
from pipelines.nuclei.tiling import Predict, tiled
from pipelines.nuclei.watershed import Labels, Settings, segment


@dataclass(frozen=True)
class Segmented:
    """What was made of an image: its normalised plane and its labels, both (H, W)."""

    plane: Plane
    labels: Labels


def segmented(image: NDArray[Any], model: Predict, settings: Settings | None = None) -> Segmented:
    """Find the nuclei of an image as stored, (H, W) or (H, W, 3), any real dtype."""
    plane = normalise(image)
    return Segmented(plane, segment(tiled(plane, model), settings))
