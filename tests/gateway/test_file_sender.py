"""The gateway's file sender: every row of the contract's table 2.6, the archive, previews, rejects."""

import errno
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from contracts.models import InputFile, OutputFile, State
from gateway.file_sender.archive import archived, previews
from tests.support import stories as s

ARCHIVED = "{stem}_archive_{job}_[0-9]+_{kind}{rest}"


@pytest.fixture
def call(house):
    async def called(method, path, **options):
        return await house.call(house.sender, method, f"/api/v1{path}", **options)

    return called


async def processed(house, *outputs: OutputFile, job_id="job-1", name="a.tiff", pipeline="only-file", content=b"in"):
    """A job whose outputs lie where its pipeline put them and wait to be delivered."""
    (house.files.input / name).write_bytes(content)
    facts = [
        s.created(job_id, name),
        s.input_delivered(job_id, str(house.files.input)),
        s.requested(job_id, pipeline, output_folder=str(house.files.output)),
        s.reported(job_id, outputs=outputs),
        s.confirmed(job_id),
    ]
    await house.store.apply(facts)
    return await house.store.get(job_id)


def output(house, name="o.tiff", content=b"out", folder=None) -> OutputFile:
    folder = folder or house.files.output
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return OutputFile(dir_name=str(folder), name=name, extension=".tiff", sha256=s.DIGEST, size=len(content))


async def deliver(house, job_id="job-1"):
    await house.store.apply([s.outputs_delivered(job_id)])
    await house.sender.archive(((await house.store.get(job_id)),))
    return await house.store.get(job_id)


async def test_outputs_are_fetched_by_their_place_also_after_they_were_archived(house, call):
    await processed(house, output(house), output(house, "p.tiff", b"second"))
    for _ in range(2):
        answer = await call("GET", "/transmitFile/job-1/1")
        assert (answer.status_code, answer.content) == (200, b"second")
        assert answer.headers["content-type"].partition(";")[0] == "text/plain"
        await deliver(house)
    assert not list(house.files.output.iterdir())


@pytest.mark.parametrize("doubtful", [True, False])
async def test_a_damaged_output_is_made_again_once_somebody_doubts_it(house, call, doubtful):
    sound = output(house).evolve(sha256=hashlib.sha256(b"out").hexdigest())
    headers = {"Want-Repr-Digest": "sha-256=10"} if doubtful else {}
    await processed(house, sound)
    assert (await call("GET", "/transmitFile/job-1/0", headers=headers)).content == b"out"
    assert (await house.one()).state is State.DELIVERING
    output(house, content=b"0ut")
    answer = await call("GET", "/transmitFile/job-1/0", headers=headers)
    job = await house.one()
    if doubtful:
        assert (answer.status_code, job.state) == (409, State.RECEIVED)
        assert "o.tiff is no longer what its pipeline made" in job.reason
    else:
        assert (answer.status_code, job.state) == (200, State.DELIVERING)


@pytest.mark.parametrize(("place", "status"), [
    ("none/0", 404), ("job-1/x", 400), ("job-1/-1", 404), ("job-1/1", 404), ("job-1/99999999999999999999", 404),
])  # fmt: skip
async def test_what_cannot_be_fetched_is_refused_clearly(house, call, place, status):
    await processed(house, output(house))
    answer = await call("GET", f"/transmitFile/{place}")
    assert answer.status_code == status
    assert answer.text.endswith("\n")
    if status == 400:
        assert answer.text == 'strconv.Atoi: parsing "x": invalid syntax\n'


async def test_results_of_a_cancelled_job_are_not_sent_until_it_is_released(house, call):
    await processed(house, output(house))
    await house.store.apply([s.confirmed(), s.cancelled()])
    answer = await call("GET", "/transmitFile/job-1/0")
    assert (answer.status_code, "job-1 is cancelled" in answer.text) == (409, True)
    await house.store.apply([s.released()])
    assert (await call("GET", "/transmitFile/job-1/0")).content == b"out"


