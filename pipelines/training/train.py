"""Train a nuclei network from scratch on a CPU: crops, losses, a cosine schedule, checkpoints."""

import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.nuclei.networks import NETWORKS
from pipelines.nuclei.normalise import Plane
from pipelines.training.crops import BOUNDARY, DISTANCE, HARD, INTERIOR, batches, samples

Crops = Iterator[tuple[Plane, Plane]]
KEPT = 0.995
"""Of the averaged weights, at every step (Polyak averaging)."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a training run will yield, besides the images."""

    network: str = "dense-unet"
    epochs: int = 60
    seed: int = 7
    batch: int = 16
    rate: float = 4e-3
    decay: float = 0.01
    start: str = ""
    """Where the weights came from; random when empty."""

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"no network {self.network!r}; there are: {', '.join(NETWORKS)}")


def train(
    data: Path,
    out: Path,
    network: str = "dense-unet",
    epochs: int = 60,
    seed: int = 7,
    rate: float = Plan.rate,
    start: Path | None = None,
    threads: int = 2,
) -> Path:
    """Train on the split ``train`` of a set and return the checkpoint, ``<out>/<network>.pt``.

    The averaged weights of the checkpoint ``start`` are the first ones where it is given. A checkpoint of the
    same plan that is already there is continued; one of another plan raises ``ValueError``. An epoch draws as
    many crops as the split has images. Same seed, data, library versions and number of threads give the same
    weights, unless the run was interrupted.
    """
    plan = Plan(network, epochs, seed, rate=rate, start="" if start is None else origin(start))
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{network}.pt"
    with Progress() as progress:
        reading = progress.add_task("reading images", total=None)
        ready = samples(data, "train", lambda: progress.advance(reading))
        progress.update(reading, total=len(ready))
        run = Run(plan, steps=max(1, round(len(ready) / plan.batch)))
        if checkpoint.exists():
            run.load(checkpoint)
        elif start is not None:
            run.begin(start)
        bar = progress.add_task(network, total=epochs, completed=run.epoch)
        while run.epoch < epochs:
            crops = batches(ready, plan.batch, np.random.default_rng([seed, run.epoch]))
            loss, seconds = run.one_epoch(crops)
            run.save(checkpoint)
            progress.update(bar, completed=run.epoch)
            progress.console.print(f"epoch {run.epoch}/{epochs} loss {loss:.4f} {seconds:.0f} s")
    return checkpoint


def origin(checkpoint: Path) -> str:
    """What made a checkpoint, in words."""
    state = torch.load(checkpoint, weights_only=True)
    plan = state["plan"]
    return f"epoch {state['epoch']} of {plan['epochs']} of {plan['network']} at rate {plan['rate']}"


class Run:
    """The moving parts of a training run; ``save`` and ``load`` carry it over an interruption."""

    def __init__(self, plan: Plan, steps: int) -> None:
        self.plan, self.steps, self.epoch = plan, steps, 0
        self.network = NETWORKS[plan.network]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=plan.rate, weight_decay=plan.decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, plan.rate, total_steps=plan.epochs * steps, pct_start=0.1
        )

    def one_epoch(self, crops: Crops) -> tuple[float, float]:
        """Advance by an epoch; the mean loss and the seconds it took."""
        self.network.train()
        start, total = time.perf_counter(), 0.0
        for _, (images, targets) in zip(range(self.steps), crops, strict=False):
            batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
            value = loss(self.network(batch), torch.from_numpy(targets))
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.schedule.step()
            self._follow()
            total += value.item()
        self.epoch += 1
        return total / self.steps, time.perf_counter() - start

    @torch.no_grad()
    def _follow(self) -> None:
        # Early on the average would mostly remember the random start.
        done = self.schedule.last_epoch
        kept = min(KEPT, (1 + done) / (10 + done))
        mine = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(mine[name], 1 - kept)
            else:
                value.copy_(mine[name])

    def save(self, path: Path) -> None:
        """Write the whole state; a crash in between leaves the old file."""
        state = {
            "plan": asdict(self.plan),
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def begin(self, path: Path) -> None:
        """Take the averaged weights of another run."""
        weights = torch.load(path, weights_only=True)["average"]
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def load(self, path: Path) -> None:
        """Continue a saved run. Raises ``ValueError`` when it was made by another plan."""
        state = torch.load(path, weights_only=True)
        if state["plan"] != asdict(self.plan):
            raise ValueError(f"{path} was made by another plan, {state['plan']}; remove it or choose another folder")
        self.epoch = state["epoch"]
        parts: Mapping[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler] = {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        for name, part in parts.items():
            part.load_state_dict(state[name])


def loss(maps: Tensor, targets: Tensor) -> Tensor:
    """How wrong (N, 3, H, W) maps are about (N, 4, H, W) targets; pixels that are hard weigh more.

    Cross-entropy and overlap (Dice; Milletari et al. 2016) of the interior, cross-entropy of the boundary,
    smooth absolute error of the distance.
    """
    inside, edge, hard = targets[:, INTERIOR], targets[:, BOUNDARY], targets[:, HARD]
    weight = 1 + 5 * hard
    interior = F.binary_cross_entropy_with_logits(maps[:, 0], inside, weight)
    boundary = F.binary_cross_entropy_with_logits(maps[:, 1], edge, weight * (1 + edge))
    error = F.smooth_l1_loss(maps[:, 2], targets[:, DISTANCE], reduction="none", beta=0.1)
    distance = (error * (weight + 2 * inside)).mean()
    guess = maps[:, 0].sigmoid()
    # Over the batch, not per image: an empty crop has no overlap to speak of.
    dice = 1 - (2 * (guess * inside).sum() + 1) / (guess.sum() + inside.sum() + 1)
    return interior + 0.5 * dice + 0.5 * boundary + 4 * distance
