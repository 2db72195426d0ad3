"""Files that people submit at the gateway: resumed, verified, one job each, whatever is cut or said twice."""

import hashlib

import pytest

from contracts.errors import Unavailable
from contracts.models import State
from gateway.file_receiver.admission import Admission
from gateway.submission.rules import Refused, placed
from tests.gateway.submitting import TUS, desk_in, image, processed
from tests.support.house import house_in


@pytest.fixture
async def house(tmp_path):
    async with house_in(tmp_path) as house:
        yield house


@pytest.fixture
async def desk(house):
    async with desk_in(house) as desk:
        yield desk


async def test_a_submitted_file_is_a_job_that_waits_for_nobodys_instrument(desk):
    batch, content = await desk.batch(name="plate 7"), image()
    answer = await desk.submit(batch, "plate 7/r01c02f03p01-ch1sk1fk1fl1.tiff", content)
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, str(len(content)))

    (job,) = await desk.jobs(batch)
    assert (job.state, job.batch, job.origin_dir) == (State.RECEIVED, batch, "plate 7")
    assert job.input_file.sha256 == hashlib.sha256(content).hexdigest()
    assert desk.house.files.input_path(job.input_file).read_bytes() == content
    attributes = job.input_file.attributes
    assert (attributes["folder"], attributes["row"], attributes["channel"]) == ("plate 7", "1", "1")

    done = await processed(desk.house, job, {"labels.tif": b"labels"})
    assert done.state is State.COMPLETE
    assert done.input_file.archive_name
    assert (await desk.told(batch))["Counts"] == {"complete": 1}
    assert not (desk.house.files.input / "submitted" / job.id).exists()


async def test_a_cut_upload_goes_on_where_it_was_also_for_who_lost_its_address_and_after_a_restart(house):
    content = image(size=256)
    half = len(content) // 2
    async with desk_in(house) as desk:
        batch = await desk.batch()
        url = (await desk.create(batch, "a.tif", content)).headers["location"]
        assert (await desk.patch(url, 0, content[:half])).headers["upload-offset"] == str(half)
    async with desk_in(house) as desk:
        assert (await desk.client.head(url, headers=TUS)).headers["upload-offset"] == str(half)
        again = await desk.create(batch, "a.tif", content)
        assert (again.headers["location"], again.headers["upload-offset"]) == (url, str(half))
        assert await desk.jobs(batch) == []
        last = await desk.patch(url, half, content[half:])
        assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(content)))
        (job,) = await desk.jobs(batch)
        assert house.files.input_path(job.input_file).read_bytes() == content


async def test_a_piece_that_came_damaged_is_thrown_away(desk):
    batch, content = await desk.batch(), image()
    url = (await desk.create(batch, "a.tif", content)).headers["location"]
    bad = await desk.patch(url, 0, content, **{"Upload-Checksum": "sha256 " + "A" * 43 + "="})
    assert bad.status_code == 460
    assert (await desk.client.head(url, headers=TUS)).headers["upload-offset"] == "0"
    assert await desk.jobs(batch) == []


async def test_the_same_file_submitted_again_is_one_job_also_when_it_is_through(house):
    content = image()
    async with desk_in(house) as desk:
        batch = await desk.batch()
        for _ in range(2):
            assert (await desk.submit(batch, "a.tif", content)).status_code == 201
        assert (await desk.create(batch, "a.tif", content)).headers["upload-offset"] == str(len(content))
        (job,) = await desk.jobs(batch)
        await processed(house, job, {"o.csv": b"1"})
        # Its owner's system says another time: the gateway cannot know before the bytes are here.
        assert (await desk.create(batch, "a.tif", content, content, modified="2")).status_code == 201
        assert [one.state for one in await desk.jobs(batch)] == [State.COMPLETE]
        assert not (house.files.input / "submitted" / job.id).exists()
        other = await desk.batch()
        await desk.submit(other, "a.tif", content)
        await desk.submit(batch, "b.tif", content)
        await desk.create(batch, "a.tif", image(1), image(1), modified="3")
        assert (len(await desk.jobs(batch)), len(await desk.jobs(other))) == (3, 1)


