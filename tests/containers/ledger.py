"""Who keeps the accounts of a run with faults: every file that went in must come back once, bit for bit."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.samples import package_samples
from tests.containers.deployment import Deployment, wait_for


@dataclass
class Ledger:
    """Files are dropped in rounds, one a fault; each line of the table is one round."""

    deployment: Deployment
    seconds: float = 90.0
    files: dict[str, bytes] = field(default_factory=dict)
    lines: list[tuple[str, int, int, int, int]] = field(default_factory=list)

    def round(self, fault: str, befall: Callable[[], None], count: int = 10) -> None:
        """Drop half of the files, let the fault happen, drop the other half, wait until all are back."""
        names = [f"{len(self.lines):02}-{number:03}.dat" for number in range(count)]
        self._drop(names[: count // 2])
        befall()
        self._drop(names[count // 2 :])
        back = {name: self.deployment.results / name.replace(".dat", "-sim.dat") for name in names}

        def missing() -> list[str]:
            return [name for name, path in back.items() if not path.is_file()]

        with suppress(AssertionError):  # the table says so
            wait_for(lambda: not missing(), self.seconds, lambda: "")
        lost = [name for name, path in back.items() if not path.is_file() or path.read_bytes() != self.files[name]]
        twice = [
            path.name for path in self.deployment.results.rglob(f"{len(self.lines):02}-*") if path not in back.values()
        ]
        self.lines.append((fault, count, count - len(lost), len(lost), len(twice)))

    def _drop(self, names: list[str]) -> None:
        for name in names:
            self.files[name] = f"content of {name} ".encode() * 50
            self.deployment.drop(name, self.files[name])

    def show(self, title: str) -> None:
        """Print the table."""
        table = Table("fault", "files in", "returned", "lost", "duplicated", title=title)
        for fault, *numbers in self.lines:
            table.add_row(fault, *map(str, numbers))
        sums = [sum(line[place] for line in self.lines) for place in range(1, 5)]
        table.add_section()
        table.add_row("all", *map(str, sums))
        Console(width=100).print(table)

    def check(self) -> None:
        """Nothing lost, nothing twice, and the gateway's own accounts say the same."""
        assert [line for line in self.lines if line[3] or line[4]] == []
        assert {path.name for path in self.deployment.results.rglob("[0-9][0-9]-*")} == {
            name.replace(".dat", "-sim.dat") for name in self.files
        }
        wait_for(lambda: not self._unfinished(), 60, lambda: str(self._unfinished()))
        # One job for each file: none was taken in twice; and where no harm was done, its pipeline was started once.
        jobs = self._jobs()
        assert sorted(job["InputFile"]["Name"] for job in jobs) == sorted(self.files)
        starts = [self._starts(job["Id"]) for job in jobs if job["InputFile"]["Name"].startswith("00-")]
        assert self.lines[0][0] == "none"
        assert set(starts) == {1}

    def _starts(self, job_id: str) -> int:
        history = self.deployment.ask("GET", "JOB_REPOSITORY", f"/api/v1/job/{job_id}/history").json()
        return sum(line["What"] == "pipeline-started" for line in history)

    def _jobs(self) -> list[dict[str, Any]]:
        asked = self.deployment.ask("GET", "JOB_REPOSITORY", "/api/v1/job?name=.dat&limit=1000")
        return [job for job in asked.json() if job["InputFile"]["Name"] in self.files]

    def _unfinished(self) -> list[str]:
        return [f"{job['InputFile']['Name']}: {job['State']}" for job in self._jobs() if job["State"] != "complete"]


def images_of(folder: Path, count: int, made: Path) -> tuple[list[Path], str]:
    """Images, and what they are: real ones, or where those are not at hand ones that are rendered into ``made``."""
    real = sorted(folder.glob("*.png"))[:count] if folder.is_dir() else []
    if real:
        return real, f"{len(real)} real images"
    rendered = [path for path in package_samples(made) if path.suffix == ".png"]
    return rendered, f"{len(rendered)} rendered images, for want of real ones in {folder} (CYTOBUS_IMAGES)"
