"""Programs that write slowly into the watched folder: is a file ever taken that is not finished?"""

import hashlib
import io
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults.world import Lost, wait_for
from tests.support.instance import Instance

QUICK = 0.5
"""Seconds for which a closed file has to stay the same (the watcher's ``quick_seconds``)."""
SETTLE = 2.0
"""The same where the system tells nothing about writers (``settle_seconds``, which is what polling goes by)."""
CLEARLY = 0.8
"""A file that was left alone for this part of the time may be taken: its writer was too slow for the test."""


@dataclass
class Written:
    """What a writer has made of its file: the contents at which it may be taken, and the one at which it must."""

    name: str
    final: str = ""
    whole: set[str] = field(default_factory=set)


class Writer:
    """Writes one file in one of several ways. ``pause`` seconds at most lie between two steps."""

    def __init__(self, path: Path, rng: random.Random, pause: float) -> None:
        self.path, self._rng, self._pause = path, rng, pause
        self.written = Written(path.name)
        self.overslept = 0
        content = rng.randbytes(rng.choice((1_000, 20_000, 150_000)))
        many = rng.randint(4, 9)
        size = -(-len(content) // many)
        self._blocks = [content[at : at + size] for at in range(0, len(content), size)]

    def _rest(self, at_most: float = 1.0) -> None:
        time.sleep(self._rng.uniform(0.2, at_most) * self._pause)  # the writer's own pace, which is what is tested

    def finish(self) -> None:
        """The file is what it is to be."""
        self.written.final = digest_of(self.path)
        self.written.whole.add(self.written.final)

    def open_all_the_time(self) -> None:
        with self.path.open("wb", buffering=0) as file:
            self._steps(file)

    def _steps(self, file: io.FileIO) -> None:
        for block in self._blocks:
            file.write(block)
            self._rest()

    def renamed_into_place(self) -> None:
        hidden = self.path.with_name(f"{self.path.name}.part")
        with hidden.open("wb", buffering=0) as file:
            self._steps(file)
        hidden.rename(self.path)

    def rewritten_in_place(self) -> None:
        """A whole file first, that was there long enough to be taken or not; then other bytes over it."""
        self.path.write_bytes(bytes(sum(map(len, self._blocks))))
        self.written.whole.add(digest_of(self.path))
        self._rest(5.0)
        with self.path.open("r+b", buffering=0) as file:
            self._steps(file)

    def truncated_and_rewritten(self) -> None:
        self.path.write_bytes(b"an earlier result " + self._blocks[0])
        self.written.whole.add(digest_of(self.path))
        self._rest(5.0)
        self.open_all_the_time()

    def preallocated(self) -> None:
        with self.path.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, sum(map(len, self._blocks)))
            self._rest()
            self._steps(file)

    def appended_in_bursts(self) -> None:
        """Closed after each; what lay there too long because this thread overslept may be taken."""
        for number, block in enumerate(self._blocks):
            if number:
                self._rest()
            with self.path.open("ab", buffering=0) as file:
                begun = time.monotonic()
                file.write(block)
            self._excuse(begun, number)

    def _excuse(self, begun: float, number: int) -> None:
        """Remember this state, and when it began; the next burst tells whether it lasted too long."""
        if number and begun - self._since > CLEARLY * self._settles:
            self.overslept += 1
            self.written.whole.add(self._state)
        self._since, self._state = time.monotonic(), digest_of(self.path)

    def picture_in_bursts(self) -> None:
        """A picture whose header promises more than is there may lie as long as it likes."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.frombytes("L", (64, 64), self._rng.randbytes(4096)).save(buffer, "PNG")
        content = buffer.getvalue()
        for at in range(0, len(content), 1500):
            with self.path.open("ab", buffering=0) as file:
                file.write(content[at : at + 1500])
            time.sleep(self._rng.uniform(0.5, 2.0) * QUICK)  # the writer's own pace

    _settles = QUICK
    _since = 0.0
    _state = ""


class Polled(Writer):
    """For a folder that is looked at again and again, as a network share's."""

    _settles = SETTLE