async def test_a_job_that_is_processed_again_loses_nothing_of_what_was_archived_before(house, call):
    image = house.files.input / "a.tiff"
    image.write_bytes(b"pixels")
    await processed(house, output(house, content=b"first"), content=b"pixels")
    first = await deliver(house)
    await house.store.apply([s.applied(), s.input_delivered(folder=str(house.files.input))])
    image.write_bytes(b"pixels")
    again = output(house, content=b"second")
    more = {"task_id": "task-2", "output_folder": str(house.files.output)}
    report = s.reported(outputs=(again,)).model_copy(update={"task_id": "task-2"})
    await house.store.apply([s.requested(**more), report, s.confirmed(outputs=(again,))])
    second = await deliver(house)
    assert second.state is State.COMPLETE
    files = [job.pipeline_details.output_files[0] for job in (first, second)]
    assert [content_of(file) for file in files] == [b"first", b"second"]
    (before,) = second.earlier
    assert before.pipeline_details.output_files[0] == files[0]
    assert content_of(before.input_file) == b"pixels"
    assert before.input_file.archive_name != second.input_file.archive_name


async def test_an_output_that_is_gone_is_404(house, call):
    await processed(house, output(house))
    (house.files.output / "o.tiff").unlink()
    assert (await call("GET", "/transmitFile/job-1/0")).status_code == 404


@pytest.mark.parametrize("field", ["ArchiveName", "DirName"])
async def test_no_client_can_have_other_files_of_the_gateway_sent(house, call, tmp_path, field):
    (tmp_path / "secret").write_text("secret")
    await processed(house, output(house))
    path = tmp_path / "secret" if field == "ArchiveName" else tmp_path
    body = {"PipelineDetails.OutputFiles": [{"Name": "secret", field: str(path)}]}
    assert (await house.call(house.jobs, "PUT", "/api/v1/job/job-1", json=body)).status_code == 200
    answer = await call("GET", "/transmitFile/job-1/0")
    assert answer.status_code == 400
    assert "secret" not in answer.text.replace("'secret'", "")


async def test_no_client_can_have_other_files_of_the_gateway_copied_to_the_rejects(house, call, tmp_path):
    (tmp_path / "secret").write_text("secret")
    await processed(house)
    for body in ({"InputFile.ArchiveName": str(tmp_path / "secret")}, {"InputFile.ArchiveName": "",
                 "InputFile.DirName": str(tmp_path), "InputFile.Name": "secret"}):  # fmt: skip
        await house.call(house.jobs, "PUT", "/api/v1/job/job-1", json=body)
        assert (await call("POST", "/reject/job-1")).status_code == 400
    assert not list(house.files.reject.rglob("*"))


async def test_the_archive_has_the_contracts_names_and_the_job_the_contracts_words(house, call):
    await processed(house, output(house, "o.x.tiff"), name="a.b.tiff")
    await house.store.apply([s.outputs_delivered()])
    assert (await call("POST", "/archiveFile/job-1")).content == b""
    job = await house.one()
    (file,) = job.pipeline_details.output_files
    assert (job.owner, job.status, file.status, file.owner) == ("none", "Complete", "FileComplete", "none")
    names = {"input": ("a", ".b.tiff", job.input_file), "output": ("o", ".x.tiff", file)}
    for kind, (stem, rest, kept) in names.items():
        folder, _, name = kept.archive_name.rpartition("/")
        assert folder == str(house.files.archive)
        assert re.fullmatch(ARCHIVED.format(stem=stem, job="job-1", kind=kind, rest=re.escape(rest)), name)
        assert kept.viewable == kept.archive_name
    assert sorted(path.read_bytes() for path in house.files.archive.iterdir()) == [b"in", b"out"]
    assert not list(house.files.input.iterdir())
    assert (await call("POST", "/archiveFile/job-1")).status_code == 200


async def test_an_old_instrument_may_have_its_outputs_archived_without_a_word_of_their_delivery(house, call):
    await processed(house, output(house))
    assert (await call("POST", "/archiveFile/job-1")).status_code == 200
    assert (await house.one()).state is State.COMPLETE


async def test_archiving_survives_a_crash_between_the_move_and_the_report(house):
    await processed(house, output(house))
    await house.store.apply([s.outputs_delivered()])
    job = await house.one()
    (once,) = archived([job], house.files)
    # Time passes, another job's file of the same name has come meanwhile, and the archiving is tried again.
    (house.files.input / "a.tiff").write_bytes(b"another job's")
    house.clock.turn(60)
    await house.store.apply([s.failed_step(State.DELIVERED)])
    await house.sender.archive(((await house.one()),))
    again = await house.one()
    assert again.state is State.COMPLETE
    assert (again.input_file, again.pipeline_details.output_files) == once
    assert (house.files.input / "a.tiff").read_bytes() == b"another job's"


