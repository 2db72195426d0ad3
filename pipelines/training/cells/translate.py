"""The small network among the translations, and what each kind keeps of a search with how many anchors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.embedding.neighbours import Vectors, average_precision, nearest, overlap
from pipelines.embedding.translation import FITS, KEPT, Fit, Translation, best

HIDDEN = 512
RANKS = 10


def mlp(old: Vectors, new: Vectors, steps: int = 1500, seed: int = 7) -> Translation:
    """A network of one hidden layer that brings old vectors to new ones by their cosine."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(old.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, new.shape[1]))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    given, wanted = torch.from_numpy(old), torch.from_numpy(new)
    for _ in range(steps):
        some = torch.randint(len(given), (256,))
        loss = (1 - F.cosine_similarity(network(given[some]), wanted[some])).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    layers = [
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy())
        for layer in network
        if isinstance(layer, nn.Linear)
    ]
    return Translation("mlp", tuple(layers))


ALL: Mapping[str, Fit] = {**FITS, "mlp": mlp}


def study(
    anchors: tuple[Vectors, Vectors],
    held_out: tuple[Vectors, Vectors],
    tested: tuple[Vectors, Vectors],
    classes: NDArray[np.int64],
    images: NDArray[np.int64],
    counts: Sequence[int] = (250, 500, 1000, 2000, 4000, 8000),
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """What is kept of a search from the new encoder among old cells, translated instead of embedded again.

    Each pair is the same cells by the old and by the new encoder; anchors are taken from the front. The kind is chosen
    by ``held_out`` for each number of anchors; figures are of ``tested``, as ``compared`` says.
    """
    found: dict[str, Any] = {"again": searched(tested[1], tested[1], classes, images), "anchors": {}}
    for count in counts:
        if count > len(anchors[0]):
            break
        chosen = best(ALL, (anchors[0][:count], anchors[1][:count]), held_out)
        figures = compared(chosen, tested, classes, images)
        found["anchors"][str(count)] = {"kind": chosen.kind, **figures}
        told(f"{count} anchors: {chosen.kind} {figures}")
    enough = [int(count) for count, one in found["anchors"].items() if one["kept"] >= KEPT]
    found["enough_anchors"] = min(enough) if enough else None
    found["embed_again"] = not enough
    return found


def compared(
    translation: Translation, tested: tuple[Vectors, Vectors], classes: NDArray[np.int64], images: NDArray[np.int64]
) -> dict[str, Any]:
    """``kept``: recall at 10 of cells of the same class among translated vectors, over that when they are embedded
    again; ``map_kept`` likewise; ``same_neighbours``: the share of the very same ten nearest cells."""
    old, new = tested
    translated = translation(old)
    again = searched(new, new, classes, images)
    mine = searched(new, translated, classes, images)
    wanted = nearest(new, new, RANKS, (images, images))
    return {
        "recall_at_10": mine["recall_at_10"],
        "kept": round(mine["recall_at_10"] / again["recall_at_10"], 4),
        "map_kept": round(mine["map_at_10"] / again["map_at_10"], 4),
        "same_neighbours": round(overlap(nearest(new, translated, RANKS, (images, images)), wanted), 4),
    }


def searched(
    queries: Vectors, base: Vectors, classes: NDArray[np.int64], images: NDArray[np.int64]
) -> dict[str, float]:
    """Of a search of each cell among those of other images: the share of its class among the ten nearest, over the most
    that there could be (``recall_at_10``), and the mean average precision."""
    found = nearest(queries, base, RANKS, (images, images))
    same = classes[found] == classes[:, None]
    there = (classes[:, None] == classes[None]).sum(1) - (
        (images[:, None] == images[None]) & (classes[:, None] == classes[None])
    ).sum(1)
    known = there > 0
    recalls = same.sum(1)[known] / np.minimum(there[known], RANKS)
    precisions = average_precision(same, there)[known]
    return {"recall_at_10": round(float(recalls.mean()), 4), "map_at_10": round(float(precisions.mean()), 4)}


def study_plain(translation: Translation, tested: tuple[Vectors, Vectors]) -> dict[str, Any]:
    """Where no classes are known: how much of a search comes back that is asked by the cell itself.

    Each new vector asks for its own cell among translated old ones: ``kept``, how often it is among the first ten (by
    vectors embedded again it always is the first). ``same_neighbours`` as in ``compared``.
    """
    old, new = tested
    translated = translation(old)
    own = np.arange(len(new))
    found = nearest(new, translated, RANKS)
    again = nearest(new, new, RANKS, (own, own))
    kept = float((found == own[:, None]).any(axis=1).mean())
    return {
        "kept": round(kept, 4),
        "same_neighbours": round(overlap(nearest(new, translated, RANKS, (own, own)), again), 4),
        "embed_again": kept < KEPT,
    }


def study_query(translation: Translation, tested: tuple[Vectors, Vectors]) -> float:
    """How often a translated old vector finds its own cell among the first ten of the new ones: what is kept of a
    search that is asked by the old encoder among cells of the new."""
    old, new = tested
    own = np.arange(len(new))[:, None]
    return round(float((nearest(translation(old), new, RANKS) == own).any(axis=1).mean()), 4)
