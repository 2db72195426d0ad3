"""Files that go bad on the gateway's disk while they wait, in the spread world."""

import os
import random
import time
from collections.abc import Callable, Collection
from pathlib import Path

from tests.faults.spread import Spread
from tests.faults.trials import expected

PATIENCE = 4.0
"""Seconds that a file is waited for."""
Harm = Callable[[Path, random.Random], None]
Met = Callable[[], bool]


def of_input(world: Spread, rng: random.Random, harm: Harm) -> Met:
    """To a file that was not looked at by its pipeline yet."""
    runners = [world.instances[name] for name in ("pipelines", "pipelines-2")]
    if not all(runner.alive() for runner in runners):
        return lambda: False
    for runner in runners:
        world.freeze(runner.pid, PATIENCE)
    names = world.drop(rng, 2)
    met = _harmed(world.files / "input", names, PATIENCE - 1, rng, harm)
    world.thaw()
    return lambda: met


def of_result(world: Spread, rng: random.Random, harm: Harm) -> Met:
    """To a pipeline's output that was not fetched yet, which it cannot be meanwhile."""
    line = world.gateway_lines["file-sender-gateway"]
    line.for_seconds("dark", 2 * PATIENCE)
    results = {result for name in world.drop(rng, 2) for result in expected(name, b"")}
    met = _harmed(world.files / "output", results, 2 * PATIENCE - 1, rng, harm)
    line.until.pop("dark", None)
    return lambda: met


def _harmed(folder: Path, names: Collection[str], seconds: float, rng: random.Random, harm: Harm) -> bool:
    """Whether one of these files lay in the folder before the time was over, and came to harm."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for place, _, here in os.walk(folder):
            found = [Path(place, name) for name in here if name in names]
            if found and not Path(place).name.startswith("."):  # there they are still being written
                harm(found[0], rng)
                return True
        time.sleep(0.02)
    return False


def flip(path: Path, rng: random.Random) -> None:
    """One bit of it turns."""
    with path.open("r+b") as file:
        file.seek(place := rng.randrange(path.stat().st_size))
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << rng.randrange(8)]))


def shorten(path: Path, rng: random.Random) -> None:
    """It loses its end."""
    os.truncate(path, rng.randrange(path.stat().st_size))
