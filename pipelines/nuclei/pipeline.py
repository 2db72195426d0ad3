"""The nuclei pipeline: a label image, an overlay to look at, a table of nuclei, and a summary."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.backends.factory import chosen
from pipelines.images import Picture, read_image, write_tiff
from pipelines.model_folder import ModelFolder
from pipelines.nuclei.measure import Table, as_csv, measure
from pipelines.nuclei.model import PRECISIONS, Model, shipped
from pipelines.nuclei.normalise import Plane, finite, grey
from pipelines.nuclei.quality import flags
from pipelines.nuclei.segment import Segmented, segmented
from pipelines.nuclei.trial import card_of, tried
from pipelines.nuclei.watershed import Labels, Settings
from pipelines.plugin import BadInput, Later, ModelCard, Parameter, Result, Work, setting

OUTLINE = (255, 64, 32)
"""Colour of the contours, RGB."""
LARGEST_OVERLAY = 4096
"""Overlays are thinned until no side is longer, pixels."""


class Nuclei:
    """Segments, counts and measures cell nuclei in fluorescence and stained-tissue images.

    Of an image with several pages or planes the first is taken. Writes ``STEM_labels.tif`` (uint16, or
    uint32 from 65536 nuclei on; as high and wide as the image), ``STEM_overlay.png`` and ``STEM_cells.csv``
    (see ``measure``; intensities in the units of the file).
    """

    topic = "nuclei"
    name = "Nuclei"
    description = "Segments, counts and measures cell nuclei (fluorescence, H&E; grey or RGB; 8, 16 bit or float)."
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "precision": Parameter(str, "fp32", "which model to run: fp32, or int8, which is smaller and often faster"),
        "threshold": Parameter(float, Settings.threshold, "least probability of a nucleus pixel, 0 to 1"),
        "min_area": Parameter(int, Settings.min_area, "smaller nuclei are dropped, pixels"),
    }

    def run(self, work: Work) -> Result:
        """Process one image. Raises ``BadInput`` for unreadable files and impossible parameters, ``Later`` while the
        server is away that has the model, and while one is chosen that the server cannot be given."""
        model, settings = _model(self._precision(work), work.model), self._settings(work)
        model.ready()
        picture = read_image(work.image)
        found = segmented(picture.pixels, model, settings)
        cells = measure(found.labels, finite(grey(picture.pixels)), picture.pixel_size_um)
        warnings = flags(picture.pixels, found.plane, found.labels)
        outputs = written(work.folder, stem(work.image), picture, found, cells)
        said = {"flags": list(warnings), "model": model.used()}
        results = json.dumps(summary(found.labels, cells, picture) | said)
        return Result(outputs, results, ",".join(warnings) or "passed")

    def model_card(self) -> ModelCard:
        """Of the model that ships."""
        own = shipped()
        return ModelCard(str(own.metadata["version"]), own.sha256, card_of(own))

    def try_model(self, folder: Path) -> float:
        """See ``pipelines.nuclei.trial``."""
        return tried(folder)

    def _precision(self, work: Work) -> str:
        precision = str(setting(work, self.parameters, "precision")).lower()
        if precision not in PRECISIONS:
            raise BadInput(f"parameter 'precision' of the task is {precision!r}; it must be one of {PRECISIONS}")
        return precision

    def _settings(self, work: Work) -> Settings:
        threshold = cast(float, setting(work, self.parameters, "threshold"))
        if not 0 < threshold < 1:
            raise BadInput(f"parameter 'threshold' of the task is {threshold}; it must lie between 0 and 1")
        return Settings(threshold=threshold, min_area=cast(int, setting(work, self.parameters, "min_area")))


@lru_cache(maxsize=len(PRECISIONS))
def _model(precision: str, folder: Path | None) -> Model:
    address = chosen(Nuclei.topic)
    if folder is not None and address.scheme != "openvino":
        raise Later(
            f"another model than its own is chosen for {Nuclei.topic}, which runs at {address} with the models there; "
            f"choose its own again, or take it out of pipelines.backends"
        )
    return Model(None if folder is None else ModelFolder(folder), precision, address)


def stem(image: Path) -> str:
    """The name of a file without its extension; ``.ome.tif`` and ``.ome.tiff`` go as one."""
    name = image.name.removesuffix(image.suffix)
    is_ome = image.suffix.lower() in (".tif", ".tiff") and name.lower().endswith(".ome")
    return name[: -len(".ome")] if is_ome else name


def written(folder: Path, name: str, picture: Picture, found: Segmented, cells: Table) -> tuple[str, ...]:
    """Write the three files; their names."""
    outputs = f"{name}_labels.tif", f"{name}_overlay.png", f"{name}_cells.csv"
    write_tiff(folder / outputs[0], found.labels, picture.pixel_size_um)
    overlay(found.plane, found.labels).save(folder / outputs[1], compress_level=1)
    (folder / outputs[2]).write_text(as_csv(cells), encoding="utf-8", newline="")
    return outputs


def overlay(plane: Plane, labels: Labels) -> Image.Image:
    """The normalised plane with the outlines of the nuclei, thinned if very large; 8 bit with a palette.

    A palette holds the greys and the one colour in a third of the bytes, and is written three times as fast.
    """
    step = -(-max(plane.shape) // LARGEST_OVERLAY)
    plane, labels = plane[::step, ::step], labels[::step, ::step]
    shades = (plane * np.float32(254)).astype(np.uint8)
    shades[outlines(labels)] = 255
    picture = Image.fromarray(shades).convert("L")
    picture.putpalette([level for grey in range(255) for level in (grey, grey, grey)] + list(OUTLINE))
    return picture


def outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels of nuclei that have a pixel of something else above, below, left or right."""
    edge = np.zeros(labels.shape, bool)
    differs = labels[1:] != labels[:-1]
    edge[1:] |= differs
    edge[:-1] |= differs
    differs = labels[:, 1:] != labels[:, :-1]
    edge[:, 1:] |= differs
    edge[:, :-1] |= differs
    return edge & (labels > 0)


def summary(labels: Labels, cells: Table, picture: Picture) -> dict[str, Any]:
    """Figures of the whole image: ``confluence`` is the share of its area that nuclei cover."""
    areas = cells["area"]
    figures: dict[str, Any] = {
        "count": len(areas),
        "median_area": float(np.median(areas)) if len(areas) else 0.0,
        "confluence": round(float(areas.sum()) / labels.size, 6),
    }
    if picture.pixel_size_um is not None:
        tall, wide = picture.pixel_size_um
        figures["median_area_um2"] = figures["median_area"] * tall * wide
    return figures