async def test_while_the_repository_is_away_nothing_is_lost_and_no_byte_sent_again(desk, monkeypatch):
    batch, content = await desk.batch(), image()
    url = (await desk.create(batch, "a.tif", content)).headers["location"]
    real = desk.repository.report

    async def away(_facts):
        raise Unavailable("the repository is away")

    monkeypatch.setattr(desk.repository, "report", away)
    assert (await desk.patch(url, 0, content)).status_code == 503
    monkeypatch.setattr(desk.repository, "report", real)
    assert (await desk.client.head(url, headers=TUS)).headers["upload-offset"] == str(len(content))
    assert len(await desk.jobs(batch)) == 1


async def test_a_chosen_task_is_the_jobs_and_one_that_is_not_there_is_refused(desk):
    task = '{"Description": "d", "JobSelector": "false", "PipelineId": "p"}'
    made = await desk.house.call(desk.house.launcher, "POST", "/api/v1/task", content=task)
    batch = await desk.batch(task=made.text)
    await desk.submit(batch, "a.tif", image())
    (job,) = await desk.jobs(batch)
    assert job.applied_task == made.text
    refused = await desk.house.call(desk.repository, "POST", "/api/v1/batches", json={"Task": "none"})
    assert refused.status_code == 400
    assert "there is no task 'none'" in refused.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../a.tif", "leads elsewhere"),
        ("/etc/a.tif", "leads elsewhere"),
        ("C:\\a.tif", "leads elsewhere"),
        ("plate\\..\\a.tif", "leads elsewhere"),
        ("CON.tif", "device"),
        ("a\0.tif", "NUL"),
        ("a\n.tif", "holds"),
        ("\u202efit.a", "cannot be shown"),
        ("x" * 256, "bytes long"),
        ("d/" * 40 + "a.tif", "too deep"),
    ],
)
async def test_a_name_that_no_file_should_have_is_refused_with_the_reason(desk, name, said):
    answer = await desk.submit(await desk.batch(), name, image())
    assert answer.status_code == 400
    assert said in answer.text
    with pytest.raises(Refused):
        placed(name)


async def test_what_cannot_be_submitted_is_said_before_a_byte_is_taken(house):
    async with desk_in(house, admission=Admission(most_bytes=1000)) as desk:
        batch = await desk.batch()
        assert "no batch" in (await desk.submit("none", "a.tif", b"x")).text
        assert "is empty" in (await desk.create(batch, "a.tif", b"")).text
        assert (await desk.create(batch, "a.tif", b"", length=1001)).status_code == 413
        assert (await desk.client.post("/api/v1/submissions", headers={**TUS, "Upload-Length": "1"})).status_code == 400
        assert (await desk.client.post("/api/v1/submissions", headers={"Upload-Length": "1"})).status_code == 412
        assert list((house.files.input / "submitted" / ".uploads").iterdir()) == []


async def test_who_gives_up_leaves_nothing_behind(desk):
    url = (await desk.create(await desk.batch(), "a.tif", image())).headers["location"]
    assert (await desk.client.delete(url, headers=TUS)).status_code == 204
    assert (await desk.client.head(url, headers=TUS)).status_code == 404
    assert list((desk.house.files.input / "submitted" / ".uploads").iterdir()) == []


async def test_jobs_are_listed_by_batch_and_batches_newest_first_page_by_page(desk):
    batches = [await desk.batch(name=str(n)) for n in range(3)]
    for n, batch in enumerate(batches):
        await desk.submit(batch, "a.tif", image(n))
    listed = await desk.house.call(desk.repository, "GET", f"/api/v1/job?batch={batches[1]}")
    assert [job["Batch"] for job in listed.json()] == [batches[1]]
    first = await desk.house.call(desk.repository, "GET", "/api/v1/batches?limit=2")
    assert [(one["Name"], one["Counts"]) for one in first.json()] == [("2", {"received": 1}), ("1", {"received": 1})]
    second = await desk.house.call(desk.repository, "GET", first.links["next"]["url"])
    assert [one["Name"] for one in second.json()] == ["0"]
    assert "next" not in second.links
    assert (await desk.house.call(desk.repository, "GET", "/api/v1/batches?after=x")).status_code == 400
    assert (await desk.house.call(desk.repository, "GET", "/api/v1/batches/none")).status_code == 404