KINDS: dict[str, Callable[[Writer], None]] = {
    "pauses": Writer.open_all_the_time,
    "rename": Writer.renamed_into_place,
    "rewrite": Writer.rewritten_in_place,
    "truncate": Writer.truncated_and_rewritten,
    "preallocate": Writer.preallocated,
    "bursts": Writer.appended_in_bursts,
    "picture": Writer.picture_in_bursts,
}


def digest_of(path: Path) -> str:
    """Of what lies there now."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Taken:
    """What became of so many writers' files."""

    writers: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    half: list[str] = field(default_factory=list)
    overslept: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(
            self.writers + other.writers,
            self.jobs + other.jobs,
            self.half + other.half,
            self.overslept + other.overslept,
        )


def measured(
    folder: Path, many: int, *, at_once: int = 100, poll: bool = False, seed: int = 1, patience: float = 300.0
) -> Taken:
    """So many writers, ``at_once`` of them at any time. Raises ``Lost`` unless each final content is processed."""
    rng, taken, known = random.Random(seed), Taken(), threading.Lock()
    more = {"CYTOBUS_EDGE__POLL": "true", "CYTOBUS_EDGE__POLL_SECONDS": "0.5"} if poll else {}
    instance = Instance(folder, CYTOBUS_PIPELINES__TOPICS='["only-file"]', **more)
    writers = []
    for number in range(many):
        kind = list(KINDS)[number % len(KINDS)]
        seeded = random.Random(rng.random())
        made = (Polled if poll else Writer)(
            instance.input / f"{kind}-{number:04}.{'png' if kind == 'picture' else 'dat'}",
            seeded,
            (SETTLE if poll else QUICK) / 2,
        )
        writers.append((kind, made))

    def work(one: tuple[str, Writer]) -> None:
        kind, writer = one
        KINDS[kind](writer)
        writer.finish()
        with known:
            taken.writers[kind] += 1
            taken.overslept += writer.overslept

    instance.start()
    try:
        instance.add_task("only-file")
        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(work, writers))
        written = {writer.written.name: writer.written for _, writer in writers}
        wait_for(lambda: _processed(instance, written), patience, lambda: _missing(instance, written))
        jobs = instance.jobs()
        taken.jobs = len(jobs)
        for job in jobs:
            file = job["InputFile"]
            if file["Sha256"] not in written[file["Name"]].whole:
                taken.half.append(f"{file['Name']}: {file['SHA256'][:12]} is {job['State']}")
        taken.half += _half_results(instance, written)
    finally:
        instance.close()
    return taken


def _processed(instance: Instance, written: dict[str, Written]) -> bool:
    try:
        counts = instance.counts()
    except (httpx.HTTPError, OSError):
        return False
    if counts.get("complete", 0) < len(written) or set(counts) - {"complete", "failed"}:
        return False
    return not _without_result(instance, written)


def _without_result(instance: Instance, written: dict[str, Written]) -> list[str]:
    done = {
        (job["InputFile"]["Name"], job["InputFile"]["Sha256"]) for job in instance.jobs() if job["State"] == "complete"
    }
    return [one.name for one in written.values() if (one.name, one.final) not in done]


def _missing(instance: Instance, written: dict[str, Written]) -> str:
    missing = _without_result(instance, written)
    return f"{instance.counts()}; {len(missing)} final contents were not processed: {missing[:10]}"


def _half_results(instance: Instance, written: dict[str, Written]) -> list[str]:
    """Results that are copies of no whole content. Raises ``Lost`` where that of a final content is not there."""
    whole = {digest for one in written.values() for digest in one.whole}
    found = {digest_of(path): path.name for path in instance.output.iterdir() if path.is_file()}
    if lost := [one.name for one in written.values() if one.final not in found]:
        raise Lost(f"results are not there: {lost[:10]}")
    return [f"{name} is a copy of a half-written file" for digest, name in found.items() if digest not in whole]
