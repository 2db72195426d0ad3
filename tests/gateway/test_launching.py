"""Launching: what pipelines are told and when, what becomes of their answers and of their silence."""

import hashlib
import json
from pathlib import Path

import pytest

from contracts import edgex
from contracts.models import OutputFile, State, Task
from contracts.ports import JobQuery
from contracts.states import MAX_FAILURES
from tests.support import stories as s
from tests.support.house import noting
from tests.support.waiting import eventually

ALL = '{"in":["",{"var":"InputFile.Name"}]}'


async def add_task(house, pipeline="only-file", **more) -> str:
    fields = {"description": "d", "job_selector": ALL, "pipeline_id": pipeline} | more
    return await house.launcher.create(Task(**fields))


async def launch(house, *names: str) -> None:
    """Received jobs, handed to the launcher as its desk would."""
    for name in names:
        await house.store.apply(s.full_story(name)[:3])
    launching, _, _ = house.launcher.desks
    for batch in await launching._look(1):  # noqa: SLF001 - one look of the desk, without its timer
        await launching._handle(batch)  # noqa: SLF001


async def remind(house) -> None:
    _, _, reminding = house.launcher.desks
    for batch in await reminding._look(1):  # noqa: SLF001
        await reminding._handle(batch)  # noqa: SLF001


async def confirm(house) -> None:
    _, confirming, _ = house.launcher.desks
    for batch in await confirming._look(1):  # noqa: SLF001
        await confirming._handle(batch)  # noqa: SLF001


async def test_a_launch_reaches_the_bus_as_the_contracts_envelope_and_event_with_five_keys(house):
    task = await add_task(house, model_parameters={"Brightness": "0"}, result_file_folder="/tmp/files/out")
    await house.store.apply(s.full_story()[:3])
    heard: list = []
    pipeline = house.bus.subscribe("pipeline", {"only-file": noting(heard)})
    async with house.jobs.running(), pipeline, house.launcher.running():
        await eventually(lambda: heard)
    envelope = edgex.unpack(heard[0].payload)
    assert list(json.loads(heard[0].payload)) == [
        "ReceivedTopic", "CorrelationID", "ApiVersion", "RequestID", "ErrorCode", "Payload", "ContentType",
        "QueryParams",
    ]  # fmt: skip
    assert envelope.content_type == "application/json"
    params = edgex.only_object(envelope.event, source="PipelineParameters", resource="PipelineParameters")
    assert params == {
        "InputFileLocation": "/gw/in/a.tiff",
        "OutputFileFolder": str(house.files.root / "out"),
        "ModelParams": {"Brightness": "0"},
        "JobUpdateUrl": f"http://job-repository:59784/api/v1/job/pipeline/job-1/{task}",
        "PipelineStatusUrl": f"http://task-launcher:59785/api/v1/pipelineStatus/job-1/{task}",
    }
    event = json.loads(envelope.payload)
    assert (event["apiVersion"], event["deviceName"], event["profileName"], event["sourceName"]) == (
        "v2", "Device1", "ValitaCell", "PipelineParameters",
    )  # fmt: skip
    assert heard[0].key == "job-1"


async def test_an_ovms_task_is_told_bare_parameters_on_the_shared_topic_and_nothing_else(house):
    await add_task(house, "ovms/resnet")
    await launch(house, "job-1")
    (sent,) = house.outbox("pipeline/params")
    envelope = edgex.unpack(sent.encode())
    assert envelope.event is None
    assert set(json.loads(envelope.payload)) == {
        "InputFileLocation", "OutputFileFolder", "ModelParams", "JobUpdateUrl", "PipelineStatusUrl",
    }  # fmt: skip
    assert json.loads(envelope.payload)["OutputFileFolder"] == "/gw/in"
    assert house.outbox("ovms%") == []


async def test_results_are_published_as_the_contracts_text(house):
    await add_task(house)
    await house.store.apply([*s.full_story()[:4], s.reported(outputs=None)])
    await confirm(house)
    (sent,) = house.outbox("pipeline/inferenceResults")
    envelope = edgex.unpack(sent.encode())
    assert envelope.content_type == "text/plain"
    assert envelope.payload == b"filename:gateway=/gw/in/a.tiff; results:CellCount, 5"


