"""Tables of cells as the pipeline ``cells`` writes them, and jobs that have delivered them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from contracts.models import InputFile, Job, OutputFile, Owner, PipelineDetails, State, Status
from gateway.files import GatewayFiles
from pipelines.embedding.model import Embedded
from pipelines.embedding.table import Rows, to_arrow, write_parquet
from tests.support.instance import Instance
from tests.support.stories import NOW

CLASSES = ("normal", "burr", "sickle")
DIMENSION = 16


def rows_of(
    count: int, seed: int = 0, job: str = "job", version: str = "1", dimension: int = DIMENSION, **more: Any
) -> Rows:
    """So many cells in three clouds on the map around (0, 0), (10, 0) and (0, 10), one of each class; the area of cell
    n is 100 + n, and its crop is a square whose brightness follows it."""
    chance = np.random.default_rng(seed)
    which = np.arange(count) % len(CLASSES)
    middles = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    vectors = np.eye(len(CLASSES), dimension)[which] + 0.05 * chance.standard_normal((count, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    probabilities = np.full((count, len(CLASSES)), 0.05, np.float32)
    probabilities[np.arange(count), which] = 0.9
    crops = np.zeros((count, 64, 64), np.uint8)
    crops[:, 16:48, 16:48] = (60 + np.arange(count) % 190)[:, None, None]
    features = {
        "id": np.arange(1, count + 1),
        "centroid_y": chance.uniform(0, 500, count),
        "centroid_x": chance.uniform(0, 500, count),
        "area": 100.0 + np.arange(count),
    }
    return Rows(
        job=job,
        image=f"{job}.tif",
        features=features,
        embedded=Embedded(vectors.astype(np.float32), probabilities),
        crops=crops,
        places=(middles[which] + chance.normal(0, 1, (count, 2))).astype(np.float32),
        novelty=chance.uniform(0, 1, count).astype(np.float32),
        classes=CLASSES,
        model={"version": version, "sha256": "0" * 64},
        **more,
    )


def complete(files: GatewayFiles, job_id: str, content: Rows | bytes, *, at: int = NOW, host: str = "scope-1") -> Job:
    """A finished job whose table lies in the archive."""
    path = files.archive / f"{job_id}_cells.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_parquet(path, to_arrow(content))
    return finished(path, job_id, at=at, host=host)


def finished(path: Path, job_id: str, *, at: int = NOW, host: str = "scope-1") -> Job:
    """A job that says that its table lies there."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    output = OutputFile(name=path.name, archive_name=str(path), sha256=digest, size=path.stat().st_size)
    return Job(
        id=job_id,
        owner=Owner.NONE,
        status=Status.COMPLETE,
        state=State.COMPLETE,
        origin_host=host,
        created=at,
        last_updated=at,
        input_file=InputFile(name=f"{job_id}.tif"),
        pipeline_details=PipelineDetails(pipeline_id="cells", output_files=(output,)),
    )


def bring(instance: Instance, name: str, content: Rows | bytes) -> str:
    """Has a program that only speaks the contract process an image as pipeline ``cells``: these are its cells. The
    job's id, once it is complete."""
    instance.drop(f"{name}.tif", f"no image, but the name of one: {name}".encode())

    def launched() -> list[dict[str, Any]]:
        return [job for job in instance.jobs(name=f"{name}.tif") if job["State"] == "running"]

    instance.wait_for(lambda: bool(launched()), 60, f"{name} was not launched")
    (job,) = launched()
    details = job["PipelineDetails"]
    path = Path(details["OutputFolder"]) / f"{name}_cells.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_parquet(path, to_arrow(content))
    outputs = [{"DirName": str(path.parent), "Name": path.name, "Extension": ".parquet"}]
    result = {"Status": "PipelineComplete", "Results": "{}", "QCFlags": "", "OutputFiles": outputs}
    where = f"{job['Id']}/{details['TaskId']}"
    told = instance.ask("PUT", "job-repository", f"/api/v1/job/pipeline/{where}", json=result)
    assert told.status_code == 200, told.text
    told = instance.ask("POST", "task-launcher", f"/api/v1/pipelineStatus/{where}", content="PipelineComplete")
    assert told.status_code == 200, told.text
    instance.wait_for(
        lambda: bool(instance.jobs(name=f"{name}.tif", state="complete")), 60, f"{name} did not become complete"
    )
    return str(job["Id"])


def on_map(instance: Instance) -> int:
    """How many cells are on its map."""
    return int(instance.ask("GET", "cell-index", "/api/v1/map").json()["Count"])
