"""Make the map: UMAP once, then a small network that has learnt where UMAP puts what, and how faithful it is."""

import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.embedding.alignment import aligned
from pipelines.embedding.atlas import PLACES, PROJECTOR, REFERENCE, Atlas, novelty
from pipelines.embedding.model import WIDTH
from pipelines.embedding.neighbours import Vectors, preservation, trustworthiness
from pipelines.nuclei.model import ModelFolder
from pipelines.training.cells.export import described

NEIGHBOURS, LEAST_APART = 15, 0.1
"""UMAP's own defaults."""
MOST = 10_000
"""Cells a map is made of."""
KEPT = 2000
"""Cells of the reference set that stay with the map, to know novelty and to lay the next map over this one."""
EXPECTED = 0.01
"""Share of cells of images unknown to the map that lie beyond its ``limit``."""
JITTER = 0.02
"""Noise on each number of a vector while a projector learns."""
Places = NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """A UMAP and what it was fitted on."""

    umap: Any
    vectors: Vectors
    places: Places
    """Aligned to an older map where there is one; the UMAP's own otherwise."""


class Projector(nn.Module):
    """From vectors (N, 128) to places (N, 2): three layers (parametric UMAP's idea, Sainburg et al. 2021, learnt from
    finished places instead)."""

    def __init__(self, width: int, middle: NDArray[Any], size: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(WIDTH, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )
        self.middle = nn.Parameter(torch.tensor(middle, dtype=torch.float32), requires_grad=False)
        self.size = size

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """In the units of the map."""
        places: torch.Tensor = self.body(vectors) * self.size + self.middle
        return places


def fitted(vectors: Vectors, seed: int = 7, start: Places | None = None) -> Fitted:
    """A UMAP of vectors (n, 128); ``start``, (n, 2), is where its optimisation begins. Takes a minute for 10,000 the
    first time, when it compiles itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a seed means one thread, and it says so each time
        import umap  # type: ignore[import-untyped]

        # Lengths are one, so that distances order cells as cosines do.
        model = umap.UMAP(
            n_neighbors=NEIGHBOURS,
            min_dist=LEAST_APART,
            random_state=seed,
            init="spectral" if start is None else _jittered(start, seed),
        )
        places: Places = model.fit_transform(vectors).astype(np.float32)
    return Fitted(model, vectors, places)


def transformed(model: Fitted, vectors: Vectors) -> Places:
    """Where umap-learn's own transform puts new vectors; slowly. In the coordinates of the UMAP itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        places: Places = model.umap.transform(vectors).astype(np.float32)
    return places


def _jittered(start: Places, seed: int) -> Places:
    # UMAP wants starts of about ten units, none upon another.
    size = 10 / max(float(np.abs(start - start.mean(axis=0)).max()), 1e-6)
    moved = (start - start.mean(axis=0)) * size
    result: Places = (moved + np.random.default_rng(seed).normal(0, 1e-3, start.shape)).astype(np.float32)
    return result


def refitted(vectors: Vectors, old: Atlas, seed: int = 7) -> Fitted:
    """A new map of old and new cells, laid over the old one.

    The old map's reference set is part of it. Every cell begins where the old map has it, and afterwards the whole is
    turned, scaled and shifted so that the reference set lies as near as can be to where it was (see ``alignment``).
    """
    everything = np.concatenate([old.reference, vectors])
    start = np.concatenate([old.reference_places, old.places(vectors)])
    fresh = fitted(everything, seed, start)
    move = aligned(fresh.places[: len(old.reference)], old.reference_places)
    return Fitted(fresh.umap, everything, move(fresh.places).astype(np.float32))


def distilled(
    model: Fitted,
    more: tuple[Vectors, Places] | None = None,
    width: int = 256,
    epochs: int = 80,
    seed: int = 7,
    threads: int = 1,
) -> Projector:
    """A projector that puts the reference set where the map has it, and ``more`` cells where the UMAP puts them."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    vectors, places = torch.from_numpy(model.vectors), torch.from_numpy(model.places)
    if more is not None:
        vectors, places = (
            torch.cat([vectors, torch.from_numpy(more[0])]),
            torch.cat([places, torch.from_numpy(more[1])]),
        )
    middle, size = model.places.mean(axis=0), float(model.places.std())
    network = Projector(width, middle, size)
    optimizer = torch.optim.AdamW(network.body.parameters(), 3e-3, weight_decay=1e-3)
    steps = max(1, len(vectors) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * steps, pct_start=0.1)
    for _ in range(epochs):
        order = torch.randperm(len(vectors))
        for step in range(steps):
            some = order[step * 256 : (step + 1) * 256]
            # A cell beside a known one belongs beside it on the map, too.
            near = F.normalize(vectors[some] + JITTER * torch.randn(len(some), WIDTH), dim=1)
            wanted = (places[some] - network.middle) / size
            # Nearly the absolute error: a cell between two islands belongs to one of them, not in the sea.
            loss = F.smooth_l1_loss((network(near) - network.middle) / size, wanted, beta=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()
    return network


def add_map(folder: Path, model: Fitted, projector: Projector, near: Vectors, figures: dict[str, Any]) -> Path:
    """Put a map into an encoder's folder, in place of any that is there; the folder.

    ``near``: vectors of cells of other images of the same kinds, by which the limit of novelty is set. ``figures`` go
    into the metadata as ``faithfulness``.
    """
    kept = np.random.default_rng(7).permutation(len(model.vectors))[:KEPT]
    reference = model.vectors[kept].astype(np.float16)
    (folder / "map").mkdir(parents=True, exist_ok=True)
    ov.save_model(exported(projector), folder / PROJECTOR[0], compress_to_fp16=True)
    np.save(folder / REFERENCE, reference)
    np.save(folder / PLACES, model.places[kept].astype(np.float32))
    limit = float(np.quantile(novelty(near, reference.astype(np.float32)), 1 - EXPECTED))
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    metadata["map"] = {
        "cells": len(model.vectors),
        "neighbours": NEIGHBOURS,
        "least_apart": LEAST_APART,
        "width": projector.body[0].out_features,
        "limit": limit,
        "expected": EXPECTED,
        "faithfulness": figures,
    }
    return described(folder, metadata)


def exported(projector: Projector) -> ov.Model:
    """The projector for any number of vectors at once."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which needs no further package, is deprecated
        path = Path(folder) / "projector.onnx"
        torch.onnx.export(
            projector,
            (torch.zeros(2, WIDTH),),
            path,
            input_names=["vectors"],
            output_names=["places"],
            dynamic_axes={name: {0: "n"} for name in ("vectors", "places")},
            dynamo=False,
            opset_version=17,
        )
        return ov.convert_model(path)


def faithfulness(model: Fitted, projector: Projector, held_out: Vectors, k: int = NEIGHBOURS) -> dict[str, Any]:
    """How well held-out cells lie, by umap-learn's own transform and by the projector: trustworthiness and the share of
    the k nearest that is preserved; and how far apart the two put a cell, over the spread of the map."""
    begun = time.process_time()
    own = transformed(model, held_out)
    seconds = time.process_time() - begun
    with torch.no_grad():
        mine = projector(torch.from_numpy(held_out)).numpy()
    # The transform's coordinates are the UMAP's own; the projector's may have been laid over an older map.
    own = aligned(model.umap.embedding_, model.places)(own).astype(np.float32)
    apart = np.linalg.norm(own - mine, axis=1)
    return {
        "held_out_cells": len(held_out),
        "k": k,
        "umap": _figures(held_out, own, k) | {"processor_seconds": round(seconds, 2)},
        "projector": _figures(held_out, mine, k),
        "median_apart_over_spread": round(float(np.median(apart)) / float(model.places.std()), 4),
    }


def _figures(vectors: Vectors, places: Places, k: int) -> dict[str, float]:
    return {
        "trustworthiness": round(trustworthiness(vectors, places, k), 4),
        "preservation": round(preservation(vectors, places, k), 4),
    }


def atlas_of(folder: Path) -> Atlas:
    """The map in a folder."""
    return Atlas(ModelFolder(folder))
