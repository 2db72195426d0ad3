"""What a pipeline may name as its job's outputs: files of its own folder that are nobody else's."""

from pathlib import Path

import pytest

from contracts import edgex
from contracts.models import OutputFile, State
from gateway.files import inspected, own_place
from tests.support import stories as s

LATE = s.NOW + 10**15


async def running(house, *job_ids: str, folder: Path | None = None) -> None:
    """Jobs at a stranger's pipeline, which all write to one folder."""
    for job_id in job_ids:
        story = s.full_story(job_id)[:3]
        where = str(folder or house.files.output)
        await house.store.apply([*story, s.requested(job_id, output_folder=where, lease_until=LATE)])


def file_at(place: Path, content: str = "pixels") -> dict[str, str]:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    return {"DirName": str(place.parent), "Name": place.name, "Extension": place.suffix}


async def put(house, job_id: str, *files: dict[str, str]):
    body = {"Status": "PipelineComplete", "OutputFiles": list(files)}
    return await house.call(house.jobs, "PUT", f"/api/v1/job/pipeline/{job_id}/task-1", json=body)


async def post(house, job_id: str):
    return await house.call(
        house.launcher, "POST", f"/api/v1/pipelineStatus/{job_id}/task-1", content="PipelineComplete"
    )


async def report(house, job_id: str, *files: dict[str, str]):
    """The two calls; the answer to the first that is refused, else to the second."""
    answer = await put(house, job_id, *files)
    return answer if answer.is_error else await post(house, job_id)


async def fetched(house, job_id: str) -> int:
    """How it is answered who asks for the job's first output."""
    return (await house.call(house.sender, "GET", f"/api/v1/transmitFile/{job_id}/0")).status_code


async def confirm(house) -> None:
    """What the launcher's desk does when the second call never comes."""
    house.clock.turn(10**7)
    _, confirming, _ = house.launcher.desks
    for batch in await confirming._look(1):  # noqa: SLF001 - one look of the desk, without its timer
        await confirming._handle(batch)  # noqa: SLF001


@pytest.mark.parametrize("place", ["archive/x.tif", "input/x.tif", "output2/x.tif", "output/../input/x.tif", "x.tif"])
async def test_a_file_outside_the_jobs_own_folder_is_refused_and_the_job_may_be_reported_again(house, place):
    await running(house, "mine")
    file_at(house.files.root / place)
    stray = {"DirName": f"{house.files.root}/{place.rpartition('/')[0]}", "Name": "x.tif", "Extension": ".tif"}
    answer = await put(house, "mine", stray)
    assert answer.status_code == 400
    for word in ("x.tif", str(house.files.output), "DirName", "report the job again"):
        assert word in answer.text
    assert (await house.jobs.get("mine")).state is State.RUNNING
    assert (await report(house, "mine", file_at(house.files.output / "x.tif"))).status_code == 200
    assert (await house.jobs.get("mine")).state is State.DELIVERING


@pytest.mark.parametrize("folder", ["output", "output/sub/deeper", "output/mine"])
async def test_the_jobs_own_folder_and_what_the_pipeline_has_made_in_it_are_fine(house, folder):
    await running(house, "mine")
    answer = await report(house, "mine", file_at(house.files.root / folder / "x.tif"))
    assert (answer.status_code, answer.text) == (200, "")
    assert (await house.jobs.get("mine")).state is State.DELIVERING


async def test_a_report_of_a_runner_of_ours_with_a_file_outside_its_folder_fails_the_job_and_sends_nothing(house):
    await running(house, "mine")
    file_at(house.files.archive / "x.tif")
    outputs = (OutputFile(dir_name=str(house.files.archive), name="x.tif", extension=".tif"),)
    await house.store.apply([s.reported("mine", outputs=outputs)])
    await confirm(house)
    job = await house.jobs.get("mine")
    assert job.state is State.FAILED
    assert str(house.files.output) in job.reason
    assert await fetched(house, "mine") == 409


@pytest.mark.parametrize("linked", ["file", "folder", "out of the gateway"])
async def test_a_link_in_the_jobs_folder_to_what_is_not_in_it_is_refused(house, tmp_path, linked):
    await running(house, "mine")
    secret = (tmp_path / "elsewhere" if "out" in linked else house.files.archive) / "x.tif"
    file_at(secret)
    if linked == "folder":
        (house.files.output / "there").symlink_to(house.files.archive)
        stray = {"DirName": str(house.files.output / "there"), "Name": "x.tif"}
    else:
        (house.files.output / "x.tif").symlink_to(secret)
        stray = {"DirName": str(house.files.output), "Name": "x.tif"}
    assert (await put(house, "mine", stray)).status_code == 200  # who takes this call may not see the files
    answer = await post(house, "mine")
    assert answer.status_code == 400
    assert "x.tif" in answer.text
    assert (await house.jobs.get("mine")).state is State.PROCESSED
    assert (await report(house, "mine", file_at(house.files.output / "y.tif"))).status_code == 200


