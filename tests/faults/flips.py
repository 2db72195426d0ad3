"""Bits that turn on the line, in both directions, and on the disks: each must be noticed, nothing wrong accepted."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contracts.transfer import CHUNK
from tests.faults.control import Action, Call, Fault, why_not
from tests.faults.two_sides import TwoSides
from tests.faults.world import Embedded, Lost, result_of
from tests.support.line import Harm, Message

SIZES = (1, 300, 5_000, 80_000, 400_000)
"""Bytes; every so often there is one of more than a chunk."""
OFTEN = 0.45
"""So many bodies are harmed, as long as there are flips left."""


@dataclass
class Flips:
    """One bit of a body turned at random, so many times in each direction; and whether somebody noticed."""

    rng: random.Random
    up: int
    down: int
    noticed: int = 0
    accepted: int = 0

    def __post_init__(self) -> None:
        self.done = 0
        self._unasked: dict[tuple[str, str], int] = {}
        """ranges that came damaged and were not asked for again yet"""

    def judge(self, message: Message) -> Harm | None:
        """A harmed upload is noticed when it is refused, a harmed download when it is asked for anew."""
        if message.request is None:
            return self._request(message)
        if message.request.harm is not None:
            self.noticed += message.status >= 400
            self.accepted += message.status < 400
        return self._answer(message, message.request)

    def _request(self, message: Message) -> Harm | None:
        if message.path.startswith("/api/v1/transmitFile/") and (again := self._unasked.pop(_range(message), 0)):
            self.noticed += again
        if message.path.startswith("/api/v1/files") and self.up and self._hit(message):
            self.up -= 1
            return self._harm(message)
        return None

    def _answer(self, message: Message, request: Message) -> Harm | None:
        wanted = request.path.startswith("/api/v1/transmitFile/") and message.status in (200, 206)
        if wanted and self.down and self._hit(message):
            self.down -= 1
            self._unasked[_range(request)] = self._unasked.get(_range(request), 0) + 1
            return self._harm(message)
        return None

    def _hit(self, message: Message) -> bool:
        return message.length > 0 and self.rng.random() < OFTEN

    def _harm(self, message: Message) -> Harm:
        self.done += 1
        return Harm("flip", self.rng.randrange(8 * message.length))

    @property
    def unnoticed(self) -> int:
        """Of those that were done."""
        return self.done - self.noticed


def _range(request: Message) -> tuple[str, str]:
    """What is asked for: the file, and from which byte on."""
    return request.path, request.headers.get("range", "").partition("-")[0]


def in_transit(folder: Path, many: int, *, seed: int = 1, patience: float = 300.0) -> Flips:
    """Half of the flips in each direction. Raises ``Lost`` unless every file is whole in the end."""
    flips = Flips(random.Random(seed), many // 2, many - many // 2)
    with TwoSides(folder, flips.judge, seed=seed) as world:
        sizes = _sizes(random.Random(seed))
        while flips.up or flips.down:
            for _ in range(min(40, max(8, flips.up + flips.down))):
                world.drop(next(sizes))
            world.settle(patience)
    return flips


def _sizes(rng: random.Random) -> Iterator[int]:
    while True:
        for _ in range(60):
            yield rng.choice(SIZES)
        yield CHUNK + 100_000


def on_disk(folder: Path, many: int, *, seed: int = 1, patience: float = 120.0) -> int:
    """Bits turned as files are written down at the gateway or at the instrument, behind the back of who has verified
    them; how many. Raises ``Lost`` unless every file is whole in the end."""
    if why_not():
        return 0
    world, hit = Embedded(folder, random.Random(seed)), 0
    world.patience = patience
    world.start()
    try:
        for number in range(many):
            place = ("/gateway/input/", "/edge/output/.parts/")[number % 2]
            world.control.arm(Fault(Action.FLIP, (Call.WRITE,), 1 + number // 2 % 2, only=place))
            world.drop(2)
            with suppress(AssertionError):
                world.instance.wait_for(lambda: world.control.fired > 0 or world.finished(), 30, "no write")
            hit += world.control.fired
            world.settle()
    finally:
        world.close()
    return hit


def of_results(folder: Path, many: int, *, seed: int = 1, patience: float = 120.0) -> int:
    """A bit turns in each of so many results that wait on the gateway's disk, and every second is cut short; how many
    came back whole, made again. Raises ``Lost`` unless all did."""
    held = [True]

    def judge(message: Message) -> None:
        if held and message.request is None and message.path.startswith("/api/v1/transmitFile/"):
            raise ConnectionError("results are held back")

    with TwoSides(folder, judge, seed=seed) as world:
        names = [world.drop(300 + number) for number in range(many)]
        world.wait(lambda: world.states() == dict.fromkeys(names, "delivering"), patience)
        for number, name in enumerate(names):
            path = world.gateway.data / "gateway" / "output" / result_of(name)
            content = bytearray(path.read_bytes())
            content[world.rng.randrange(len(content))] ^= 1 << world.rng.randrange(8)
            path.write_bytes(content[: len(content) // (1 + number % 2)])
        held.clear()
        world.settle(patience)
        again = [job["InputFile"]["Name"] for job in world.gateway.jobs() if job["Attempts"] > 1]
    if sorted(again) != names:
        raise Lost(f"damaged results came back, but were not made again: {sorted(set(names) - set(again))}")
    return len(again)