async def test_outputs_of_one_name_from_two_folders_are_both_kept(house):
    one, two = output(house, content=b"1"), output(house, content=b"2", folder=house.files.output / "b")
    await processed(house, one, two)
    files = (await deliver(house)).pipeline_details.output_files
    assert [content_of(file) for file in files] == [b"1", b"2"]


def content_of(file: InputFile | OutputFile) -> bytes:
    return Path(file.archive_name).read_bytes()


async def test_an_output_named_twice_or_that_is_the_input_itself_is_archived_once(house):
    once, the_input = output(house), OutputFile(dir_name=str(house.files.input), name="a.tiff", extension=".tiff")
    await processed(house, once, once, the_input)
    job = await deliver(house)
    names = [file.archive_name for file in job.pipeline_details.output_files]
    assert (names[0], names[2]) == (names[1], job.input_file.archive_name)
    assert len(list(house.files.archive.iterdir())) == 2


async def test_a_file_that_is_gone_is_an_error_that_is_counted_and_said(house, call):
    await processed(house, output(house))
    await house.store.apply([s.outputs_delivered()])
    (house.files.input / "a.tiff").unlink()
    answer = await call("POST", "/archiveFile/job-1")
    assert answer.status_code == 500
    assert "is not there to be archived" in answer.text
    job = await house.one()
    assert (job.state, job.failures, job.error_details.error) == (State.DELIVERED, 1, "failed to archive file")


async def test_one_job_that_cannot_be_archived_holds_up_no_other(house):
    await processed(house, output(house, "o1.tiff"), job_id="bad", name="bad.tiff")
    await processed(house, output(house, "o2.tiff"), job_id="good", name="good.tiff")
    await house.store.change(
        "bad", lambda job: job.evolve(input_file=job.input_file.evolve(dir_name="a\0b")), "test", "spoil"
    )
    await house.store.apply([s.outputs_delivered("bad"), s.outputs_delivered("good")])
    await house.sender.archive((await house.store.get("bad"), await house.store.get("good")))
    assert (await house.store.get("good")).state is State.COMPLETE
    assert (await house.store.get("bad")).failures == 1


def a_job(*names: str):
    files = [OutputFile(archive_name=str(name)) for name in names[1:]]
    job = s.told(s.full_story())
    details = job.pipeline_details.evolve(output_files=tuple(files))
    return job.evolve(input_file=InputFile(archive_name=str(names[0])), pipeline_details=details)


@pytest.mark.parametrize(("dtype", "shape"), [
    ("uint16", (200, 300)), ("uint8", (20, 30)), ("float32", (50, 50)), ("uint16", (5, 40, 60)), ("uint8", (30, 40, 3)),
    ("uint16", (40, 30, 4)), ("uint16", (1, 1)), ("uint16", (3000, 20)),
])  # fmt: skip
def test_a_preview_is_a_small_jpeg_with_stretched_contrast_beside_the_archived_file(tmp_path, dtype, shape):
    path = tmp_path / "a_archive_1_2_input.tiff"
    pixels = np.random.default_rng(0).integers(100, 240, shape).astype(dtype)
    tifffile.imwrite(path, pixels)
    assert previews(a_job(path)) == {str(path): str(path.with_suffix(".jpeg"))}
    with Image.open(path.with_suffix(".jpeg")) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 1024
        if dtype == "uint16" and pixels.size > 100:
            low, high = np.asarray(picture.convert("L")).min(), np.asarray(picture.convert("L")).max()
            assert (low < 30, high > 220) == (True, True)
    assert not list(tmp_path.glob("*.part"))


def test_what_a_browser_shows_or_nobody_can_show_keeps_itself_as_its_viewable(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "table.csv").write_text("a,b")
    (tmp_path / "broken.tiff").write_bytes(b"II*\0 no image")
    (tmp_path / "empty.tiff").write_bytes(b"")
    names = [tmp_path / name for name in ("a.png", "table.csv", "broken.tiff", "empty.tiff", "gone.tiff")]
    assert previews(a_job(*names)) == {}


async def test_a_tiff_result_of_a_png_input_becomes_viewable_too(house):
    await processed(house, output(house), name="a.png")
    job = await deliver(house)
    tifffile.imwrite(job.pipeline_details.output_files[0].archive_name, np.zeros((9, 9), "uint16"))
    await house.sender.preview(job)
    job = await house.one()
    assert (job.previewed, job.input_file.viewable) == (True, job.input_file.archive_name)
    assert job.pipeline_details.output_files[0].viewable.endswith("_output.jpeg")


