"""The system under faults, and the accounts of what went in and what came back."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults import power
from tests.faults.control import Control
from tests.support.instance import Instance

INPUT = Path("edge") / "input"
BACK = 60.0
"""Seconds after which everything must be back once nothing is broken any more."""


class Lost(AssertionError):
    """The promise is broken: what, and where it stood."""


@dataclass
class Accounts:
    """Names of files that went in, and their content."""

    files: dict[str, bytes] = field(default_factory=dict)

    def faulty(self, output: Path) -> dict[str, list[str]]:
        """What is lost, corrupt, or there more than once, by the results that lie at the instrument."""
        found: dict[str, list[str]] = {"lost": [], "corrupt": [], "duplicated": []}
        for name, content in self.files.items():
            place = output / result_of(name)
            if not place.is_file():
                found["lost"].append(name)
            elif place.read_bytes() != content:
                found["corrupt"].append(name)
        wanted = {result_of(name) for name in self.files}
        there = [path for path in output.rglob("*") if path.is_file() and ".parts" not in path.parts]
        found["duplicated"] = [str(path.relative_to(output)) for path in there if path.name not in wanted]
        return found


def result_of(name: str) -> str:
    """What the simulator ``only-file`` calls its copy."""
    return f"{Path(name).stem}-sim{Path(name).suffix}"


class Embedded:
    """Everything in one process and its workers, watched by the shim."""

    def __init__(self, folder: Path, rng: random.Random, command: tuple[str, ...] = ("compose",)) -> None:
        self.folder, self.rng, self.accounts = folder, rng, Accounts()
        self.data, self.shadow = folder / "data", folder / "shadow"
        self.data.mkdir(parents=True)
        self.shadow.mkdir()
        self.control = Control(folder / "control")
        self.instance = Instance(
            self.data,
            module=command,
            CYTOBUS_PIPELINES__TOPICS='["only-file"]',
            CYTOBUS_PIPELINES__WORKERS="1",
            CYTOBUS_EDGE__SETTLE_SECONDS="0.5",
            CYTOBUS_EDGE__RESCAN_SECONDS="3",
            **self.control.environment(self.data, self.shadow),
        )
        self.dropped, self.patience = 0, BACK
        self.recoveries: list[float] = []
        self.audit: dict[str, int] = {}
        """What the last look at the accounts has found, by kind."""

    def start(self) -> None:
        """For the first time."""
        self.instance.start()
        self.instance.add_task("only-file")

    def close(self) -> None:
        self.instance.close()

    def drop(self, count: int) -> None:
        """New files, each with a content of its own."""
        for _ in range(count):
            self.dropped += 1
            name = f"file-{self.dropped:05}.dat"
            content = f"{name} {self.rng.random()} ".encode() * self.rng.choice((1, 40, 40, 40, 400, 4000))
            self.accounts.files[name] = content
            self.instance.drop(name, content)

    def alive(self) -> bool:
        return self.instance.alive()

    def revive(self) -> None:
        """What a supervisor does: start it again until it stays."""
        begun = time.monotonic()
        for _ in range(20):
            self.instance.launch()
            try:
                self.instance.wait_until_up()
            except AssertionError:
                if self.instance.alive():
                    raise
                continue  # it was hit while it started
            self.recoveries.append(time.monotonic() - begun)
            return
        raise Lost("it does not start any more")

    def kill(self) -> None:
        self.instance.kill()

    def cut_power(self) -> int:
        """Everything ends at once, and what was not synced is gone."""
        if self.instance.alive():
            self.instance.kill()
        gone = power.cut(self.data, self.shadow, self.rng, INPUT)
        self.revive()
        return gone

    def finished(self) -> bool:
        """Whether every file that went in has come back, as far as can be seen from outside."""
        return all((self.instance.output / result_of(name)).is_file() for name in self.accounts.files)

    def settle(self) -> None:
        """Nothing is broken any more: all must come back by itself. Raises ``Lost``."""
        self.control.disarm()
        self.control.step_clock(0)
        if not self.alive():
            self.revive()
        wait_for(lambda: not self.alive() or (self.finished() and self._idle()), self.patience, self._story)
        if not self.alive():
            if self.instance.exit_code != -signal.SIGKILL:
                raise Lost(f"it ended by itself, with {self.instance.exit_code}:\n{self._story()}")
            self.settle()  # the last fault had its effect a moment later
            return
        found = self.accounts.faulty(self.instance.output)
        self.audit = {what: len(names) for what, names in found.items()}
        bad = {what: names for what, names in found.items() if names}
        jobs = self.instance.jobs()
        by_name = {}
        for job in jobs:
            by_name.setdefault(job["InputFile"]["Name"], []).append(job["Id"])
        twice = [name for name, ids in by_name.items() if len(ids) > 1]
        if twice:
            bad["registered twice"] = twice
        if bad:
            raise Lost(f"{bad}\n{self._story()}")

    def _idle(self) -> bool:
        try:
            return set(self.instance.counts()) <= {"complete"}
        except httpx.HTTPError:
            return False

    def _story(self) -> str:
        missing = [name for name in self.accounts.files if not (self.instance.output / result_of(name)).is_file()]
        try:
            jobs = [
                (job["InputFile"]["Name"], job["State"], job.get("Reason", ""))
                for job in self.instance.jobs()
                if job["State"] != "complete" or job["InputFile"]["Name"] in missing
            ]
        except httpx.HTTPError as error:
            jobs = [("the repository", str(error), "")]
        self._dump()
        log = "\n".join(self.instance.log.read_text(errors="replace").splitlines()[-30:])
        return json.dumps({"missing": missing, "jobs": jobs}, indent=1) + "\n" + log

    def _dump(self) -> None:
        """Where each thread stands, for whoever looks into it."""
        if (spy := shutil.which("py-spy")) and self.alive():
            with (self.folder / "threads.txt").open("w") as file:
                subprocess.run([spy, "dump", "--pid", str(self.instance.pid)], stdout=file, stderr=file, timeout=30)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition: Callable[[], bool], seconds: float, story: Callable[[], str]) -> None:
    """Poll until it holds. Raises ``Lost``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Lost(f"not within {seconds:.0f} s:\n{story()}")
        time.sleep(0.05)
