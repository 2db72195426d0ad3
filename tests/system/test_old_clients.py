"""An instrument's side and a pipeline that speak only the predecessor's contract, from the first call to the last."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import Instance

OUTPUT = b"what a foreign pipeline made"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path / "data", CYTOBUS_PIPELINES__TOPICS='["only-file"]')
    yield made
    made.close()


@pytest.mark.system
def test_the_old_contract_from_end_to_end(instance: Instance) -> None:
    instance.start()
    task = instance.add_task("foreign/pipeline", '{"in": ["scan", {"var": "InputFile.Name"}]}')
    job_id = instance.ask(
        "POST",
        "job-repository",
        "/api/v1/job",
        json={
            "Owner": "data-organizer",
            "Status": "Incomplete",
            "InputFile": {"Hostname": "old", "DirName": "/lab/input/run1/", "Name": "scan.tif", "Extension": ".tif"},
        },
    ).text

    def job() -> dict:
        return instance.ask("GET", "job-repository", f"/api/v1/job/{job_id}").json()

    assert instance.ask("POST", "task-launcher", "/api/v1/matchTask", json=job()).text == "true"
    assert instance.ask("PUT", "job-repository", f"/api/v1/job/{job_id}", json={"Owner": "file-sender-oem"}).is_success
    assert instance.ask("POST", "file-receiver-gateway", "/api/v1/transmitJob", json=job()).is_success
    headers = {"filename": "scan.tif", "jobid": job_id}
    sent = instance.ask("POST", "file-receiver-gateway", "/api/v1/transmitFile", content=b"pixels", headers=headers)
    assert sent.status_code == 200
    assert (instance.data / "gateway/input/run1/scan.tif").read_bytes() == b"pixels"
    instance.wait_for(lambda: job()["Owner"] == "task-launcher", 20, "it was not launched")
    assert job()["PipelineDetails"]["Status"] == "PipelineProcessing"

    folder = instance.data / "gateway/output"
    (folder / "scan_out.tif").write_bytes(OUTPUT)
    result = {
        "Status": "PipelineComplete",
        "QCFlags": "passed",
        "Results": "CellCount, 7",
        "OutputFiles": [{"DirName": str(folder), "Name": "scan_out.tif", "Extension": ".tif"}],
    }
    for _ in range(2):  # a pipeline may repeat itself
        told = instance.ask("PUT", "job-repository", f"/api/v1/job/pipeline/{job_id}/{task}", json=result)
        assert told.status_code == 200
    for _ in range(2):
        path = f"/api/v1/pipelineStatus/{job_id}/{task}"
        assert instance.ask("POST", "task-launcher", path, content="PipelineComplete").status_code == 200
    assert (job()["Owner"], job()["Status"]) == ("file-sender-gateway", "Incomplete")

    assert instance.ask(
        "PUT", "job-repository", f"/api/v1/job/{job_id}", json={"Owner": "file-receiver-oem"}
    ).is_success
    assert instance.ask("GET", "file-sender-gateway", f"/api/v1/transmitFile/{job_id}/0").content == OUTPUT
    assert instance.ask("POST", "file-sender-gateway", f"/api/v1/archiveFile/{job_id}").status_code == 200
    fields = {"Owner": "none", "Status": "Complete", "PipelineDetails.OutputFileHost": "old"}
    assert instance.ask("PUT", "job-repository", f"/api/v1/job/{job_id}", json=fields).is_success

    done = job()
    assert (done["Owner"], done["Status"], done["State"]) == ("none", "Complete", "complete")
    (output,) = done["PipelineDetails"]["OutputFiles"]
    assert output["Status"] == "FileComplete"
    assert Path(output["ArchiveName"]).read_bytes() == OUTPUT
    assert Path(done["InputFile"]["ArchiveName"]).read_bytes() == b"pixels"
    assert instance.stop() == 0
