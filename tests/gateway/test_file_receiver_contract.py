"""The contract's own three calls to the file receiver, and how it refuses."""

import pytest

from contracts import gojson
from contracts.events import InputDelivered
from contracts.models import State
from gateway.file_receiver import rules
from tests.gateway.bench import AWAY, Bench


async def test_the_contracts_own_calls(bench: Bench) -> None:
    job_id = bench.job("a b.tif", dir_name="/data/lab/input/plate/")
    announced = await bench.client.post("/api/v1/transmitJob", content=gojson.dumps(bench.jobs.jobs[job_id]))
    headers = {"filename": "a b.tif", "jobid": job_id}
    sent = await bench.client.post("/api/v1/transmitFile", headers=headers, content=b"content")
    again = await bench.client.post("/api/v1/transmitFile", headers=headers, content=b"content")
    retried = await bench.client.post("/api/v1/retry")

    assert [(r.status_code, r.content) for r in (announced, sent, again, retried)] == [(200, b"")] * 4
    assert bench.files() == {"plate/a b.tif": b"content"}
    assert bench.jobs.jobs[job_id].state is State.RECEIVED
    assert isinstance(bench.jobs.facts[-1], InputDelivered)
    (bench.folder / "plate" / "a b.tif").unlink()
    assert (await bench.client.post("/api/v1/retry")).status_code == 500


async def test_how_the_contract_refuses(bench: Bench) -> None:
    post, job_id = bench.client.post, bench.job("a.tif")
    answers = [
        await post("/api/v1/transmitJob", content=b"{}"),
        await post("/api/v1/transmitJob", content=b"nonsense"),
        await post("/api/v1/transmitFile", headers={"filename": "../a.tif", "jobid": job_id}, content=b"x"),
        await post("/api/v1/transmitFile", headers={"filename": "a.tif", "jobid": "unknown"}, content=b"x"),
        await post("/api/v1/transmitFile", headers={"filename": "b.tif", "jobid": job_id}, content=b"x"),
    ]
    bench.jobs.deaf = AWAY
    answers.append(await post("/api/v1/transmitFile", headers={"filename": "a.tif", "jobid": job_id}, content=b"x"))

    assert [answer.status_code for answer in answers] == [400, 400, 400, 500, 500, 500]
    assert answers[0].text == "failed to process TransmitJob request: Id is empty\n"
    assert answers[2].text == "invalid filename: ../a.tif\n"
    assert answers[3].text == "did not receive job mapping to id (unknown):\n"
    assert answers[4].text == "received job input file does not match requested filename (b.tif):\n"
    assert answers[5].text.startswith("job repo update failed:")


@pytest.mark.parametrize(
    ("dir_name", "folder"),
    [
        ("/data/run1/", "data/run1"),
        ("/tmp/files/input/", ""),
        ("/tmp/files/input", ""),
        ("/a/input/b/input/c/d/", "c/d"),
        ("C:\\lab\\oem-files\\input\\t0\\", "input/t0"),
        ("", ""),
    ],
)
def test_folders_as_the_contract_maps_them(dir_name: str, folder: str) -> None:
    assert rules.folder_of(dir_name) == folder
