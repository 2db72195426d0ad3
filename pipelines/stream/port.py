"""What the stream needs of a model, and how one is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipelines.backends.tensors import Arrays, ModelRef, Signature

if TYPE_CHECKING:
    from pipelines.stream.judge import Judged

KNOWN: Mapping[str, str] = {
    "bloodcells": "pipelines.bloodcells.classifier:BloodCells",
    "bloodcells-int8": "pipelines.bloodcells.classifier:BloodCells.int8",
    "cells": "pipelines.embedding.streamed:StreamedCells",
}
"""Models that come with the package: what the setting ``stream.model`` says, and what makes it. Others are named by
``package.module:Class``."""


@dataclass(frozen=True)
class Findings:
    """What a model says of N frames: classes int (N), probabilities float32 (N), vectors float32 (N, V), V may be 0."""

    labels: NDArray[Any]
    probabilities: NDArray[np.float32]
    vectors: NDArray[np.float32]
    places: Callable[[], NDArray[np.float32]] | None = None
    """Makes the places on the map of cells, float32 (N, 2), of models that have one. It is called in the thread of the
    model, and only where somebody wants to know."""
    features: Mapping[str, Callable[[], NDArray[Any]]] = field(default_factory=dict)
    """Make other columns (N), which bear the names that they have in the tables of cells."""
    judged: "Judged | None" = None
    """What gates say of them; not by the model."""

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Of which frames all that was said are numbers, (N)."""
        found: NDArray[np.bool_] = np.isfinite(self.probabilities) & np.isfinite(self.vectors).all(axis=1)
        return found


class StreamModel(Protocol):
    """A model for frames: what it is called where it runs, what it takes, and how that is made of frames."""

    name: str
    classes: tuple[str, ...]
    vector: int
    """Length of the vectors; 0: it makes none."""
    side: int
    """Height and width of the frames that it takes, pixels."""
    wanted: Signature
    precision: str
    """In which it was measured; it runs so in this process unless the address says otherwise."""

    def source(self, ref: ModelRef) -> tuple[str, bytes, bytes]:
        """Version, network and weights, for places in this process. Raises ``BadModel``."""
        ...

    def prepare(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """From (N, side, side, C) with C 1 or 3, of any unit, to what the model takes, N first."""
        ...

    def read(self, outputs: Arrays) -> Findings:
        """What the outputs say; what is not finite may be in them."""
        ...


@runtime_checkable
class OnMap(Protocol):
    """What a stream model has besides whose frames have places on the map of cells: gates that are drawn there can be
    applied to it."""

    measures: tuple[str, ...]
    """Names of ``Findings.features``."""
    map_of: str
    """The version of the model to whose map the places belong, as cells of finished jobs and gates name it."""

    def warm(self) -> None:
        """Load what places need. Blocks. Raises ``BackendError``."""
        ...


def named(model: str) -> StreamModel:
    """The model of a setting. Raises ``ValueError`` saying what there is."""
    module, _, name = KNOWN.get(model, model).partition(":")
    try:
        found: StreamModel = attrgetter(name)(import_module(module))()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"stream.model is {model!r}, which cannot be used ({error}); it must be one of {', '.join(KNOWN)} or "
            f"package.module:Class"
        ) from error
    return found
