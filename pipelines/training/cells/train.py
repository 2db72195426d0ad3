"""Train an encoder of cells from random weights on a CPU; an interrupted run goes on where its checkpoint is."""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.training.cells.data import CLASSES, SMEARS, Cells
from pipelines.training.cells.networks import NETWORKS, Encoder
from pipelines.training.cells.objectives import OBJECTIVES

KEPT = 0.998
"""Of the averaged weights, at every step (Polyak averaging)."""
FINE = 2.0
"""How much more often red cells of a known shape are drawn: they are the hard ones to tell apart."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a training run will yield, besides the images."""

    objective: str = "supervised"
    network: str = "resnet"
    epochs: int = 24
    seed: int = 7
    batch: int = 64
    steps: int = 200
    """In an epoch."""
    rate: float = 3e-3
    decay: float = 0.02
    start: str = ""
    """Where the weights came from; random when empty."""

    def __post_init__(self) -> None:
        for name, known in ((self.objective, OBJECTIVES), (self.network, NETWORKS)):
            if name not in known:
                raise ValueError(f"there is no {name!r}; there are: {', '.join(known)}")


def train(
    cells: Cells,
    out: Path,
    plan: Plan,
    threads: int = 1,
    told: Callable[[str], None] = lambda line: None,
    start: Path | None = None,
) -> Path:
    """Train on the split ``train`` and return the checkpoint, ``<out>/<objective>-<network>.pt``.

    The averaged weights of the checkpoint ``start`` are the first ones where it is given. A checkpoint of the same plan
    that is there is continued; one of another plan raises ``ValueError``. Same plan, cells, library versions and
    threads give the same weights, unless the run was interrupted.
    """
    if start is not None:
        plan = replace(plan, start=origin(start))
    torch.set_num_threads(threads)
    torch.manual_seed(plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{plan.objective}-{plan.network}.pt"
    mine = cells.of("train")
    run = Run(plan)
    if checkpoint.exists():
        run.load(checkpoint)
    elif start is not None:
        run.begin(start)
    while run.epoch < plan.epochs:
        begun = time.perf_counter()
        value = run.one_epoch(drawn(mine, plan.batch, np.random.default_rng([plan.seed, run.epoch])))
        run.save(checkpoint)
        told(f"epoch {run.epoch}/{plan.epochs} loss {value:.4f} {time.perf_counter() - begun:.0f} s")
    return checkpoint


def origin(checkpoint: Path) -> str:
    """What made a checkpoint, in words."""
    state = torch.load(checkpoint, weights_only=True)
    plan = state["plan"]
    before = f" after {plan['start']}" if plan.get("start") else ""
    steps = f"{state['epoch']} of {plan['epochs']} epochs of {plan['steps']} batches of {plan['batch']}"
    return f"{plan['objective']} {plan['network']}, {steps} at rate {plan['rate']} with seed {plan['seed']}{before}"


def drawn(cells: Cells, size: int, random: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of crops, uint8 (N, 96, 96), and classes. Rare classes are drawn more often than they are:
    a class as the root of its size."""
    counts = np.bincount(cells.classes, minlength=len(CLASSES))
    weights = 1 / np.sqrt(counts[cells.classes])
    weights[np.isin(cells.classes, [CLASSES.index(name) for name in SMEARS])] *= FINE
    weights /= weights.sum()
    while True:
        chosen = random.choice(len(weights), size, p=weights)
        yield torch.from_numpy(cells.crops[chosen]), torch.from_numpy(cells.classes[chosen])


class Run:
    """The moving parts of a training run; ``save`` and ``load`` carry it over an interruption."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.epoch = plan, 0
        network = NETWORKS[plan.network]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.encoder = Encoder(network, len(CLASSES))
        self.objective = OBJECTIVES[plan.objective]()
        self.average = deepcopy(self.encoder).eval()
        self._weights = [*self.encoder.parameters(), *self.objective.parameters()]
        self.optimizer = torch.optim.AdamW(self._weights, lr=plan.rate, weight_decay=plan.decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, plan.rate, total_steps=plan.epochs * plan.steps, pct_start=0.15
        )

    def one_epoch(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Advance by an epoch; the mean loss."""
        self.encoder.train()
        total = 0.0
        random = torch.Generator().manual_seed(self.plan.seed * 1000 + self.epoch)
        for _, (crops, classes) in zip(range(self.plan.steps), batches, strict=False):
            value = self.objective.loss(self.encoder, crops, classes, random)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._weights, 5.0)
            self.optimizer.step()
            self.schedule.step()
            self._follow()
            total += value.item()
        self.epoch += 1
        return total / self.plan.steps

    @torch.no_grad()
    def _follow(self) -> None:
        # Early on the average would mostly remember the random start.
        done = self.schedule.last_epoch
        kept = min(KEPT, (1 + done) / (10 + done))
        mine = self.encoder.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(mine[name], 1 - kept)
            else:
                value.copy_(mine[name])

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler]:
        return {
            "encoder": self.encoder,
            "average": self.average,
            "objective": self.objective,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def save(self, path: Path) -> None:
        """Write the whole state; a crash in between leaves the old file."""
        state = {"plan": asdict(self.plan), "epoch": self.epoch}
        torch.save(state | {name: part.state_dict() for name, part in self._parts().items()}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def begin(self, path: Path) -> None:
        """Take the averaged weights of another run."""
        weights = torch.load(path, weights_only=True)["average"]
        self.encoder.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def load(self, path: Path) -> None:
        """Continue a saved run. Raises ``ValueError`` when it was made by another plan."""
        state = torch.load(path, weights_only=True)
        if state["plan"] != asdict(self.plan):
            raise ValueError(f"{path} was made by another plan, {state['plan']}; remove it or choose another folder")
        self.epoch = state["epoch"]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