async def test_another_jobs_output_in_the_shared_folder_is_refused_until_that_one_is_archived(house):
    await running(house, "theirs", "mine")
    theirs = file_at(house.files.output / "x.tif")
    assert (await report(house, "theirs", theirs)).status_code == 200
    answer = await report(house, "mine", theirs)
    assert answer.status_code == 409
    assert "job theirs" in answer.text
    assert "report the job again" in answer.text
    assert (await house.jobs.get("mine")).state is State.PROCESSED
    assert [_sent_job(one) for one in house.outbox("jobs")] == ["theirs"]
    assert (await report(house, "mine", file_at(house.files.output / "y.tif"))).status_code == 200
    assert house.database.rows("SELECT place, job FROM placed ORDER BY job DESC") == [
        (str(house.files.output / "x.tif"), "theirs"),
        (str(house.files.output / "y.tif"), "mine"),
    ]
    await house.store.apply([s.outputs_delivered("theirs"), s.archived("theirs")])
    assert house.database.rows("SELECT job FROM placed") == [("mine",)]
    await house.store.delete("mine")
    assert house.database.rows("SELECT job FROM placed") == []


def _sent_job(sent: str) -> str:
    """Whose outputs the contract's word says can be fetched."""
    event = edgex.unpack(sent.encode()).event
    return edgex.only_object(event, source="file-sender-gateway", resource="job")["Id"]


async def test_another_jobs_output_is_not_sent_either_when_only_the_first_call_came(house):
    await running(house, "theirs", "mine")
    theirs = file_at(house.files.output / "x.tif")
    await report(house, "theirs", theirs)
    await put(house, "mine", theirs)
    assert await fetched(house, "mine") == 409
    await confirm(house)
    assert (await fetched(house, "mine"), await fetched(house, "theirs")) == (409, 200)
    job = await house.jobs.get("mine")
    assert job.state is State.FAILED
    assert "belongs to job theirs" in job.reason
    assert house.database.rows("SELECT job FROM placed") == [("theirs",)]
    assert (await house.jobs.get("theirs")).state is State.DELIVERING


async def test_of_two_jobs_confirmed_together_with_one_file_the_first_has_it(house):
    await running(house, "one", "two")
    file = file_at(house.files.output / "x.tif")
    await put(house, "one", file)
    await put(house, "two", file)
    await confirm(house)
    states = [(await house.jobs.get(job_id)).state for job_id in ("one", "two")]
    assert states == [State.DELIVERING, State.FAILED]


async def test_where_results_lie_beside_images_another_jobs_image_is_refused(house):
    folder = house.files.input / "plate"
    for job_id, name in (("theirs", "b.tif"), ("mine", "a.tif")):
        file_at(folder / name)
        story = [s.created(job_id, name=name), s.sending(job_id), s.input_delivered(job_id, folder=str(folder))]
        await house.store.apply([*story, s.requested(job_id, output_folder=str(folder), lease_until=LATE)])
    answer = await report(house, "mine", {"DirName": str(folder), "Name": "b.tif"})
    assert answer.status_code == 409
    assert "job theirs" in answer.text
    assert (await report(house, "mine", file_at(folder / "a-out.tif"))).status_code == 200


async def test_what_lies_in_another_jobs_subfolder_or_is_unfinished_is_refused(house):
    await running(house, "theirs", "mine")
    answer = await report(house, "mine", file_at(house.files.output / "theirs" / "x.tif"))
    assert (answer.status_code, "job theirs" in answer.text) == (409, True)
    answer = await report(house, "mine", file_at(house.files.output / ".theirs~1.part" / "x.tif"))
    assert (answer.status_code, "unfinished" in answer.text) == (400, True)


def test_a_folder_that_is_reached_by_a_link_is_the_jobs_own_by_both_of_its_names(tmp_path):
    real, link = tmp_path / "disk" / "gateway", tmp_path / "gateway"
    (real / "output").mkdir(parents=True)
    link.symlink_to(real)
    (real / "output" / "x.tif").write_text("pixels")
    for root in (real, link):
        said = OutputFile(dir_name=str(root / "output"), name="x.tif")
        found, reason = inspected(said, str(link / "output"), link)
        assert (reason, found.dir_name, found.size) == ("", str(real / "output"), 6)
        assert own_place(found, str(link / "output"), link) == real / "output" / "x.tif"  # as it is served later
