"""The first start: sample tasks, sample images, and a table of what came back."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from compose.operate import said
from compose.running import Deployment
from compose.settings import Settings
from contracts.client import HttpJobs, call
from contracts.models import FINAL, Job
from contracts.ports import JobQuery

IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
SIMULATORS = ("only-file", "only-results", "file-and-results", "multi-file")
SHOWN_ROWS = 60


def sample_tasks() -> list[dict[str, str]]:
    """Nuclei for every image, and the simulators for files that carry a simulator's name."""
    extensions = [*IMAGES, *(extension.upper() for extension in IMAGES)]
    tasks = [
        {
            "Description": f"Simulator {topic}: files with sim-{topic} in their name",
            "JobSelector": json.dumps({"in": [f"sim-{topic}", {"var": "InputFile.Name"}]}),
            "PipelineId": topic,
            "ResultFileFolder": "output",
        }
        for topic in SIMULATORS
    ]
    nuclei = {
        "Description": "Nuclei: segment and measure every image",
        "JobSelector": json.dumps({"in": [{"var": "InputFile.Extension"}, extensions]}),
        "PipelineId": "nuclei",
        "ResultFileFolder": "output",
    }
    return [*tasks, nuclei]


async def register_tasks(url: str) -> int:
    """Register the sample tasks where there are none yet; how many."""
    async with httpx.AsyncClient(base_url=url) as client:
        if (await call(client, "GET", "/api/v1/task")).status_code != 204:
            return 0
        tasks = sample_tasks()
        for task in tasks:
            await call(client, "POST", "/api/v1/task", json=task)
        return len(tasks)


def drop(source: Path | None, target: Path) -> list[str]:
    """Put sample images into the watched folder, each appearing whole; the names, also of those that lay there.

    Raises ``ValueError`` when ``source`` holds no image.
    """
    if source is None:
        from pipelines.samples import package_samples

        made = target / ".samples"
        files: Sequence[Path] = package_samples(made)
    else:
        files = sorted(file for file in source.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
        if not files:
            raise ValueError(f"there is no image ({', '.join(IMAGES)}) in {source}")
    for file in files:
        place = target / file.name
        if not place.exists():
            hidden = target / f".{file.name}.part"
            shutil.copyfile(file, hidden)
            hidden.replace(place)
    if source is None:
        shutil.rmtree(target / ".samples", ignore_errors=True)
    return [file.name for file in files]


async def show(settings: Settings, deployment: Deployment, console: Console) -> None:
    """Register, drop, wait for the end of every sample with a progress bar, and print what came back."""
    registered = await register_tasks(deployment.url("task-launcher"))
    if registered:
        console.print(f"{registered} sample tasks registered")
    folder = settings.folders()[0]
    names = set(await asyncio.to_thread(drop, settings.samples, folder))
    async with httpx.AsyncClient(base_url=deployment.url("job-repository")) as client:
        jobs = await _wait(HttpJobs(client), settings.edge.hostname, names, console)
    console.print(result_table(jobs))
    console.print(f"outputs: {settings.output()}")


async def _wait(jobs: HttpJobs, host: str, names: set[str], console: Console) -> list[Job]:
    columns = (TextColumn("processing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(names))
        while True:
            found = await _latest(jobs, host, names)
            done = [job for job in found.values() if job.state in FINAL]
            progress.update(bar, completed=len(done))
            if len(done) == len(names):
                return sorted(done, key=lambda job: job.input_file.name)
            await asyncio.sleep(0.5)


async def _latest(jobs: HttpJobs, host: str, names: set[str]) -> dict[str, Job]:
    """The newest job of each name."""
    found: dict[str, Job] = {}
    query = JobQuery(origin_host=host)
    while True:
        page = await jobs.find(query)
        for job in page.jobs:
            if job.input_file.name in names:
                found.setdefault(job.input_file.name, job)
        if page.next is None:
            return found
        query = query.model_copy(update={"after": page.next})


def result_table(jobs: Sequence[Job]) -> Table:
    """File, count and the other figures of each job."""
    table = Table(title=f"{len(jobs)} sample images")
    for heading in ("image", "state"):
        table.add_column(heading)
    for heading in ("nuclei", "median area", "confluence"):
        table.add_column(heading, justify="right")
    table.add_column("flags")
    for job in jobs[:SHOWN_ROWS]:
        figures = results_of(job)
        cells = [str(figures.get(key, "")) for key in ("count", "median_area", "confluence")]
        texts = (job.input_file.name[:48], str(job.state), *cells, job.reason or job.pipeline_details.qc_flags)
        table.add_row(*map(said, texts))
    if len(jobs) > SHOWN_ROWS:
        total = sum(int(results_of(job).get("count", 0)) for job in jobs)
        table.add_row(f"… and {len(jobs) - SHOWN_ROWS} more", "", f"{total} in all", "", "", "")
    return table


def results_of(job: Job) -> dict[str, Any]:
    """The figures in a job's results; empty when they are no JSON object."""
    try:
        figures = json.loads(job.pipeline_details.results)
    except ValueError:
        return {}
    return figures if isinstance(figures, dict) else {}