async def test_a_rejected_input_is_copied_for_its_pipeline_and_removed_again(house, call):
    await processed(house, output(house), pipeline="geti/cells", content=b"image")
    await deliver(house)
    target = house.files.reject / "cells" / "a.tiff"
    for _ in range(2):
        assert (await call("POST", "/reject/job-1")).content == b""
        assert target.read_bytes() == b"image"
    assert [path.name for path in target.parent.iterdir()] == ["a.tiff"]
    assert (await call("DELETE", "/reject/job-1")).status_code == 200
    assert not target.parent.exists()
    answer = await call("DELETE", "/reject/job-1")
    assert (answer.status_code, answer.text) == (500, "failed to delete reject file for JobId: job-1\n")


async def test_rejecting_an_input_that_is_gone_leaves_no_empty_file(house, call):
    job = await processed(house)
    (house.files.input / job.input_file.name).unlink()
    answer = await call("POST", "/reject/job-1")
    assert (answer.status_code, "nothing was copied" in answer.text) == (500, True)
    assert not list(house.files.reject.rglob("*"))


@pytest.mark.parametrize(("method", "path", "status"), [
    ("POST", "/reject/none", 404), ("DELETE", "/reject/none", 404), ("POST", "/archiveFile/none", 404),
    ("POST", "/retry", 200), ("GET", "/retry", 405), ("GET", "/reject/none", 405), ("GET", "/transmitFile/job-1", 404),
])  # fmt: skip
async def test_calls_without_a_job(call, method, path, status):
    assert (await call(method, path)).status_code == status


@pytest.mark.parametrize(("body", "status"), [({"Id": "job-1"}, 200), ({"id": "none"}, 404), (b"", 400), (b"[", 400)])
async def test_old_launchers_may_hand_jobs_over(house, call, body, status):
    await processed(house, output(house))
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    assert (await call("POST", "/dataToHandle", **sent)).status_code == status


async def test_an_archive_without_room_costs_no_try_and_one_line_of_history(house, monkeypatch):
    await processed(house, output(house))
    await house.store.apply([s.outputs_delivered()])
    real = Path.replace

    def full(self, target):
        if self.name in ("a.tiff", "o.tiff"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        for _ in range(7):
            await house.sender.archive((await house.store.get("job-1"),))
            house.clock.turn(6)
    job = await house.one()
    assert (job.state, job.failures) == (State.DELIVERED, 0)
    assert job.reason == f"waits for room on the disk of {house.files.archive}"
    assert len([line for line in await house.store.history("job-1") if line["What"] == "job-waits"]) == 1
    await house.sender.archive((job,))
    assert (await house.one()).state is State.COMPLETE


@pytest.mark.parametrize("sha256", ["", "zz", "ab\r\nSet-Cookie: x", "A" * 64])
async def test_a_digest_that_is_none_is_not_told(house, call, sha256):
    await processed(house, output(house).evolve(sha256=sha256, size=-3))
    answer = await call("GET", "/transmitFile/job-1/0", headers={"If-Range": '""', "Range": "bytes=0-0"})
    assert (answer.status_code, answer.content) == (200, b"out")
    assert not {"etag", "repr-digest", "set-cookie"} & answer.headers.keys()


@pytest.mark.parametrize("name", ["y" * 300, "y/" * 3000])
async def test_a_place_that_no_system_has_is_400(house, call, name):
    job = await processed(house, output(house).evolve(archive_name=str(house.files.archive / name)))
    place = {"InputFile.ArchiveName": str(house.files.archive / name)}
    assert (await call("GET", f"/transmitFile/{job.id}/0")).status_code == 400
    assert (await house.call(house.jobs, "PUT", f"/api/v1/job/{job.id}", json=place)).status_code == 200
    for method in ("POST", "DELETE"):
        assert (await call(method, f"/reject/{job.id}")).status_code == 400


async def test_the_longest_name_can_be_rejected(house, call):
    job = await processed(house, name="n" * 255)
    assert (await call("POST", f"/reject/{job.id}")).status_code == 200
    assert [path.name for path in (house.files.reject / "only-file").iterdir()] == ["n" * 255]
    assert (await call("DELETE", f"/reject/{job.id}")).status_code == 200
