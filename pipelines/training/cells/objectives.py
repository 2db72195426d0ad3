"""What an encoder is to learn: the classes people have named (``supervised``), or that two views of a cell are one cell
(``vicreg``)."""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name by which everyone knows it

from pipelines.training.cells.networks import WIDTH, Encoder
from pipelines.training.cells.views import GENTLE, STRONG, view

SMOOTHING = 0.05
"""Of the labels: people agree on 84 of 100 red cells."""
EXPANDED = 512


class Objective(Protocol):
    """An objective; its own weights, where it has any, are learnt with those of the encoder."""

    def loss(self, encoder: Encoder, crops: Tensor, classes: Tensor, random: torch.Generator) -> Tensor:
        """Of a batch: crops uint8 (N, 96, 96), classes int64 (N,)."""
        ...


class Supervised(nn.Module):
    """Cross-entropy of the named classes, with smoothed labels."""

    def loss(self, encoder: Encoder, crops: Tensor, classes: Tensor, random: torch.Generator) -> Tensor:
        """See ``Objective``."""
        vectors = encoder.vectors(view(crops, GENTLE, random).contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(encoder.logits(vectors), classes, label_smoothing=SMOOTHING)


class Vicreg(nn.Module):
    """Variance, invariance, covariance (VICReg, Bardes et al. 2022): no label is looked at.

    The classes' directions are learnt from labels all the same, without effect on the encoder, so that it can name
    classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expander = nn.Sequential(
            nn.Linear(WIDTH, EXPANDED, bias=False),
            nn.BatchNorm1d(EXPANDED),
            nn.ReLU(),
            nn.Linear(EXPANDED, EXPANDED, bias=False),
        )

    def loss(self, encoder: Encoder, crops: Tensor, classes: Tensor, random: torch.Generator) -> Tensor:
        """See ``Objective``."""
        pair = torch.cat([view(crops, STRONG, random), view(crops, STRONG, random)])
        raw = encoder.network(pair.contiguous(memory_format=torch.channels_last))
        one, other = self.expander(raw).chunk(2)
        invariance = F.mse_loss(one, other)
        variance = _too_narrow(one) + _too_narrow(other)
        covariance = _told_twice(one) + _told_twice(other)
        known = F.normalize(raw.detach(), dim=1)
        naming = F.cross_entropy(encoder.logits(known), torch.cat([classes, classes]))
        return 25 * invariance + 25 * variance / 2 + covariance + naming


def _too_narrow(vectors: Tensor) -> Tensor:
    return F.relu(1 - (vectors.var(0) + 1e-4).sqrt()).mean()


def _told_twice(vectors: Tensor) -> Tensor:
    centred = vectors - vectors.mean(0)
    products = centred.T @ centred / (len(vectors) - 1)
    shared: Tensor = (products.square().sum() - products.diagonal().square().sum()) / vectors.shape[1]
    return shared


OBJECTIVES: dict[str, type[Supervised] | type[Vicreg]] = {"supervised": Supervised, "vicreg": Vicreg}
