"""A whole cytobus whose nuclei model runs at a server, which goes away in the middle of the work."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.pipelines.backends.places import Place, place
from tests.support.instance import Instance

BEFORE, MEANWHILE = 4, 8


@pytest.fixture(params=["ovms double grpc", pytest.param("triton grpc", marks=pytest.mark.serving)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path / "repository") as found:
        yield found


@pytest.fixture
def instance(tmp_path: Path, server: Place) -> Iterator[Instance]:
    more = {"CYTOBUS_PIPELINES__BACKENDS": json.dumps({"nuclei": server.address}), "CYTOBUS_PIPELINES__WORKERS": "1"}
    made = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS='["nuclei"]', **more)
    made.start()
    yield made
    made.close()


def picture(number: int) -> bytes:
    """So many nuclei and one more, in a TIFF."""
    pixels = np.full((64, 640), 20, np.uint8)
    rows, columns = np.mgrid[:64, :64]
    for at in range(number % 9 + 1):
        pixels[:, 64 * at : 64 * at + 64][(rows - 32) ** 2 + (columns - 32) ** 2 < 15**2] = 200
    file = BytesIO()
    tifffile.imwrite(file, pixels)
    return file.getvalue()


@pytest.mark.system
def test_jobs_wait_while_the_model_server_is_down_and_none_of_them_fails(instance: Instance, server: Place) -> None:
    instance.add_task("nuclei")
    for number in range(BEFORE):
        instance.drop(f"a{number}.tif", picture(number))
    instance.wait_for(lambda: instance.counts().get("complete", 0) >= 1, 120, "no image was processed")

    server.stop()
    for number in range(MEANWHILE):
        instance.drop(f"b{number}.tif", picture(number))

    def waits() -> bool:
        told = [why for job in instance.jobs() for why in history(instance, job["Id"])]
        return sum("waits for the model server" in why for why in told) >= 2

    instance.wait_for(waits, 120, "no job says that it waits")
    server.start()
    instance.wait_for(
        lambda: instance.counts().get("complete", 0) == BEFORE + MEANWHILE, 180, "not all images were processed"
    )

    jobs = instance.jobs()
    counted = {job["InputFile"]["Name"]: json.loads(job["PipelineDetails"]["Results"])["count"] for job in jobs}
    assert counted == {
        f"{letter}{number}.tif": number % 9 + 1
        for letter, many in (("a", BEFORE), ("b", MEANWHILE))
        for number in range(many)
    }
    assert not [why for job in jobs for why in history(instance, job["Id"]) if "step-failed" in why]


def history(instance: Instance, job: str) -> list[str]:
    """Each line of a job's history as text."""
    lines = instance.ask("GET", "job-repository", f"/api/v1/job/{job}/history").json()
    return [json.dumps(line) for line in lines]
