"""Train the blood-cell classifier from random weights on a CPU."""

import time
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.bloodcells.classes import RED
from pipelines.bloodcells.networks import SmallResNet
from pipelines.bloodcells.normalise import absorption
from pipelines.training.bloodcells.crops import batches
from pipelines.training.bloodcells.cut import ANY_RED, Crops, centres, crops

KEPT = 0.998
"""Of the averaged weights, at every step (Polyak averaging)."""
SMOOTHED = 0.1
"""Share of the truth that is spread over all classes: annotators agreed on five cells of six."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a training run will yield, besides the images."""

    epochs: int = 20
    seed: int = 7
    batch: int = 64
    rate: float = 4e-3
    decay: float = 0.05


def train(data: Path, out: Path, plan: Plan = Plan(), threads: int = 1) -> Path:
    """Train on the split ``train`` and return the checkpoint with the averaged weights, ``<out>/bloodcells.pt``.

    After every fourth epoch the accuracy on ``val`` is printed; nothing is chosen by it. Crops are kept in ``out``.
    """
    console = Console(stderr=True)
    torch.set_num_threads(threads)
    torch.manual_seed(plan.seed)
    ready, judged = (crops(data, split, out / f"{split}.npz") for split in ("train", "val"))
    steps = max(1, round(len(ready.classes) / plan.batch))
    network = SmallResNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.epochs * steps, pct_start=0.1)
    path, drawn = out / "bloodcells.pt", batches(ready, plan.batch, np.random.default_rng(plan.seed))
    for epoch in range(1, plan.epochs + 1):
        start, total = time.perf_counter(), 0.0
        network.train()
        for step in range(steps):
            planes, classes = next(drawn)
            value = loss(network(planes.contiguous(memory_format=torch.channels_last)), classes)
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            follow(average, network, (epoch - 1) * steps + step)
            total += value.item()
        said = f"epoch {epoch}/{plan.epochs} loss {total / steps:.4f} {time.perf_counter() - start:.0f} s"
        torch.save({"plan": asdict(plan), "epoch": epoch, "average": average.state_dict()}, path)
        console.print(said + (f" val {accuracy(average, judged):.4f}" if epoch % 4 == 0 else ""))
    return path


def loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy; of a cell of which only that it is red is known, that of all red classes together."""
    known = classes != ANY_RED
    value = F.cross_entropy(logits[known], classes[known], label_smoothing=SMOOTHED, reduction="sum")
    some = logits[~known]
    red = some[:, : len(RED)].logsumexp(dim=1) - some.logsumexp(dim=1)
    return (value - red.sum()) / len(classes)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, step: int) -> None:
    """Move the averaged weights a little towards those of the network; more at first, when they are random."""
    kept, mine = min(KEPT, (1 + step) / (10 + step)), network.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(mine[name], 1 - kept)
        else:
            value.copy_(mine[name])


@torch.no_grad()
def accuracy(network: nn.Module, cells: Crops) -> float:
    """Share of the cells whose class is known that are told right."""
    known = cells.classes != ANY_RED
    planes = torch.from_numpy(absorption(centres(cells.pixels[known])))
    found = torch.cat([network(part).argmax(dim=1) for part in torch.split(planes, 256)])
    return float((found.numpy() == cells.classes[known]).mean())