async def told(house, *outputs: OutputFile, status: str = "PipelineComplete"):
    folder = str(house.files.output)
    await house.store.apply([*s.full_story()[:3], s.requested(output_folder=folder)])
    await house.store.apply([s.reported(outputs=outputs, status=status)])
    await confirm(house)
    return await house.jobs.get("job-1")


async def test_an_output_that_lost_its_end_before_it_was_looked_at_is_made_again_not_sent(house):
    whole = made(house, "o.tiff").evolve(size=6, sha256=hashlib.sha256(b"pixels").hexdigest())
    made(house, "o.tiff", b"pix")
    job = await told(house, whole)
    assert (job.state, job.pipeline_details.output_files) == (State.RECEIVED, None)
    assert "o.tiff is not what its pipeline made: it has 3 bytes" in job.reason


async def test_an_output_that_is_not_what_a_pipeline_says_without_its_size_is_made_again(house):
    job = await told(house, made(house, "o.tiff").evolve(sha256="ab" * 32))
    assert job.state is State.RECEIVED


def made(house, name: str, content: bytes = b"pixels") -> OutputFile:
    (house.files.output / name).write_bytes(content)
    return OutputFile(name=name, extension=".tiff")


async def test_outputs_are_looked_at_and_handed_to_the_sender_with_size_and_digest(house):
    job = await told(house, made(house, "o.tiff"))
    (file,) = job.pipeline_details.output_files
    assert (job.state, job.owner) == (State.DELIVERING, "file-sender-gateway")
    assert (file.status, file.owner, file.size, len(file.sha256)) == ("FileIncomplete", "file-sender-gateway", 6, 64)
    assert file.dir_name == str(house.files.output)
    (sent,) = house.outbox("jobs")
    document = edgex.only_object(edgex.unpack(sent.encode()).event, source="file-sender-gateway", resource="job")
    assert document["Id"] == "job-1"


async def test_a_failure_with_outputs_is_an_error_and_not_complete(house):
    job = await told(house, made(house, "o.tiff"), status="PipelineFailed")
    assert (job.owner, job.status, job.pipeline_details.status) == ("none", "PipelineError", "PipelineFailed")
    assert job.error_details.error == "an error occurred in the processing pipeline"
    assert house.outbox("jobs") == []


@pytest.mark.parametrize("missing", [0, 1])
async def test_a_missing_output_is_an_error_whichever_it_is(house, missing):
    files = [made(house, "o.tiff"), made(house, "p.tiff")]
    files[missing] = OutputFile(name="gone.tiff", extension=".tiff")
    job = await told(house, *files)
    assert (job.owner, job.status, job.pipeline_details.status) == ("none", "PipelineError", "FileNotFound")
    assert (job.error_details.owner, job.error_details.error) == ("task-launcher", "failed to validate file")
    assert job.pipeline_details.output_files[missing].status == "FileInvalid"
    assert "gone.tiff" in job.reason


@pytest.mark.parametrize("file", [
    OutputFile(name="../secret"), OutputFile(name="secret", dir_name="/etc"), OutputFile(name=""),
    OutputFile(name="a\0b"), OutputFile(name="x", dir_name="a\0b"), OutputFile(name="/etc/passwd"),
    OutputFile(name="n" * 300), OutputFile(name="link"), OutputFile(name="..", dir_name=""),
], ids=lambda file: repr(file.name[:12] + file.dir_name))  # fmt: skip
async def test_outputs_outside_the_gateways_folders_are_refused_and_stop_nobody_else(house, tmp_path, file):
    (tmp_path / "secret").write_text("secret")
    (house.files.output / "link").symlink_to(tmp_path / "secret")
    await house.store.apply([*s.full_story("good")[:4], s.reported("good", outputs=None)])
    job = await told(house, made(house, "o.tiff"), file)
    assert (await house.jobs.get("good")).state is State.COMPLETE
    assert (job.status, job.pipeline_details.status) == ("PipelineError", "FileNotFound")


