"""One file at a time on its whole way, with a crash somewhere; what is left must look as if nothing had happened."""

import json
import random
import re
import signal
from collections import Counter
from pathlib import Path

import httpx

from contracts.transfer import CHUNK
from gateway.retention.rules import scratch_job
from tests.faults import power
from tests.faults.control import Control, Fault
from tests.faults.world import INPUT, Lost, result_of, wait_for
from tests.support.instance import Instance

SIZE = CHUNK + 70_001
"""Bytes of a file: sent in two chunks, of which the second is no round number."""
ONCE = ("input-delivered", "pipeline-reported", "pipeline-confirmed", "outputs-delivered", "outputs-archived")
"""What the history of a job must hold once each."""


class Way:
    """Everything in one process, watched by the shim. ``powerless``: a crash takes un-synced data with it."""

    def __init__(self, folder: Path, *, seed: int = 1, powerless: bool = False, patience: float = 120.0) -> None:
        self.rng, self._powerless, self._patience = random.Random(seed), powerless, patience
        self.data, self._shadow = folder / "data", folder / "shadow"
        self.data.mkdir(parents=True)
        self._shadow.mkdir()
        self.control = Control(folder / "control")
        self.instance = Instance(
            self.data,
            CYTOBUS_PIPELINES__TOPICS='["only-file"]',
            CYTOBUS_PIPELINES__WORKERS="1",
            **self.control.environment(self.data, self._shadow if powerless else None),
        )
        self.files = 0
        self._usual: Counter[str] = Counter()
        self._content = b""

    def start(self) -> None:
        """Start, and see what a way leaves that nothing disturbs."""
        self.instance.start()
        self.instance.add_task("only-file")
        for _ in range(2):  # the first also makes folders that then stay
            self._usual = self._undisturbed()

    def _undisturbed(self) -> Counter[str]:
        before, name = self._listing(), self._drop()
        wait_for(lambda: self._came_back(name), self._patience, lambda: self._story(name))
        left = self._left(before, name)
        self._tidy()
        return left

    def close(self) -> None:
        self.instance.close()

    def one(self, fault: Fault, *, starting: bool = False) -> bool:
        """One file's way with a fault armed; whether the fault was met. ``starting``: calls count from a start on until
        it is up, with the file waiting.

        Raises ``Lost`` unless the file comes back as it was, once, and leaves nothing but what it always leaves (of a
        power cut only that much is asked: removals are not synced, so what was removed may be there again, but no
        scratch folder of a pipeline's run outlasts a sweep).
        """
        before = self._listing()
        if starting:
            self.instance.kill()
        self.control.arm(fault)
        if starting:
            self.instance.launch()
        name = self._drop()
        wait_for(
            lambda: (
                self.control.fired > 0
                or not self.instance.alive()
                or (starting and (self.data / "running.json").is_file())
                or self._came_back(name)
            ),
            self._patience,
            lambda: self._story(name),
        )
        self.control.disarm()
        self._settle(before, name)
        self._tidy()
        return self.control.fired > 0

    def _settle(self, before: set[str], name: str) -> None:
        def done() -> bool:
            if not self.instance.alive():
                self._revive()
            return self._came_back(name) and (self._powerless or self._left(before, name) == self._usual)

        def story() -> str:
            left = self._left(before, name)
            return f"{self._story(name)}\ntoo much: {dict(left - self._usual)}, missing: {dict(self._usual - left)}"

        wait_for(done, self._patience, story)
        self._look_through(name)
        if self._powerless:
            self.instance.ask("POST", "file-sender-gateway", "/api/v1/archive/sweep").raise_for_status()
            if scratch := [path for path in self._listing() if scratch_job(Path(path).name)]:
                raise Lost(f"scratch folders are left behind: {scratch}")

    def _look_through(self, name: str) -> None:
        content = (self.instance.output / result_of(name)).read_bytes()
        if content != self._content:
            raise Lost(f"{name} came back with other content ({len(content)} bytes)")
        (job,) = self._jobs(name)
        history = self.instance.ask("GET", "job-repository", f"/api/v1/job/{job['Id']}/history").json()
        told = Counter(line["What"] for line in history)
        if any(told[what] != 1 for what in ONCE):
            raise Lost(f"{name} had something done to it twice, or never: {dict(told)}")

    def _revive(self) -> None:
        """What a supervisor does; before it, the power may be cut."""
        if self.instance.exit_code != -signal.SIGKILL:
            raise Lost(f"it ended by itself, with {self.instance.exit_code}: see {self.instance.log}")
        if self._powerless:
            power.cut(self.data, self._shadow, self.rng, INPUT)
        self.instance.start()

    def _drop(self) -> str:
        self.files += 1
        name = f"way-{self.files:05}.dat"
        self._content = self.rng.randbytes(4096) * (SIZE // 4096) + self.rng.randbytes(SIZE % 4096)
        self.instance.drop(name, self._content)
        return name

    def _jobs(self, name: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.instance.ask("GET", "job-repository", f"/api/v1/job?name={name}").json()
        return found

    def _came_back(self, name: str) -> bool:
        """Whether the result lies at the instrument, and its only job is complete."""
        if not (self.instance.output / result_of(name)).is_file():
            return False
        try:
            return [job["State"] for job in self._jobs(name)] == ["complete"]
        except (httpx.HTTPError, OSError, json.JSONDecodeError):
            return False

    def _listing(self) -> set[str]:
        """All files and folders but those that belong to the databases."""
        sides = [self.data / "edge", self.data / "gateway"]
        return {str(path.relative_to(self.data)) for side in sides for path in side.rglob("*")}

    def _left(self, before: set[str], name: str) -> Counter[str]:
        """What has come since, without the names that differ from file to file."""
        return Counter(plain(path, Path(name).stem) for path in self._listing() - before)

    def _tidy(self) -> None:
        """Results and archive are looked through: the disk is not to fill up with them."""
        for folder in (self.instance.output, self.data / "gateway" / "archive"):
            for path in folder.iterdir():
                if path.is_file():
                    path.unlink()

    def _story(self, name: str) -> str:
        try:
            jobs = [(job["State"], job.get("Reason", "")) for job in self._jobs(name)]
        except (httpx.HTTPError, OSError) as error:
            jobs = [("the repository", str(error))]
        log = "\n".join(self.instance.log.read_text(errors="replace").splitlines()[-25:])
        return f"{name} after {self.control.kind.name} {self.control.where}: {jobs}\n{log}"


def plain(path: str, stem: str) -> str:
    """A path without what differs from file to file."""
    path = path.replace(stem, "FILE")
    path = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "JOB", path)
    path = re.sub(r"(?<![0-9A-Za-z])[0-9a-f]{32,64}", "ID", path)
    return re.sub(r"[0-9]{15,}", "TIME", path)
