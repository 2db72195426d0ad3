"""The cells pipeline: a vector, a class, a place on the map and classical features of every cell of an image."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.factory import chosen
from pipelines.embedding.atlas import Atlas, has_map
from pipelines.embedding.crops import Crops, cell_plane, cut, whole, window_of
from pipelines.embedding.features import central, features, islands
from pipelines.embedding.model import Encoder
from pipelines.embedding.table import Rows, csv_of, to_arrow, write_parquet
from pipelines.embedding.trial import card_of, shipped, tried
from pipelines.images import read_image, write_tiff_labels
from pipelines.nuclei.model import Model, ModelFolder
from pipelines.nuclei.normalise import Plane, finite, grey
from pipelines.nuclei.pipeline import Nuclei, stem
from pipelines.nuclei.quality import EMPTY
from pipelines.nuclei.segment import segmented
from pipelines.plugin import BadInput, Later, ModelCard, Parameter, Result, Work, setting

SMALL = 128
"""Images no side of which is longer are taken to show one cell, pixels."""
WAYS = ("auto", "nuclei", "islands", "whole")


@dataclass(frozen=True)
class Seen:
    """The cells of an image: what they are cut from, and what is cut out."""

    plane: Plane
    labels: NDArray[Any]
    crops: Crops


class Cells:
    """Embeds every cell of an image.

    Of an image with several pages or planes the first is taken. Writes ``STEM_cells.parquet`` and ``STEM_cells.csv``
    (see ``table``), and ``STEM_labels.tif``, in which the cells are numbered as in the tables.
    """

    topic = "cells"
    name = "Cells"
    description = "Embeds every cell: a vector to search by, a class, a place on the map, shape and intensity."
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "cells": Parameter(
            str,
            "auto",
            "where the cells are: nuclei (segmented as by the pipeline nuclei), islands (whatever stands out, such as "
            "red cells), whole (the image shows one cell), or auto: whole up to 128 pixels, else nuclei",
        ),
        "window": Parameter(
            float, 0.0, "pixels around each cell; 0: 1.7 times the median diameter of the image's cells"
        ),
        "crops": Parameter(bool, True, "keep the crops in the Parquet file, for galleries and to embed them again"),
    }

    def run(self, work: Work) -> Result:
        """Process one image. Raises ``BadInput`` for unreadable files and impossible parameters, ``Later`` while the
        server is away that has a model, and while one is chosen that the server cannot be given."""
        way, window = self._way(work), self._window(work)
        encoder = _encoder(work.model)
        encoder.ready()
        picture = read_image(work.image)
        seen = found(picture.pixels, way, window, work.image.name)
        rows = self._rows(work, encoder, seen, finite(grey(picture.pixels)), picture.pixel_size_um)
        name = stem(work.image)
        outputs = f"{name}_cells.parquet", f"{name}_cells.csv", f"{name}_labels.tif"
        write_parquet(work.folder / outputs[0], to_arrow(rows, bool(setting(work, self.parameters, "crops"))))
        (work.folder / outputs[1]).write_text(csv_of(rows), encoding="utf-8", newline="")
        write_tiff_labels(work.folder / outputs[2], seen.labels, picture.pixel_size_um)
        return Result(outputs, json.dumps(summary(rows, _atlas(work.model))), "passed" if len(rows) else EMPTY)

    def model_card(self) -> ModelCard:
        """Of the encoder that ships."""
        own = shipped()
        return ModelCard(str(own.metadata["version"]), own.sha256, card_of(own))

    def try_model(self, folder: Path) -> float:
        """See ``pipelines.embedding.trial``."""
        return tried(folder)

    def _rows(
        self, work: Work, encoder: Encoder, seen: Seen, grey: Plane, pixel_size_um: tuple[float, float] | None
    ) -> Rows:
        embedded, atlas, count = encoder(seen.crops), _atlas(work.model), len(seen.crops)
        nowhere = np.full((count, 3), np.nan, np.float32)
        return Rows(
            job=work.job,
            image=work.image.name,
            features=_every_row(features(seen.labels, grey, seen.plane, pixel_size_um), count, seen.plane.shape),
            embedded=embedded,
            crops=seen.crops,
            places=atlas.places(embedded.vectors) if atlas else nowhere[:, :2],
            novelty=atlas.novelty(embedded.vectors) if atlas else nowhere[:, 2],
            classes=encoder.classes,
            model={"version": encoder.version, "sha256": encoder.folder.sha256},
        )

    def _way(self, work: Work) -> str:
        way = str(setting(work, self.parameters, "cells")).strip().lower()
        if way not in WAYS:
            raise BadInput(f"parameter 'cells' of the task is {way!r}; it must be one of {', '.join(WAYS)}")
        return way

    def _window(self, work: Work) -> float:
        window = cast(float, setting(work, self.parameters, "window"))
        if not (window == 0 or 8 <= window <= 4096):
            raise BadInput(f"parameter 'window' of the task is {window:g}; it must be 0 or 8 to 4096 pixels")
        return window


def found(image: NDArray[Any], way: str, window: float, name: str) -> Seen:
    """The cells of an image as stored, (H, W) or (H, W, 3); see the pipeline's parameters. ``name`` is for messages."""
    plane = cell_plane(image)
    if way == "whole" or (way == "auto" and max(plane.shape) <= SMALL):
        if min(plane.shape) < 8:
            raise BadInput(f"{name}: an image of {plane.shape} pixels shows no cell; the least side is 8")
        return Seen(plane, central(plane), whole(plane))
    labels = islands(plane) if way == "islands" else segmented(image, _nuclei()).labels
    areas = np.bincount(labels.ravel())[1:]
    if not len(areas):
        return Seen(plane, labels, np.zeros((0, 64, 64), np.uint8))
    side = window or window_of(np.sqrt(4 / np.pi * areas))
    return Seen(plane, labels, cut(plane, centres(labels), side))


