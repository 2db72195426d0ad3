"""Lines cut at random places: how many bytes go over twice because of it."""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from contracts.transfer import CHUNK
from tests.faults.two_sides import TwoSides
from tests.support.line import Harm, Message

SIZE = 2 * CHUNK + 3_000_001
"""Bytes: three chunks."""


@dataclass
class Cuts:
    """One cut of each file's way up, and one of its way down, after a random number of bytes."""

    rng: random.Random
    up: Counter[str] = field(default_factory=Counter)
    down: Counter[str] = field(default_factory=Counter)
    """bytes of bodies that went over, by the path of the request"""
    cut: int = 0

    def __post_init__(self) -> None:
        self._at: dict[tuple[str, str], int] = {}
        """where the next cut is due: direction and file -> bytes of it that may still pass"""

    def judge(self, message: Message) -> Harm | None:
        """Cuts where the file's turn has come."""
        if (key := _file(message)) is None:
            return None
        if (left := self._at.setdefault(key, self.rng.randrange(1, SIZE))) < 0:
            return None
        if left >= message.length:
            self._at[key] = left - message.length
            return None
        self._at[key] = -1
        self.cut += 1
        return Harm("cut", left)

    def count(self, message: Message, size: int) -> None:
        """So many bytes of a body went over."""
        if (key := _file(message)) is not None:
            (self.up if key[0] == "up" else self.down)[key[1]] += size

    def excess(self) -> dict[str, list[int]]:
        """Bytes beyond each file's size, by direction; each file was cut once each way."""
        return {way: [sent - SIZE for sent in found.values()] for way, found in (("up", self.up), ("down", self.down))}


def _file(message: Message) -> tuple[str, str] | None:
    """Direction and path, for messages with a file's bytes."""
    if message.request is None and message.verb == "PATCH":
        return "up", message.path
    request = message.request
    if request is not None and request.path.startswith("/api/v1/transmitFile/") and message.status in (200, 206):
        return "down", request.path
    return None


def measured(folder: Path, many: int, *, seed: int = 1, patience: float = 300.0) -> Cuts:
    """So many files, each cut twice. Raises ``Lost`` unless all come back."""
    cuts = Cuts(random.Random(seed))
    with TwoSides(folder, cuts.judge, cuts.count, seed=seed) as world:
        for _ in range(many):
            world.drop(SIZE)
            world.settle(patience)
    return cuts
