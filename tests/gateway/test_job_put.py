"""A client's partial update of a job: dotted paths, all or nothing, and what our own fields make of it."""

import pytest

from contracts.events import jobs_in
from contracts.models import State
from tests.support import stories as s


@pytest.fixture
def put(house):
    async def called(body, job_id="job-1"):
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await house.call(house.jobs, "PUT", f"/api/v1/job/{job_id}", **sent)

    return called


@pytest.fixture
async def job(house):
    """A job that a worker has in hand."""
    await house.store.apply(s.full_story()[:5])
    return await house.one()


@pytest.mark.parametrize(("fields", "at"), [
    ({"Verification": 2}, ("Verification",)),
    ({"Verification": 7}, ("Verification",)),
    ({"ErrorDetails.Error": "x"}, ("ErrorDetails", "Error")),
    ({"ErrorDetails": {"Owner": "a", "Error": "b"}}, ("ErrorDetails",)),
    ({"ErrorDetails": None}, ("ErrorDetails",)),
    ({"InputFile.Attributes.Lab": "other"}, ("InputFile", "Attributes", "Lab")),
    ({"InputFile.Attributes": {"row": "8"}}, ("InputFile", "Attributes")),
    ({"PipelineDetails.QCFlags": "blurred"}, ("PipelineDetails", "QCFlags")),
    ({"PipelineDetails.OutputFiles": []}, ("PipelineDetails", "OutputFiles")),
])  # fmt: skip
async def test_a_path_that_exists_is_set_and_the_whole_job_is_answered(house, put, job, fields, at):
    answer = await put(fields)
    assert answer.status_code == 200
    value = answer.json()
    assert value["Id"] == "job-1"
    for key in at:
        value = value[key]
    assert value == next(iter(fields.values()))
    changed = await house.one()
    assert changed.model_dump(mode="json", by_alias=True) == answer.json()
    assert changed.last_updated > job.last_updated


@pytest.mark.parametrize(("body", "status", "words"), [
    ({}, 404, "failed to update job for id (job-1): no job fields provided to update\n"),
    ({"Foo": 1}, 404, "failed to update job for id (job-1): entry Foo does not exist\n"),
    ({"owner": "none"}, 404, "failed to update job for id (job-1): entry owner does not exist\n"),
    ({"InputFile.Foo": 1}, 404, "failed to update job for id (job-1): entry Foo does not exist\n"),
    ({"Foo.Bar.Baz": 1}, 404, "failed to update job for id (job-1): entry Foo.Bar.Baz does not exist\n"),
    ({"InputFile.Foo.Bar": 1}, 404, "failed to update job for id (job-1): entry Foo.Bar does not exist\n"),
    ({"Owner.x": 1}, 404, "failed to update job for id (job-1): expected sub structure for key Owner\n"),
    ({"PipelineDetails.OutputFiles.0": 1}, 404,
     "failed to update job for id (job-1): expected sub structure for key OutputFiles\n"),
    ({"Status": 5}, 404, "failed to update job for id (job-1): failed to unmarshal job: json: cannot unmarshal number"),
    ({"Verification": "1"}, 404, "failed to update job for id (job-1): failed to unmarshal job: json: "),
    ({"Verification": 1, "Foo": 1}, 404, "failed to update job for id (job-1): entry Foo does not exist\n"),
    (b"", 400, "failed to unmarshal job: unexpected end of JSON input\n"),
    (b"[]", 400, "failed to unmarshal job: "), (b"null", 400, "failed to unmarshal job: "),
    (b"{", 400, "failed to unmarshal job: "),
])  # fmt: skip
async def test_what_does_not_fit_is_refused_and_nothing_is_changed(house, put, job, body, status, words):
    answer = await put(body)
    assert answer.status_code == status
    assert answer.text.startswith(words)
    assert await house.one() == job


async def test_an_unknown_job_is_404(put):
    answer = await put({"Verification": 1}, "none")
    assert answer.status_code == 404
    assert answer.text == "failed to update job for id (none): job id not found for none\n"


async def test_a_whole_job_sent_back_is_taken_but_its_id_times_and_lease_stay_ours(house, put, job):
    document = job.model_dump(mode="json", by_alias=True)
    foreign = {"Id": "", "LastUpdated": 1, "LeaseHolder": "thief", "State": "complete", "Created": 0, "Verification": 1}
    answer = await put(document | foreign)
    assert answer.status_code == 200
    changed = await house.one()
    assert changed == job.evolve(verification=1, last_updated=changed.last_updated)
    assert changed.last_updated > job.last_updated


async def test_a_client_that_knows_only_the_contracts_fields_wipes_none_of_ours(house, put, job):
    file = dict.fromkeys(("Hostname", "DirName", "Name", "Extension", "ArchiveName", "Viewable"), "")
    details = {"TaskId": "task-1", "Status": "PipelineProcessing", "QCFlags": "", "OutputFileHost": "gateway"}
    await put({"InputFile": file | {"Name": "b.tiff", "Attributes": None}})
    await put({"PipelineDetails": details | {"OutputFiles": None, "Results": "5"}})
    changed = await house.one()
    assert (changed.input_file.name, changed.pipeline_details.results) == ("b.tiff", "5")
    assert (changed.input_file.sha256, changed.input_file.size) == (s.DIGEST, 3)
    assert changed.pipeline_details.pipeline_id == "only-file"
    assert changed.pipeline_details.output_folder == "/out"
    assert changed.state is State.RUNNING
    assert changed.lease_holder == "w1"


@pytest.mark.parametrize(("fields", "state"), [
    ({"Owner": "none", "Status": "Complete"}, State.COMPLETE),
    ({"Owner": "none", "Status": "PipelineError"}, State.FAILED),
    ({"Owner": "none", "Status": "NoPipelineFound"}, State.UNMATCHED),
    ({"Owner": "file-receiver-gateway", "PipelineDetails.Status": ""}, State.RECEIVED),
    ({"PipelineDetails.Status": "PipelineComplete"}, State.PROCESSED),
    ({"Owner": "file-sender-gateway"}, State.DELIVERING),
])  # fmt: skip
async def test_the_state_follows_the_contracts_words_and_others_hear_of_it(house, put, job, fields, state):
    assert (await put(fields)).status_code == 200
    changed = await house.one()
    assert (changed.state, changed.lease_holder, changed.lease_until) == (state, "", 0)
    assert house.outbox(jobs_in(state, "oem"))
    lines = await house.store.history("job-1")
    assert (lines[-1]["By"], lines[-1]["From"], lines[-1]["To"]) == ("client", "running", state)


async def test_words_that_are_not_set_leave_the_state_and_the_lease_alone(house, put, job):
    await put({"Verification": 1})
    assert await house.one() == job.evolve(verification=1, last_updated=(await house.one()).last_updated)
    await put({"Owner": "nobody-we-know"})
    assert (await house.one()).state is State.RUNNING