def centres(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Centroids (n, 2) of the cells 1..n, none missing: y and x."""
    rows, columns = np.nonzero(labels)
    names = labels[rows, columns].astype(np.int64)
    areas = np.bincount(names)[1:]
    return np.stack([np.bincount(names, where)[1:] / areas for where in (rows, columns)], axis=1)


def _every_row(table: dict[str, NDArray[Any]], count: int, shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """The features; for an image of one cell in which no outline is seen, a row that knows only its middle."""
    if len(table["id"]) == count:
        return table
    known = {"id": 1, "centroid_y": (shape[0] - 1) / 2, "centroid_x": (shape[1] - 1) / 2}
    return {name: np.array([known.get(name, np.nan)]) for name in table}


def summary(rows: Rows, atlas: Atlas | None) -> dict[str, Any]:
    """Figures of the whole image: how many cells of which class; ``off_the_map``, how many lie farther from all that
    the map was made of than its calibration allows."""
    counts = Counter(rows.named)
    figures: dict[str, Any] = {"cells": len(rows), "classes": dict(counts.most_common()), "model": dict(rows.model)}
    if atlas is not None:
        figures["off_the_map"] = int((rows.novelty > atlas.reach.limit).sum())
    return figures


@lru_cache(maxsize=2)
def _encoder(folder: Path | None) -> Encoder:
    address = chosen(Cells.topic)
    if folder is not None and address.scheme != "openvino":
        raise Later(
            f"another model than its own is chosen for {Cells.topic}, which runs at {address} with the models there; "
            f"choose its own again, or take it out of pipelines.backends"
        )
    return Encoder(shipped() if folder is None else ModelFolder(folder), address)


@lru_cache(maxsize=2)
def _atlas(folder: Path | None) -> Atlas | None:
    here = shipped() if folder is None else ModelFolder(folder)
    return Atlas(here) if has_map(here) else None


@lru_cache(maxsize=1)
def _nuclei() -> Model:
    """The network that finds nuclei, where the pipeline nuclei has it."""
    return Model(address=chosen(Nuclei.topic))