async def test_a_pipeline_that_never_answers_is_told_again_and_the_job_is_quarantined_at_the_cap(house):
    await add_task(house)
    await launch(house, "job-1")
    for turn in range(1, MAX_FAILURES):
        await remind(house)  # too early: nothing happens
        house.clock.turn(901)
        await remind(house)
        job = await house.one()
        assert (job.state, job.failures, len(house.outbox("only-file"))) == (State.RUNNING, turn, turn + 1)
    house.clock.turn(901)
    await remind(house)
    job = await house.one()
    assert (job.state, job.held_state, len(house.outbox("only-file"))) == (State.QUARANTINED, State.RUNNING, 5)
    assert job.reason == "pipeline only-file did not answer in time (tried 5 times)"
    await house.store.apply([s.released()])
    await launch(house)
    assert (await house.one()).state is State.RUNNING
    assert len(house.outbox("only-file")) == 6


async def test_a_job_that_waits_for_a_runner_is_told_again_and_never_given_up(house):
    """However long the queue is, and however long the runner is away: that is not the job's failure."""
    await house.launcher.register("w", [{"topic": "only-file", "name": "n", "description": ""}])
    await add_task(house)
    await launch(house, "job-1")
    for turn in range(1, 2 * MAX_FAILURES):
        house.clock.turn(901)
        await remind(house)
        job = await house.one()
        assert (job.state, job.failures, len(house.outbox("only-file"))) == (State.RUNNING, 0, turn + 1)
    assert [job.id for job in await house.jobs.claim("w", ["only-file"], 1, 60)] == ["job-1"]


async def test_a_report_without_the_second_call_counts_after_a_while(house):
    await house.store.apply([*s.full_story()[:3], s.requested(lease_until=s.NOW + 10**12)])
    path = "/api/v1/job/pipeline/job-1/task-1"
    await house.call(house.jobs, "PUT", path, json={"Status": "PipelineComplete"})
    await confirm(house)
    assert (await house.one()).state is State.PROCESSED
    house.clock.turn(31)
    await confirm(house)
    assert (await house.one()).state is State.COMPLETE


async def test_jobs_of_one_file_name_never_write_to_one_folder_even_when_launched_together(house):
    await add_task(house, result_file_folder="out")
    await launch(house, "a", "b")
    await launch(house, "c")
    folders = {job.pipeline_details.output_folder for job in (await house.jobs.find(JobQuery())).jobs}
    assert len(folders) == 3
    assert all(Path(folder).is_relative_to(house.files.root / "out") for folder in folders)


async def test_a_job_that_cannot_be_launched_is_counted_and_holds_up_nobody(house):
    (house.files.root / "blocked").write_text("a file where a folder should be")
    picky = '{"in":["blocked",{"var":"InputFile.Name"}]}'
    await house.launcher.create(
        Task(description="d", job_selector=picky, pipeline_id="p", result_file_folder="blocked")
    )
    await add_task(house)
    for name in ("bad-1", "bad-2"):
        await house.store.apply([s.created(name, "blocked.tiff"), s.sending(name), s.input_delivered(name)])
    await launch(house, "good")
    jobs = {job.id: job for job in (await house.jobs.find(JobQuery())).jobs}
    assert jobs["good"].state is State.RUNNING
    assert (jobs["bad-2"].state, jobs["bad-2"].failures) == (State.RECEIVED, 1)
    assert "cannot be launched" in jobs["bad-2"].reason


async def test_a_retry_tells_those_again_that_have_been_silent_for_so_long(house):
    await add_task(house)
    await launch(house, "job-1")
    house.clock.turn(1)
    for seconds, told_again in (("10s", 1), ("0", 2)):
        body = {"TimeoutDuration": seconds}
        assert (await house.call(house.launcher, "POST", "/api/v1/retry", json=body)).status_code == 200
        assert len(house.outbox("only-file")) == told_again
